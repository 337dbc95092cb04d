"""What a model of some classes is worth for another class, and for other sets, from few videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.experiment import prepare, train_and_test
from benchmarks.labels import interval
from benchmarks.recipes import changed, parse_changes
from benchmarks.report import Target, finish, format_table
from benchmarks.sets import FACTS, Run, difference_and_interval, mean_and_interval
from benchmarks.stage_inputs import values_of_preset
from slowfast_finetune.base.manifest_table import Split
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation.metadata_baseline import fold_units, predict_from_facts
from slowfast_finetune.evaluation.result_tables import PREDICTIONS
from slowfast_finetune.model.checkpoint import load_checkpoint

PROBE, FINETUNE, SCRATCH = "probe of the model", "fine-tuned from the model", "from random weights"
CONTENDERS = (PROBE, FINETUNE, SCRATCH, FACTS)
TRAIN_OF, VAL_OF = 2, 1  # videos of a recording for training, or to choose the epoch
Cases = dict[str, pd.DataFrame]  # by contender: a row for each test video


@dataclass(frozen=True)
class Bench:
    """Where it is kept, and what is changed in the preset, for the models and for few videos."""

    keep: Path
    changes: Mapping[str, Mapping[str, Any]]
    few: Mapping[str, Mapping[str, Any]]

    @property
    def store(self) -> Path:
        return self.keep / "store"

    def params(self, videos: Path, *, without: Sequence[str] = ()) -> Params:
        values = values_of_preset("scratch")
        for section, change in self.changes.items():
            values[section] |= change
        values["data"] |= {
            "videos": str(videos.resolve()),
            "group_pattern": None,
            "exclude": list(without),
        }
        return Params.model_validate(values)

    def tested(self, rows: Sequence[ClipRow], params: Params, name: str) -> pd.DataFrame:
        """The test videos after training, unless that was done with the same parameters."""
        folder = self.keep / name
        best, predictions = folder / "best.pt", folder / "predictions.csv"
        if not (
            predictions.is_file() and load_checkpoint(best).params == params.model_dump(mode="json")
        ):
            predictions.unlink(missing_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            train_and_test(rows, params, store=self.store, folder=folder)
        frame = PREDICTIONS.read(predictions)
        frame["right"] = frame["actual"] == frame["predicted"]
        return frame[["video_path", "group", "actual", "right"]]

    def solve(
        self, rows: Sequence[ClipRow], params: Params, *, model: Path, name: str, seed: int
    ) -> Cases:
        """One task by every contender."""
        params = changed(changed(params, self.few), {"train": {"seed": seed}})
        from_model = {"model": {"weights": str(model.resolve())}}
        ways: dict[str, dict[str, dict[str, Any]]] = {
            PROBE: {**from_model, "train": {"method": "probe"}},
            FINETUNE: from_model,
            SCRATCH: {},
        }
        found = {
            contender: self.tested(rows, changed(params, way), f"{name}/{contender}")
            for contender, way in ways.items()
        }
        known = [row for row in rows if row.split != "test"]
        unseen = pd.DataFrame(tested := [row for row in rows if row.split == "test"])
        right = predict_from_facts(known, tested) == unseen["label"]
        found[FACTS] = unseen[["video_path", "group"]].assign(
            actual=unseen["class_name"], right=right
        )
        return found


def run(
    *,
    folder: Path,
    others: Sequence[Path],
    without: Sequence[str],
    changes: str,
    few: str,
    seeds: Sequence[int],
    recordings: int,
    keep: Path,
    out: Path,
) -> None:
    """Measure both kinds of task, print tables, write transfer.json.

    Args:
        folder: of train/ and test/: each class is left out of a model once, then learned anew.
        others: further sets, leaving one group out, by the first of these models.
        without: the classes that are left out; none: each.
        few: as ``changes``, for what is learned from few videos alone.
        recordings: so many of the class and of the others to train on, and to choose the epoch.
        keep: what is trained stays there; what is there already is not trained again.
    """
    bench = Bench(keep, parse_changes(changes), parse_changes(few))
    params = bench.params(folder)
    rows = prepare(params, bench.store)
    models: dict[str, float] = {}
    scores: dict[str, dict[str, list[float]]] = {}
    for name in without or sorted({row.class_name for row in rows}):
        known = bench.params(folder, without=[name])
        cases = bench.tested(prepare(known, bench.store), known, f"without {name}")
        models[name] = float(cases["right"].mean())
        print(f"model without {name}: top-1 {models[name]:.3f}", flush=True)
    results: dict[str, Any] = {"models": models}
    paths = {name: keep / f"without {name}" / "best.pt" for name in models}
    for name, path in paths.items():
        scores[name] = {contender: [] for contender in CONTENDERS}
        for seed in seeds:
            drawn = few_rows(rows, name, recordings=recordings, seed=seed)
            place = f"{name} of {recordings} recordings, seed {seed}"
            found = bench.solve(drawn, params, model=path, name=place, seed=seed)
            for contender, cases in found.items():
                scores[name][contender].append(balanced_accuracy(cases))
            print(place, {c: f"{each[-1]:.3f}" for c, each in scores[name].items()}, flush=True)
    results["balanced accuracy, one class"] = scores
    means = {c: [float(np.mean(each[c])) for each in scores.values()] for c in CONTENDERS}
    gains = {c: np.subtract(means[c], means[SCRATCH]).tolist() for c in (PROBE, FINETUNE)}
    print(_table(list(scores), means, gains))
    targets = [
        Target(f"one class: {c} less {SCRATCH}, lower end", 0, mean - half)
        for c, gain in gains.items()
        for mean, half in [interval(gain)]
    ]
    finish("transfer", out=out, results=results, targets=targets)
    for other in others:
        runs = _one_group_out(bench, other, model=next(iter(paths.values())), seed=seeds[0])
        results[other.name] = _show(other.name, runs)
        finish("transfer", out=out, results=results, targets=targets)


def few_rows(rows: Sequence[ClipRow], name: str, *, recordings: int, seed: int) -> list[ClipRow]:
    """A class against all others: few videos to train and choose the epoch on; all test videos.

    Recordings (groups) are drawn from train and val, of the other classes in turn; one that is
    trained on does not choose the epoch.
    """
    units = fold_units(rows)
    rng = np.random.default_rng(seed)
    videos: dict[str, list[ClipRow]] = {}
    for position in rng.permutation(len(rows)).tolist():
        if rows[position].split != "test":
            videos.setdefault(units[position], []).append(rows[position])
    by_class: dict[str, list[list[ClipRow]]] = {}
    for each in videos.values():
        by_class.setdefault(each[0].class_name, []).append(each)
    own = by_class.pop(name)
    rest = [each for turn in zip(*by_class.values(), strict=False) for each in turn]
    chosen = [row for row in rows if row.split == "test"]
    for found in (own, rest):
        for number, each in enumerate(found[: 2 * recordings]):
            split, count = ("train", TRAIN_OF) if number < recordings else ("val", VAL_OF)
            chosen += [row._replace(split=split) for row in each[:count]]
    names = f"not {name}", name
    return [
        row._replace(label=label, class_name=names[label])
        for row in chosen
        for label in [int(row.class_name == name)]
    ]


def balanced_accuracy(cases: pd.DataFrame) -> float:
    """Mean over the classes of the share of their videos that is named rightly."""
    return float(cases.groupby("actual")["right"].mean().mean())


def _one_group_out(bench: Bench, videos: Path, *, model: Path, seed: int) -> list[Run]:
    """Each group tested once, by what the others teach; the next one chooses the epoch."""
    params = bench.params(videos)
    rows = prepare(params, bench.store)
    units = fold_units(rows).tolist()
    groups = sorted(set(units))
    pooled: dict[str, list[pd.DataFrame]] = {contender: [] for contender in CONTENDERS}
    for number, group in enumerate(groups):
        splits: dict[str, Split] = {group: "test", groups[(number + 1) % len(groups)]: "val"}
        dealt = [
            row._replace(split=splits.get(unit, "train"))
            for row, unit in zip(rows, units, strict=True)
        ]
        place = f"{videos.name}/{group}"
        found = bench.solve(dealt, params, model=model, name=place, seed=seed)
        for contender, cases in found.items():
            pooled[contender].append(cases)
        print(place, {c: f"{each['right'].mean():.3f}" for c, each in found.items()}, flush=True)
    return [Run(c, "", pd.concat(each, ignore_index=True), {}) for c, each in pooled.items()]


def _table(
    names: Sequence[str], means: Mapping[str, Sequence[float]], gains: Mapping[str, Sequence[float]]
) -> str:
    """Mean over the seeds of each class, and over the classes with Student's interval."""
    each = {**means, **{f"{c} less {SCRATCH}": gain for c, gain in gains.items()}}
    lines = [
        [c, *map("{:.3f}".format, values), "{:.3f} ± {:.3f}".format(*interval(values))]
        for c, values in each.items()
    ]
    return format_table(["balanced accuracy", *names, "mean ± 95 %"], lines)


def _show(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Print accuracies and differences with intervals of resampled groups; return them."""
    by_name = {result.contender: result for result in runs}
    found = {contender: mean_and_interval([result]) for contender, result in by_name.items()}
    for c in (PROBE, FINETUNE):
        difference = difference_and_interval(by_name[c], by_name[SCRATCH])
        found[f"{c} less {SCRATCH}"] = difference
    lines = [[c, "{:.3f} [{:.3f}, {:.3f}]".format(*each)] for c, each in found.items()]
    header = [f"{name}, {len(runs[0].cases)} videos", "accuracy [95 %]"]
    print(format_table(header, lines), flush=True)
    return {**found, "runs": [result.plain() for result in runs]}
