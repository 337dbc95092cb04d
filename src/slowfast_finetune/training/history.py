"""What a training run leaves behind for people: a table, a log, metrics/history.csv."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol, Self

from slowfast_finetune.console import say
from slowfast_finetune.evaluation.metrics import Scores
from slowfast_finetune.files import Row, write_table


class _HasLossAndScores(Protocol):
    @property
    def loss(self) -> float: ...
    @property
    def scores(self) -> Scores: ...


class EpochRow(Row):
    """One epoch. Losses are means a clip; scores run from 0 to 1.

    Attributes:
        epoch: counted from 1.
        grad_norm: mean L2 norm over the steps, before clipping.
        learning_rate: at the first step of the epoch.
        train_seconds: of the training pass alone.
        epoch_seconds: of training and validation.
    """

    epoch: int
    train_loss: float
    val_loss: float
    train_accuracy: float
    val_accuracy: float
    train_macro_precision: float
    val_macro_precision: float
    train_macro_recall: float
    val_macro_recall: float
    train_macro_f1: float
    val_macro_f1: float
    train_weighted_precision: float
    val_weighted_precision: float
    train_weighted_recall: float
    val_weighted_recall: float
    train_weighted_f1: float
    val_weighted_f1: float
    grad_norm: float
    learning_rate: float
    train_seconds: float
    epoch_seconds: float

    @classmethod
    def of(
        cls,
        epoch: int,
        train: _HasLossAndScores,
        val: _HasLossAndScores,
        **others: float,
    ) -> Self:
        """Collect the results of the two passes of an epoch."""
        scores = {
            f"{split}_{name}": value
            for split, result in (("train", train), ("val", val))
            for name, value in dataclasses.asdict(result.scores).items()
        }
        values: dict[str, Any] = scores | others
        return cls(epoch=epoch, train_loss=train.loss, val_loss=val.loss, **values)


COLUMNS = (
    "  epoch   loss  val loss    acc  val acc  val F1  grad norm  learn rate  clips/s  seconds"
)


class Recorder:
    """Writes every line to the console and the log, and every epoch to history.csv."""

    def __init__(self, *, log: Path, history: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("w", encoding="utf-8")
        self._history = history
        self.rows: list[EpochRow] = []

    def note(self, text: str) -> None:
        """Write a line to the console and the log."""
        say(text)
        self.log_only(text)

    def log_only(self, text: str) -> None:
        """Write a line to the log; the console has it from elsewhere."""
        self._log.write(text + "\n")
        self._log.flush()

    def epoch(self, row: EpochRow, *, is_best: bool, num_clips: int) -> None:
        """Write an epoch as a line of the table and a row of history.csv."""
        if not self.rows:
            self.note(COLUMNS)
        self.rows.append(row)
        write_table(self._history, self.rows, EpochRow)
        self.note(
            f"{row.epoch:7d}{row.train_loss:7.3f}{row.val_loss:10.3f}{row.train_accuracy:7.3f}"
            f"{row.val_accuracy:9.3f}{row.val_macro_f1:8.3f}{row.grad_norm:11.3g}"
            f"{row.learning_rate:12.2e}{num_clips / row.train_seconds:9.1f}"
            f"{row.epoch_seconds:9.1f}" + ("  best" if is_best else "")
        )

    def close(self) -> None:
        """Close the log."""
        self._log.close()
