"""What ``benchmarks transfer`` draws and counts; a tiny run of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import make_rows, steady, write_video

from benchmarks.transfer import CONTENDERS, FINETUNE, SCRATCH, balanced_accuracy, few_rows
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
def test_a_run_trains_each_contender_once_and_goes_on_where_it_was(tmp_path: Path) -> None:
    for split, groups in (("train", 5), ("test", 2)):
        make_set(tmp_path / "set" / split, "abc", groups=groups)
    make_set(tmp_path / "other", "xy", groups=3)
    lines = [f"{name}/{group}.mp4,g{group}" for name in "xy" for group in range(3)]
    (tmp_path / "other/groups.csv").write_text("\n".join(["video_path,group", *lines]), "utf-8")
    tiny = "clip.short_side=32,train.crop_size=32,train.epochs=1"
    changes = f"{tiny},train.warmup_epochs=0,data.val_fraction=0.4"
    command = [
        *(sys.executable, "-m", "benchmarks", "transfer", str(tmp_path / "set")),
        *("--without", "b", "--changes", changes, "--seeds", "3", "--recordings", "2"),
        *("--keep", str(tmp_path / "kept"), "--out", str(tmp_path)),
    ]
    whole = [*command, "--others", str(tmp_path / "other")]
    subprocess.run(whole, cwd=PROJECT, check=True)
    results = json.loads((tmp_path / "transfer.json").read_text("utf-8"))["results"]
    assert list(results["models"]) == ["b"]
    assert list(results["balanced accuracy, one class"]["b"]) == list(CONTENDERS)
    assert [run["contender"] for run in results["other"]["runs"]] == list(CONTENDERS)
    own, scratch = (results["other"][contender][0] for contender in (FINETUNE, SCRATCH))
    assert results["other"][f"{FINETUNE} less {SCRATCH}"][0] == pytest.approx(own - scratch)

    checkpoints = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("best.pt")}
    assert len(checkpoints) == 1 + 3 + 3 * 3
    subprocess.run(whole, cwd=PROJECT, check=True)
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
    again = json.loads((tmp_path / "transfer.json").read_text("utf-8"))
    assert again["results"] == results
    # Other parameters are another run.
    subprocess.run([*command, "--few", "train.learning_rate=0.002"], cwd=PROJECT, check=True)
    newer = {path for path in checkpoints if path.stat().st_mtime_ns != checkpoints[path]}
    assert len(newer) == 3
