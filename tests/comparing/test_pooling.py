"""Folds put together: one row a video, one interval over all."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.commands.pool import run as pool_folds
from slowfast_finetune.comparing.pooling import describe, pool
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
    assert few.startswith("with only 3 groups, shares alone have confidence intervals")
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
