"""Compute scores from arrays of labels and probabilities. Pure.

Every score is a function of sums over videos. The sums of resampled videos are a matrix product,
which makes bootstrap confidence intervals cheap.
"""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Probabilities = Floats

# So that the loss of a wrong prediction with probability 1 is 27.6 instead of infinity.
MIN_PROBABILITY = 1e-12
# Of equal width, from 0 to 1; of the calibration error and of the reliability diagram.
NUM_BINS = 10


def score(true: Labels, predicted: Labels) -> dict[str, float]:
    """Compute the scores of predicted labels, each from 0 to 1, as scikit-learn defines them.

    These are ``accuracy``, and ``macro_`` and ``weighted_`` ``precision``, ``recall`` and ``f1``.
    Macro averages give every class the same weight, weighted ones that of its videos. A class that
    is never predicted has precision 0; a class without videos is left out.

    Args:
        true, predicted: labels (N,), N ≥ 1.
    """
    num_classes = int(max(true.max(), predicted.max())) + 1
    values = scores_of_sums(label_sums(true, predicted, num_classes=num_classes))
    return {name: float(value[0]) for name, value in values.items()}


def label_sums(
    true: Labels, predicted: Labels, *, num_classes: int, units: Labels | None = None
) -> Floats:
    """Count the videos of each class, its predictions, and its correct ones: (units, 3 classes).

    Args:
        true, predicted: labels (N,).
        units: (N,) the row in which a video is counted; one row for all by default.
    """
    rows = np.zeros_like(true) if units is None else units
    sums = np.zeros((int(rows.max()) + 1, 3 * num_classes))
    right = true == predicted
    np.add.at(sums, (rows, true), 1)
    np.add.at(sums, (rows, num_classes + predicted), 1)
    np.add.at(sums, (rows[right], 2 * num_classes + true[right]), 1)
    return sums


def scores_of_sums(sums: Floats) -> dict[str, Floats]:
    """Compute the scores of :func:`score` (B,) from :func:`label_sums` (B, 3 classes)."""
    of_class, _, right = np.split(sums, 3, axis=1)
    present = of_class > 0
    weights = {
        "macro": present / present.sum(axis=1, keepdims=True),
        "weighted": of_class / of_class.sum(axis=1, keepdims=True),
    }
    by_class = class_scores(sums)
    return {"accuracy": right.sum(axis=1) / of_class.sum(axis=1)} | {
        f"{average}_{name}": (values * weight).sum(axis=1)
        for average, weight in weights.items()
        for name, values in by_class.items()
    }


def class_scores(sums: Floats) -> dict[str, Floats]:
    """Compute precision, recall and F1 (B, classes) from :func:`label_sums` (B, 3 classes).

    0 where there is nothing to divide by, as scikit-learn's ``zero_division=0``.
    """
    of_class, predicted, right = np.split(sums, 3, axis=1)
    parts = {
        "precision": (right, predicted),
        "recall": (right, of_class),
        "f1": (2 * right, of_class + predicted),
    }
    return {
        name: np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
        for name, (part, whole) in parts.items()
    }


def negative_log_likelihood(true: Labels, probabilities: Probabilities) -> Floats:
    """Compute -ln p(true class) of each video (N,) from probabilities (N, classes)."""
    chosen = probabilities[np.arange(len(true)), true]
    return -np.log(np.maximum(chosen, MIN_PROBABILITY))


def in_top(true: Labels, probabilities: Probabilities, *, k: int) -> Bools:
    """Tell whether the true class is among the ``k`` most probable (N,); lower labels win ties."""
    ranks: Labels = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    found: Bools = (ranks == true[:, None]).any(axis=1)
    return found


def bin_of(confidence: Floats) -> Labels:
    """Return the bin (N,) of each confidence from 0 to 1; its upper edge belongs to a bin."""
    return np.clip(np.ceil(confidence * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)


def bin_sums(confidence: Floats, right: Bools, *, units: Labels | None = None) -> Floats:
    """Add up correct predictions and confidence in each bin: (units, 2 NUM_BINS)."""
    rows = np.zeros(len(right), np.int64) if units is None else units
    sums = np.zeros((int(rows.max()) + 1, 2 * NUM_BINS))
    bins = bin_of(confidence)
    np.add.at(sums, (rows, bins), right)
    np.add.at(sums, (rows, NUM_BINS + bins), confidence)
    return sums


def calibration_error(sums: Floats, num_videos: Floats) -> Floats:
    """Compute the expected calibration error (B,) from :func:`bin_sums` (B, 2 NUM_BINS).

    The mean over videos of |accuracy - mean confidence| of their bin: Guo et al., "On Calibration
    of Modern Neural Networks", ICML 2017.
    """
    right, confident = np.split(sums, 2, axis=1)
    error: Floats = np.abs(right - confident).sum(axis=1) / num_videos
    return error
