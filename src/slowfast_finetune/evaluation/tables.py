"""The tables that evaluate writes, each a CSV file; docs/formats.md describes them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import Row, read_table, write_table
from slowfast_finetune.scoring.metrics import Probabilities

_PROBABILITY_DIGITS = 6


class PredictionRow(Row):
    """One test video: what it is and what it was taken for.

    Attributes:
        answer: ``predicted``, or "none of these" where ``confidence`` is below the threshold.
        confidence: probability of ``predicted``.
        num_views: over how many views the probabilities are averaged.
    """

    video_path: str
    group: str | None
    actual: str
    predicted: str
    answer: str
    confidence: float
    probability_of_actual: float
    num_views: int


class ViewRow(Row):
    """One view of a test video: frames from ``start``, a square from (top, left) [px]."""

    video_path: str
    start: int
    top: int
    left: int


class ScoreRow(Row):
    """One score with its 95 % interval; empty where there is none."""

    score: str
    value: float | None
    low: float | None
    high: float | None


class SubsetRow(Row):
    """Accuracy on some of the test videos, with its 95 % interval."""

    subset: str
    num_videos: int
    accuracy: float
    low: float
    high: float


class ClassRow(Row):
    """One class on the test split; scores from 0 to 1, ``recall`` with its 95 % interval.

    Recall and interval are empty for a class without test videos.
    """

    class_name: str
    precision: float
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    f1: float
    num_videos: int


class ConfusionRow(Row):
    """How many videos of one class were taken for another; ``share`` of the actual class."""

    actual: str
    predicted: str
    count: int
    share: float


class ReliabilityRow(Row):
    """Videos whose confidence lies in one bin: how sure on average, how often right."""

    bin: str
    confidence: float
    accuracy: float
    low: float
    high: float
    num_videos: int


@dataclass(frozen=True)
class Predictions:
    """predictions.csv as read.

    Attributes:
        rows: one a test video.
        class_names: by label.
        probabilities: float64 (rows, classes).
    """

    rows: list[PredictionRow]
    class_names: list[str]
    probabilities: Probabilities


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the rows, and the probability of every class in a column ``p(<class>)``."""
    names = [f"p({name})" for name in predictions.class_names]
    cells = np.round(predictions.probabilities, _PROBABILITY_DIGITS).tolist()
    write_table(path, predictions.rows, PredictionRow, more_columns=names, more_cells=cells)


def read_predictions(path: Path) -> Predictions:
    """Read predictions.csv.

    Raises:
        DataError: missing, not as :func:`write_predictions` writes it.
    """
    rows = read_table(path, PredictionRow)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = [
            name for name in reader.fieldnames or () if name.startswith("p(") and name[-1] == ")"
        ]
        try:
            values = [[float(row[name]) for name in columns] for row in reader]
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: a probability is not a number: {error}") from error
    if not columns:
        raise DataError(f"{path}: has no column p(<class>)")
    probabilities = np.array(values, dtype=np.float64).reshape(len(rows), len(columns))
    return Predictions(rows, [name[2:-1] for name in columns], probabilities)


def write_views(
    path: Path, rows: Sequence[ViewRow], logits: np.ndarray, class_names: Sequence[str]
) -> None:
    """Write the rows, and every logit in a column ``logit(<class>)``, exact as float32."""
    cells = [[str(value) for value in row] for row in logits.astype(np.float32)]
    write_table(
        path,
        rows,
        ViewRow,
        more_columns=[f"logit({name})" for name in class_names],
        more_cells=cells,
    )
