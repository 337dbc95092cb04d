"""Folds put together: one row a video, one interval over all."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.commands.pool import run as pool_folds
from slowfast_finetune.comparing.pooling import check_kfold, describe, pool
from slowfast_finetune.comparing.sources import read_predictions

HEADER = "video_path,group,actual,predicted,p(jump),p(wave)\n"


def write_fold(folder: Path, name: str, *rows: str, header: str = HEADER) -> str:
    path = folder / name
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return str(path)


def test_folds_together_by_hand(tmp_path: Path) -> None:
    one = write_fold(tmp_path, "one", '"a, b",g1,jump,jump,0.9,0.1', "c,g1,wave,jump,0.6,0.4")
    two = write_fold(tmp_path, "two", "d,,jump,jump,0.9,0.1", "e,,wave,wave,0.1,0.9")
    folds, together = pool([one, two])
    # Three units: the group with 1 of 2, and two lone videos that are right. Drawn are at worst
    # the group alone (1 of 27 draws, 3.7 %, above 2.5 %) and at best none of it: 0.5 to 1. Wilson's
    # for 3 of 4 reaches lower.
    assert together.frame["video_path"].tolist() == ["a, b", "c", "d", "e"]
    *_, last, few = describe(folds, together).splitlines()
    assert few == "with only 3 groups, confidence intervals are too narrow"
    assert last.split() == ["together", "4", "0.750", "[0.301,", "1.000]"]

    pool_folds(Namespace(folds=[one, two], out=tmp_path / "all"))
    assert read_predictions(str(tmp_path / "all")).frame.equals(together.frame)
    first, second, third = (tmp_path / "all").read_text().splitlines()[1:4]
    assert [first, second] == ['"a, b",g1,jump,jump,0.9,0.1', "c,g1,wave,jump,0.6,0.4"]
    assert third == "d,,jump,jump,0.9,0.1"


def test_a_video_is_tested_once(tmp_path: Path) -> None:
    one = write_fold(tmp_path, "one", "a,,jump,jump,0.9,0.1")
    two = write_fold(tmp_path, "two", "b,,jump,jump,0.9,0.1", "a,,jump,jump,0.9,0.1")
    with pytest.raises(DataError, match=r"video 'a' is in .*one and in .*two: these are not folds"):
        pool([one, two])


def test_a_group_is_in_one_fold(tmp_path: Path) -> None:
    one = write_fold(tmp_path, "one", "a,g1,jump,jump,0.9,0.1")
    two = write_fold(tmp_path, "two", "b,g1,jump,jump,0.9,0.1")
    with pytest.raises(DataError, match="group 'g1' is in"):
        pool([one, two])


def test_other_classes_are_refused(tmp_path: Path) -> None:
    one = write_fold(tmp_path, "one", "a,,jump,jump,0.9,0.1")
    other = HEADER.replace("wave", "hop")
    two = write_fold(tmp_path, "two", "b,,jump,jump,0.9,0.1", header=other)
    with pytest.raises(DataError, match="have different classes"):
        pool([one, two])


def run_of_fold(folder: Path, fold: int | None, **changes: Any) -> str:
    """Predictions of a run, and its parameters beside them."""
    folder.mkdir()
    data = {"fold": fold, "num_folds": 5, "split_seed": 0, "videos": str(folder)} | changes
    params = {"data": data, "runtime": {"device": str(folder)}}
    (folder / "train.json").write_text(json.dumps({"run": [{"params": params}]}), encoding="utf-8")
    return write_fold(folder, "predictions.csv", f"{folder.name},,jump,jump,0.9,0.1")


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        (range(5), []),
        (
            [0, 1, 3],
            ["folds 2 and 4 of 5, counted from 0, are missing: not every video is tested"],
        ),
        (
            [4],
            ["folds 0, 1, 2 and 3 of 5, counted from 0, are missing: not every video is tested"],
        ),
        (
            [3, 1, 2, 0],
            ["fold 4 of 5, counted from 0, is missing: not every video is tested"],
        ),
    ],
)
def test_folds_that_are_missing_are_named(
    tmp_path: Path, folds: list[int], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [run_of_fold(tmp_path / f"run {fold}", fold) for fold in folds]
    assert check_kfold(sources) == said
    pool_folds(Namespace(folds=sources, out=None))
    assert all(text in capsys.readouterr().out.splitlines() for text in said)


@pytest.mark.parametrize(
    ("fold", "changes", "reason"),
    [
        (None, {"split_seed": 1}, "is no fold of a k-fold: its data.fold is null"),
        (1, {"split_seed": 1}, "is no fold of the same k-fold as .*: its data.split_seed is 1,"),
        (1, {"num_folds": 4}, "its data.num_folds is 4, not 5"),
        (1, {"background": "walk"}, 'its data.background is "walk", not null'),
    ],
)  # fmt: skip
def test_runs_that_are_no_folds_of_one_kfold_are_refused(
    tmp_path: Path, fold: int | None, changes: dict[str, Any], reason: str
) -> None:
    one = run_of_fold(tmp_path / "one", 0, background=None)
    other = run_of_fold(tmp_path / "other", fold, **changes)
    with pytest.raises(DataError, match=rf"^\S*other/predictions.csv: .*{reason}"):
        pool_folds(Namespace(folds=[one, other], out=None))


def test_runs_of_unknown_parameters_are_pooled(tmp_path: Path) -> None:
    """One has no train.json; that beside a file of another name is of another run."""
    known = run_of_fold(tmp_path / "known", 0)
    (tmp_path / "none").mkdir()
    bare = write_fold(tmp_path / "none", "predictions.csv", "a,,jump,jump,0.9,0.1")
    copied = write_fold(tmp_path / "known", "fold_1.csv", "b,,jump,jump,0.9,0.1")
    (tmp_path / "none" / "train.json").write_text('{"run": [{"params": null}]}', encoding="utf-8")
    assert check_kfold([known, bare, copied]) == []
    assert len(pool([known, bare, copied])[1].frame) == 3
