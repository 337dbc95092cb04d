"""Accuracy on real sets: the pipeline as a user runs it, a plain script, facts of the files."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from benchmarks.recipes import parse_changes
from benchmarks.report import finish, format_table
from benchmarks.stage_inputs import DVC, new_project, values_of_preset
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow
from slowfast_finetune.evaluation.metadata_baseline import predict_from_facts
from slowfast_finetune.evaluation.resampling import (
    interval_of_accuracy,
    percentile_interval,
    resampled,
    units_of,
)
from slowfast_finetune.evaluation.result_tables import PREDICTIONS
from slowfast_finetune.model.slowfast import MEAN, STD, build_slowfast, pack_pathways
from slowfast_finetune.scoring.metrics import Labels

# What a user's folder has of this one.
OURS, PLAIN_SCRIPT, FACTS = "dvc repro", "plain script", "facts of the file alone"
PYTORCHVIDEO = "pytorchvideo's transforms"
FIGURES = ("minutes", "clips/s", "data wait", "disk [MB]")


@dataclass(frozen=True)
class Run:
    """What one training of one contender came to.

    Attributes:
        cases: one row for each test video: ``video_path``, ``group``, ``right``.
    """

    contender: str
    name: str
    cases: pd.DataFrame
    figures: Mapping[str, float]

    @property
    def top1(self) -> float:
        """Share of the test videos that are named rightly."""
        return float(self.cases["right"].mean())

    def plain(self) -> dict[str, Any]:
        """For the JSON file."""
        wrong = self.cases.loc[~self.cases["right"], "video_path"]
        names = ["/".join(Path(path).parts[-2:]) for path in wrong]
        return {"contender": self.contender, "run": self.name, "top1": self.top1} | {
            **self.figures,
            "wrong": names,
        }


def run(
    *,
    folders: Sequence[Path],
    preset: str,
    changes: str,
    seeds: Sequence[int],
    num_folds: int,
    plain_runs: int,
    out: Path,
) -> None:
    """Train and test on each set, print a table of it, write sets.json.

    A folder with ``train/`` and ``test/`` keeps this split and is trained on once for each seed;
    any other is dealt into folds by its groups, and trained on once for each fold.

    Args:
        changes: ``section.name=value,…`` on top of the preset, for all contenders.
        plain_runs: so many of the runs of a set are made with the plain script, too.
    """
    results: dict[str, Any] = {PYTORCHVIDEO: transforms_of_pytorchvideo()}
    print(f"{PYTORCHVIDEO}: {results[PYTORCHVIDEO]}", flush=True)
    for folder in folders:
        runs: list[Run] = []
        for number, (name, sections) in enumerate(_runs(folder, seeds, num_folds)):
            values = values_of_preset(preset)
            for section, change in [*parse_changes(changes).items(), *sections.items()]:
                values[section] |= change
            values["data"] |= {"videos": str(folder.resolve()), "group_pattern": None}
            with tempfile.TemporaryDirectory() as scratch:
                project = Path(scratch)
                runs += run_pipeline(values, project, name=name)
                if number < plain_runs:
                    runs.append(_in_a_process(project, Params.model_validate(values), name))
            for result in runs:
                if result.name == name:
                    print(
                        f"{folder.name}, {name}, {result.contender}: {result.top1:.3f}", flush=True
                    )
        results[folder.name] = [result.plain() for result in runs]
        _show(folder.name, runs)
        finish("sets", out=out, results=results, targets=[])


def transforms_of_pytorchvideo() -> str:
    """Whether pytorchvideo's transforms can be imported beside today's torchvision."""
    from slowfast_finetune.model.library_imports import import_torchvision

    import_torchvision()
    try:
        import_module("pytorchvideo.transforms")
    except ImportError as error:
        return f"cannot be imported: {error}"
    return "can be imported"


def _runs(
    folder: Path, seeds: Sequence[int], num_folds: int
) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Name of each run, and what it changes in the parameters."""
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        for seed in seeds:
            yield f"seed {seed}", {"train": {"seed": seed}}
    else:
        for fold in range(num_folds):
            yield f"fold {fold}", {"data": {"num_folds": num_folds, "fold": fold}}


