"""What ``benchmarks transfer`` draws and counts; a tiny run of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import make_rows, steady, write_video

from benchmarks import transfer
from benchmarks.recipes import changed, parse_changes
from benchmarks.transfer import (
    CONTENDERS,
    FINETUNE,
    SCRATCH,
    Bench,
    Cases,
    _one_group_out,
    _show,
    balanced_accuracy,
    few_rows,
)
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_tables import ClipRow

PROJECT = Path(__file__).parents[2]


def recordings(*, of_test: int = 4) -> list[ClipRow]:
    """Three classes of 12 recordings of three videos, the first of each class for testing."""
    return [
        row._replace(
            video_path=f"{name}/{recording}_{video}",
            class_name=name,
            group=f"{name}{recording}",
            split="test" if recording < of_test else "train",
        )
        for name in "abc"
        for recording in range(12)
        for video, row in enumerate(make_rows(3))
    ]


def test_few_recordings_are_drawn_of_the_class_and_of_the_others_in_turn() -> None:
    found = few_rows(recordings(), "b", recordings=4, seed=0)
    of_split = {split: [row for row in found if row.split == split] for split in ("train", "val")}
    for split, (count, videos) in {"train": (4, 2), "val": (4, 1)}.items():
        for name, wanted in (("b", {"b"}), ("not b", {"a", "c"})):
            rows = [row for row in of_split[split] if row.class_name == name]
            groups = [row.group or "" for row in rows]
            assert len(rows) == count * videos
            assert len(set(groups)) == count
            # As many of a as of c.
            assert {letter: sum(g.startswith(letter) for g in groups) for letter in wanted} == (
                dict.fromkeys(wanted, len(rows) // len(wanted))
            )
    assert not {row.group for row in of_split["train"]} & {row.group for row in of_split["val"]}
    assert {row.label for row in found if row.class_name == "b"} == {1}
    assert {row.label for row in found if row.class_name == "not b"} == {0}


def test_all_test_videos_are_tested_and_nothing_else_and_another_seed_draws_others() -> None:
    rows = recordings()
    one, two = (few_rows(rows, "b", recordings=3, seed=seed) for seed in (0, 1))
    tested = [row.video_path for row in one if row.split == "test"]
    assert tested == [row.video_path for row in rows if row.split == "test"]
    assert few_rows(rows, "b", recordings=3, seed=0) == one
    assert {row.video_path for row in one} != {row.video_path for row in two}


def test_of_balanced_accuracy_a_rare_class_is_half() -> None:
    cases = pd.DataFrame({"actual": ["a"] * 9 + ["not a"], "right": [True] * 9 + [False]})
    assert balanced_accuracy(cases) == 0.5


def flat(level: int) -> Callable[[int], np.ndarray]:
    return lambda index: np.full((48, 64, 3), level + 2 * index, np.uint8)


def make_set(folder: Path, names: str, *, groups: int) -> None:
    """Videos that differ in brightness, one of each class and group."""
    for label, name in enumerate(names):
        for group in range(groups):
            picture = flat(60 * label + group)
            write_video(folder / name / f"{group}.mp4", steady(16, Fraction(8)), picture=picture)


@pytest.mark.process
@pytest.mark.slow
def test_a_run_trains_each_contender_and_keeps_what_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, groups in (("train", 5), ("test", 2)):
        make_set(tmp_path / "set" / split, "abc", groups=groups)
    tiny = "clip.num_frames=8,clip.short_side=32,train.crop_size=32,train.epochs=1"
    changes = f"{tiny},train.warmup_epochs=0,data.val_fraction=0.4"
    command = [
        *(sys.executable, "-m", "benchmarks", "transfer", str(tmp_path / "set")),
        *("--without", "b", "--changes", changes, "--seeds", "3", "--recordings", "2"),
        *("--keep", str(tmp_path / "kept"), "--out", str(tmp_path)),
    ]
    subprocess.run(command, cwd=PROJECT, check=True)
    results = json.loads((tmp_path / "transfer.json").read_text("utf-8"))["results"]
    assert list(results["models"]) == ["b"]
    assert list(results["balanced accuracy, one class"]["b"]) == list(CONTENDERS)

    bench = Bench(tmp_path / "kept", parse_changes(changes), {})
    known = bench.params(tmp_path / "set", without=["b"])
    trained: list[Params] = []

    def train(_: object, params: Params, **__: object) -> None:
        trained.append(params)
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "train_and_test", train)
    assert bench.tested([], known, "without b")["right"].mean() == results["models"]["b"]
    assert not trained
    other = changed(known, {"train": {"learning_rate": 0.002}})
    with pytest.raises(KeyboardInterrupt):
        bench.tested([], other, "without b")
    assert trained == [other]


@pytest.mark.process
def test_every_group_is_tested_once_and_the_next_one_chooses_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_set(tmp_path / "other", "xy", groups=3)
    lines = [f"{name}/{group}.mp4,g{group}" for name in "xy" for group in range(3)]
    (tmp_path / "other/groups.csv").write_text("\n".join(["video_path,group", *lines]), "utf-8")
    dealt = []

    def solve(_: Bench, rows: Sequence[ClipRow], *__: object, **___: object) -> Cases:
        splits = {row.split: row.group for row in rows}
        dealt.append([splits[split] for split in ("test", "val", "train")])
        tested = pd.DataFrame([row for row in rows if row.split == "test"])
        found = tested[["video_path", "group"]].assign(actual=tested["class_name"])
        # Only the last group is told from random weights; all are by the others.
        return {c: found.assign(right=c != SCRATCH or splits["test"] == "g2") for c in CONTENDERS}

    monkeypatch.setattr(Bench, "solve", solve)
    bench = Bench(
        tmp_path / "kept",
        {"clip": {"num_frames": 8, "short_side": 32}, "train": {"crop_size": 32}},
        {},
    )
    runs = _one_group_out(bench, tmp_path / "other", model=tmp_path / "best.pt", seed=0)
    assert dealt == [["g0", "g1", "g2"], ["g1", "g2", "g0"], ["g2", "g0", "g1"]]
    assert {result.contender: (result.top1, len(result.cases)) for result in runs} == {
        **dict.fromkeys(CONTENDERS, (1.0, 6)),
        SCRATCH: (pytest.approx(1 / 3), 6),
    }
    assert _show("other", runs)[f"{FINETUNE} less {SCRATCH}"][0] == pytest.approx(2 / 3)
