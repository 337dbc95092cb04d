"""Pure: arrays in, numbers out. Every score is a function of sums over videos.

Sums can be taken again over other videos, or over some of them twice, for the price of a matrix
product: that is what makes the intervals of resampling.py cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Probabilities = Floats

# The smallest probability that counts; a certain and wrong answer costs 27.6, not infinity.
MIN_PROBABILITY = 1e-12
# Of equal width, from 0 to 1; the reliability diagram shows the bins of the calibration error.
NUM_BINS = 10


@dataclass(frozen=True)
class Scores:
    """Scores of predicted against true labels, each from 0 to 1; scikit-learn's definitions.

    Macro averages weigh every class the same, weighted ones by its videos. A class that is
    never predicted has precision 0; a class without videos takes no part.
    """

    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float


def score(true: Labels, predicted: Labels) -> Scores:
    """Accuracy, and precision, recall and F1 in two averages.

    Args:
        true, predicted: labels (N,), N ≥ 1.
    """
    num_classes = int(max(true.max(), predicted.max())) + 1
    values = scores_of_sums(label_sums(true, predicted, num_classes=num_classes))
    return Scores(**{name: float(value[0]) for name, value in values.items()})


def label_sums(
    true: Labels, predicted: Labels, *, num_classes: int, units: Labels | None = None
) -> Floats:
    """Videos of each class, videos taken for it, and both at once: (units, 3 classes).

    Args:
        true, predicted: labels (N,).
        units: (N,) the row that a video is counted in; one row for all if there is none.
    """
    rows = np.zeros_like(true) if units is None else units
    sums = np.zeros((int(rows.max()) + 1, 3 * num_classes))
    right = true == predicted
    np.add.at(sums, (rows, true), 1)
    np.add.at(sums, (rows, num_classes + predicted), 1)
    np.add.at(sums, (rows[right], 2 * num_classes + true[right]), 1)
    return sums


def scores_of_sums(sums: Floats) -> dict[str, Floats]:
    """Every field of :class:`Scores` (B,) from sums of :func:`label_sums` (B, 3 classes)."""
    of_class, taken, right = np.split(sums, 3, axis=1)
    weights = of_class / of_class.sum(axis=1, keepdims=True)
    present = of_class > 0
    macro = present / present.sum(axis=1, keepdims=True)
    by_class = {
        "precision": _ratio(right, taken),
        "recall": _ratio(right, of_class),
        "f1": _ratio(2 * right, of_class + taken),
    }
    values = {"accuracy": right.sum(axis=1) / of_class.sum(axis=1)}
    for average, share in (("macro", macro), ("weighted", weights)):
        values |= {
            f"{average}_{name}": (each * share).sum(axis=1) for name, each in by_class.items()
        }
    return values


def _ratio(part: Floats, whole: Floats) -> Floats:
    """0 where there is nothing to divide by, as scikit-learn's zero_division=0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def score_classes(
    true: Labels, predicted: Labels, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of videos of every class, one dict a class."""
    sums = label_sums(true, predicted, num_classes=len(class_names))
    of_class, taken, right = np.split(sums[0], 3)
    precision, recall = _ratio(right, taken), _ratio(right, of_class)
    f1 = _ratio(2 * right, of_class + taken)
    return [
        {
            "class_name": name,
            "precision": float(precision[label]),
            "recall": float(recall[label]),
            "f1": float(f1[label]),
            "num_videos": int(of_class[label]),
        }
        for label, name in enumerate(class_names)
    ]


def negative_log_likelihood(true: Labels, probabilities: Probabilities) -> Floats:
    """-ln p(true class) of each video (N,), from probabilities (N, classes)."""
    chosen = probabilities[np.arange(len(true)), true]
    losses: Floats = -np.log(np.maximum(chosen, MIN_PROBABILITY))
    return losses


def in_top(true: Labels, probabilities: Probabilities, *, k: int) -> npt.NDArray[np.bool_]:
    """Whether the true class is among the ``k`` most probable (N,); a tie goes to lower labels."""
    ranks: Labels = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    found: npt.NDArray[np.bool_] = (ranks == true[:, None]).any(axis=1)
    return found


def bin_of(confidence: Floats) -> Labels:
    """The bin (N,) of each confidence from 0 to 1: of NUM_BINS; its upper edge belongs to it."""
    return np.clip(np.ceil(confidence * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)


def bin_sums(
    confidence: Floats, right: npt.NDArray[np.bool_], *, units: Labels | None = None
) -> Floats:
    """Right answers and confidence added up in each bin: (units, 2 NUM_BINS), as label_sums."""
    rows = np.zeros(len(right), np.int64) if units is None else units
    sums = np.zeros((int(rows.max()) + 1, 2 * NUM_BINS))
    bins = bin_of(confidence)
    np.add.at(sums, (rows, bins), right)
    np.add.at(sums, (rows, NUM_BINS + bins), confidence)
    return sums


def calibration_error(sums: Floats, num_videos: Floats) -> Floats:
    """Expected calibration error (B,) from sums of :func:`bin_sums` (B, 2 NUM_BINS).

    The mean over videos of |accuracy - mean confidence| of their bin: Guo et al., "On Calibration
    of Modern Neural Networks", 2017.
    """
    right, confident = np.split(sums, 2, axis=1)
    error: Floats = np.abs(right - confident).sum(axis=1) / num_videos
    return error


def majority_class(train: Labels) -> int:
    """The most frequent training class, the lowest label of several."""
    return int(np.bincount(train).argmax())