def run_pipeline(
    values: Mapping[str, Mapping[str, Any]], project: Path, *, name: str
) -> tuple[Run, Run]:
    """``dvc repro`` in a new project with nothing decoded: its run, and that of the facts alone.

    Args:
        values: of params.yaml.
        project: an empty folder, in which everything stays.

    Raises:
        subprocess.CalledProcessError: a stage failed; its message is on the screen.
    """
    environment = new_project(project, values)

    def dvc(*arguments: str) -> None:
        command = [*DVC, *arguments]
        subprocess.run(command, cwd=project, env=environment, check=True, stdout=sys.stderr)

    dvc("init", "--no-scm", "--quiet")
    start = time.perf_counter()
    dvc("repro", "--quiet")
    minutes = (time.perf_counter() - start) / 60
    frame = PREDICTIONS.read(project / PREDICTIONS.file)
    trained = json.loads((project / "metrics/train.json").read_text(encoding="utf-8"))["run"][0]
    files = [path for path in (project / "clips").rglob("*") if path.is_file()]
    figures = {
        "minutes": minutes,
        "clips/s": trained["clips_per_second"],
        "data wait": trained["data_wait_fraction"],
        "disk [MB]": sum(path.stat().st_size for path in files) / 1e6,
    }
    train, test = _rows(project, "train"), _rows(project, "test")
    labels = np.array([row.label for row in test])
    right = predict_from_facts(train, test) == labels
    return (
        Run(OURS, name, _cases(frame, frame["actual"] == frame["predicted"]), figures),
        Run(FACTS, name, _cases(pd.DataFrame(test), right), {}),
    )


def _rows(project: Path, split: str) -> list[ClipRow]:
    return [row for row in CLIPS.read_rows(project / CLIPS.file) if row.split == split]


def _cases(frame: pd.DataFrame, right: Any) -> pd.DataFrame:
    return frame[["video_path", "group"]].assign(right=np.asarray(right, bool))


