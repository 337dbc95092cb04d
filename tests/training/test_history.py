"""What a run writes while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.training.history import HISTORY, EpochRow, Recorder


def row(epoch: int, **changes: Any) -> EpochRow:
    values = dict.fromkeys(EpochRow._fields, 0.25) | {"epoch": epoch, "epoch_seconds": 61.5}
    return EpochRow(**(values | changes))


def test_history_grows_by_the_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Recorder(log=tmp_path / "logs/train.log", history=tmp_path / "history.csv") as recorder:
        for epoch in (1, 2):
            recorder.epoch(row(epoch, val_loss=1 / epoch), is_best=epoch == 2)
            assert HISTORY.read_rows(tmp_path / "history.csv") == [
                row(number, val_loss=1 / number) for number in range(1, epoch + 1)
            ]
    head, first, second = capsys.readouterr().out.splitlines()
    assert len(head) == len(first), "columns stand under their names"
    assert second.endswith("61.5  best")
    assert (tmp_path / "logs/train.log").read_text().splitlines() == [head, first, second]


def test_tensorboard_gets_every_column(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Recorder(
        log=tmp_path / "train.log", history=tmp_path / "history.csv", events=tmp_path / "events"
    ) as recorder:
        recorder.epoch(row(1, val_loss=0.5), is_best=True)
        recorder.epoch(row(2, val_loss=0.125), is_best=True)
    events = accumulator.EventAccumulator(str(tmp_path / "events")).Reload()
    assert set(events.Tags()["scalars"]) == set(EpochRow._fields) - {"epoch"}
    assert [(event.step, event.value) for event in events.Scalars("val_loss")] == [
        (1, 0.5),
        (2, 0.125),
    ]


def test_why_a_run_stopped_is_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "train.log"

    def stop() -> None:
        with Recorder(log=log, history=tmp_path / "history.csv") as recorder:
            recorder.note("hello")
            raise TrainingError("the loss is nan")

    with pytest.raises(TrainingError):
        stop()
    assert log.read_text() == "hello\nstopped: TrainingError: the loss is nan\n"


def test_only_the_leading_process_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Recorder(
        log=tmp_path / "train.log", history=tmp_path / "history.csv", leads=False
    ) as recorder:
        recorder.note("hello")
        recorder.epoch(row(1), is_best=True)
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())
