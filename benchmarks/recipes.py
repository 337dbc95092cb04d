"""What is learned, not how fast: the recipe."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiment import prepare, train_and_test
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import quiet, values_of_preset
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.demo.generator import generate_demo

# What a first attempt looks like: Adam at its usual rate, no schedule, no augmentation.
PLAIN: dict[str, dict[str, Any]] = {
    "train": {
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup_epochs": 0,
        "label_smoothing": 0.0,
        "max_grad_norm": None,
        "ema_decay": None,
        "batch_norm": "batch",
    },
    "augment": {
        "random_crop": False,
        "max_zoom": 1.0,
        "horizontal_flip": 0.0,
        "rand_augment_ops": 0,
        "mixup_alpha": 0.0,
        "cutmix_alpha": 0.0,
    },
}
PLAIN_RATES = (1e-3, 2e-3)  # the usual one, and the peak of our own recipe


@dataclass(frozen=True)
class Scores:
    """Test top-1 of one recipe, a seed each."""

    name: str
    top1: list[float]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.top1)

    def cells(self) -> list[str]:
        """A row of the table."""
        spread = statistics.stdev(self.top1) if len(self.top1) > 1 else 0.0
        each = " ".join(f"{value:.3f}" for value in self.top1)
        return [self.name, f"{self.mean:.3f}", f"{spread:.3f}", each]


def recipe(
    *, per_class: int, seeds: Sequence[int], epochs: int | None, changes: Sequence[str], out: Path
) -> None:
    """The demo preset's recipe against the plain one at two rates, few videos a class.

    Args:
        changes: further recipes to try, each ``section.name=value,…`` on top of the preset.
    """
    with tempfile.TemporaryDirectory() as scratch:
        videos = _draw(Path(scratch), per_class=per_class)
        base = _params(videos, {"train": {} if epochs is None else {"epochs": epochs}})
        store = Path(scratch) / "store"
        rows = prepare(base, store)
        recipes: dict[str, dict[str, dict[str, Any]]] = {"the demo's recipe": {}}
        for text in changes:
            recipes[text] = parse_changes(text)
        for rate in PLAIN_RATES:
            plain: dict[str, dict[str, Any]] = {
                **PLAIN,
                "train": {**PLAIN["train"], "learning_rate": rate},
            }
            recipes[f"plain, Adam at {rate:g}"] = plain
        results = [
            _scores(name, rows, changed(base, change), seeds, store, Path(scratch) / "run")
            for name, change in recipes.items()
        ]
        num_test = sum(row.split == "test" for row in rows)
    _show(results, num_test)
    best_plain = max(result.mean for result in results[-len(PLAIN_RATES) :])
    target = Target("top-1 above the best plain recipe", 0.0, results[0].mean - best_plain)
    finish("recipe", out=out, results=_plain(results), targets=[target])


def _draw(folder: Path, *, per_class: int, seed: int = 0) -> Path:
    """Demo videos in train/, one of each person, and 240 of twenty other people in test/."""
    root = folder / f"videos_{per_class}"
    with quiet():
        generate_demo(root / "train", people=per_class, videos_per_person=1, seed=seed)
        generate_demo(root / "test", people=20, videos_per_person=2, seed=seed + 1000)
    return root


def _params(videos: Path, changes: Mapping[str, Mapping[str, Any]]) -> Params:
    values = values_of_preset("demo")
    # People of test/ have the same numbers as others of train/.
    values["data"] |= {"videos": str(videos), "group_pattern": r"^(?:train|test)/.*person_\d+"}
    for section, change in changes.items():
        values[section] |= change
    return Params.model_validate(values)


def changed(params: Params, changes: Mapping[str, Mapping[str, Any]]) -> Params:
    """Values by section and name instead of the present ones."""
    values = params.model_dump()
    for section, change in changes.items():
        values[section] |= change
    return Params.model_validate(values)


def parse_changes(text: str) -> dict[str, dict[str, Any]]:
    """``section.name=value,…`` as values by section and name."""
    import yaml

    changes: dict[str, dict[str, Any]] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        section, _, key = name.partition(".")
        changes.setdefault(section, {})[key] = yaml.safe_load(value)
    return changes


def _scores(
    name: str,
    rows: Sequence[ClipRow],
    params: Params,
    seeds: Iterable[int],
    store: Path,
    folder: Path,
) -> Scores:
    top1 = []
    for seed in seeds:
        seeded = changed(params, {"train": {"seed": seed}})
        scores = train_and_test(rows, seeded, store=store, folder=folder / str(seed))
        top1.append(scores["top1_accuracy"])
        print(f"{name} seed {seed}: {top1[-1]:.3f}", flush=True)
    return Scores(name, top1)


def _show(results: Sequence[Scores], num_test: int) -> None:
    header = ["recipe", "mean top-1", "st. dev.", f"each seed, {num_test} test videos"]
    print(format_table(header, [result.cells() for result in results]))


def _plain(results: Sequence[Scores]) -> dict[str, list[float]]:
    return {result.name: result.top1 for result in results}