class PlainVideos(Dataset[tuple[Tensor, int]]):
    """Clips decoded by decord each time they are asked for, uint8 (T, S, S, 3), and their labels.

    Scaled and cut at the centre to what our model sees. Every n-th frame is taken, so that a clip
    lasts as long as one of ours; fewer where the video is too short.

    Args:
        random_start: whether each asking draws another start, with torch's generator; else the
            clip lies in the middle.
    """

    def __init__(self, rows: Sequence[ClipRow], params: Params, *, random_start: bool) -> None:
        self._rows = rows
        self._clip = params.clip
        self._size = params.train.crop_size
        self._random_start = random_start

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        import decord

        row, count = self._rows[index], self._clip.num_frames
        reader = decord.VideoReader(
            row.video_path, width=row.width, height=row.height, num_threads=1
        )
        stride = max(1, min(round(row.source_fps / self._clip.sample_fps), len(reader) // count))
        free = max(0, len(reader) - count * stride)
        start = int(torch.randint(free + 1, ())) if self._random_start else free // 2
        chosen = [min(start + step * stride, len(reader) - 1) for step in range(count)]
        frames = reader.get_batch(chosen).asnumpy()
        top, left = (row.height - self._size) // 2, (row.width - self._size) // 2
        cut = frames[:, top : top + self._size, left : left + self._size]
        return torch.from_numpy(cut.copy()), row.label


def _in_a_process(project: Path, params: Params, name: str) -> Run:
    """The plain script's run, in a process of its own: ours leaves nothing behind in it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run_plain_script, project, params, name).result()


def run_plain_script(project: Path, params: Params, name: str) -> Run:
    """What a first script does: decord in a DataLoader, pytorchvideo's model, Adam at 1e-3.

    As many epochs and clips a step as ours, no augmentation but the random start; the epoch with
    the lowest validation loss is tested on the clip in the middle of each video.

    Args:
        project: one that :func:`run_pipeline` has left: its videos and split.
    """
    started = time.perf_counter()
    torch.manual_seed(params.train.seed)
    loaders = {
        split: DataLoader(
            PlainVideos(_rows(project, split), params, random_start=split == "train"),
            batch_size=params.train.batch_size,
            shuffle=split == "train",
            num_workers=os.cpu_count() or 1,
        )
        for split in ("train", "val", "test")
    }
    num_classes = len({row.label for row in _rows(project, "train")})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build_slowfast(
        params.model.name, num_classes=num_classes, dropout_rate=params.model.dropout_rate
    ).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def logits_of(clips: Tensor) -> Tensor:
        scaled = clips.to(device).permute(0, 4, 1, 2, 3).float() / 255
        logits: Tensor = network(pack_pathways((scaled - MEAN) / STD))
        return logits

    @torch.no_grad()
    def tested(split: str) -> tuple[Tensor, Tensor]:
        network.eval()
        pairs = [(logits_of(clips).cpu(), labels) for clips, labels in loaders[split]]
        logits, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return logits, labels

    best, lowest = copy.deepcopy(network.state_dict()), float("inf")
    for _ in range(params.train.epochs):
        network.train()
        for clips, labels in loaders["train"]:
            optimizer.zero_grad()
            cross_entropy(logits_of(clips), labels.to(device)).backward()
            optimizer.step()
        loss = float(cross_entropy(*tested("val")))
        if loss < lowest:
            best, lowest = copy.deepcopy(network.state_dict()), loss
    network.load_state_dict(best)
    logits, labels = tested("test")
    minutes = (time.perf_counter() - started) / 60
    cases = _cases(pd.DataFrame(_rows(project, "test")), logits.argmax(1) == labels)
    return Run(PLAIN_SCRIPT, name, cases, {"minutes": minutes})


def mean_and_interval(runs: Sequence[Run]) -> tuple[float, float, float]:
    """Mean share of right answers over runs, and its 95 % interval, as `evaluate` computes it.

    A video that several runs (seeds) tested counts as often, and stays in its group: the interval
    is that of other videos, not of other seeds.
    """
    cases = pd.concat([result.cases for result in runs], ignore_index=True)
    right = cases["right"].to_numpy(bool)
    return float(right.mean()), *interval_of_accuracy(right, _units(cases))


def difference_and_interval(ours: Run, other: Run) -> tuple[float, float, float]:
    """Top-1 of ours less that of another run of the same videos, and its 95 % interval.

    The paired bootstrap over groups, as `slowfast compare` does it.
    """
    both = ours.cases.merge(other.cases, on="video_path", suffixes=("", " other"))
    assert len(both) == len(ours.cases) == len(other.cases)
    gain = both["right"].to_numpy(float) - both["right other"].to_numpy(float)
    units = _units(both)
    drawn = resampled(np.stack([np.bincount(units, gain), np.bincount(units)], 1, dtype=float))
    return float(gain.mean()), *percentile_interval(drawn[:, 0] / drawn[:, 1])


def _units(cases: pd.DataFrame) -> Labels:
    return units_of(cases["group"].fillna(cases["video_path"]).tolist())


def _show(set_name: str, runs: Sequence[Run]) -> None:
    rows = []
    for contender in dict.fromkeys(result.contender for result in runs):
        own = [result for result in runs if result.contender == contender]
        mean, low, high = mean_and_interval(own)
        each = " ".join(f"{result.top1:.3f}" for result in own)
        figures = pd.DataFrame([result.figures for result in own]).mean()
        rows.append(
            [contender, f"{mean:.3f} [{low:.3f}, {high:.3f}]", each]
            + [f"{figures[name]:.3g}" if name in figures else "" for name in FIGURES]
        )
    num_test = len(runs[0].cases)
    header = [set_name, "mean top-1 [95 %]", f"each run, {num_test} test videos", *FIGURES]
    print(format_table(header, rows))
    for other in runs:
        if other.contender == PLAIN_SCRIPT:
            same = (each for each in runs if each.name == other.name)
            (ours,) = (each for each in same if each.contender == OURS)
            gain, low, high = difference_and_interval(ours, other)
            interval = f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]"
            print(f"{other.name}: {OURS} less {other.contender}: {interval}")
    print(flush=True)
