"""Pure: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]

# The smallest probability that counts; a certain and wrong answer costs 27.6, not infinity.
MIN_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Scores:
    """Scores of predicted against true labels, each from 0 to 1.

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
    """Accuracy, and precision, recall and F1 in two averages; scikit-learn's definitions.

    Args:
        true, predicted: labels (N,), N ≥ 1.
    """
    from sklearn.metrics import precision_recall_fscore_support as prf

    labels = np.unique(true)
    macro = prf(true, predicted, labels=labels, average="macro", zero_division=0.0)
    weighted = prf(true, predicted, labels=labels, average="weighted", zero_division=0.0)
    return Scores(
        accuracy=float(np.mean(true == predicted)),
        macro_precision=float(macro[0]),
        macro_recall=float(macro[1]),
        macro_f1=float(macro[2]),
        weighted_precision=float(weighted[0]),
        weighted_recall=float(weighted[1]),
        weighted_f1=float(weighted[2]),
    )


def score_classes(
    true: Labels, predicted: Labels, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of videos of every class, one dict a class."""
    from sklearn.metrics import precision_recall_fscore_support as prf

    labels = np.arange(len(class_names))
    precision, recall, f1, support = prf(true, predicted, labels=labels, zero_division=0.0)
    return [
        {
            "class_name": name,
            "precision": round(float(precision[label]), 4),
            "recall": round(float(recall[label]), 4),
            "f1": round(float(f1[label]), 4),
            "num_videos": int(support[label]),
        }
        for label, name in enumerate(class_names)
    ]


def log_loss(true: Labels, probabilities: Probabilities) -> float:
    """Mean of -ln p(true class) over probabilities (N, classes)."""
    chosen = probabilities[np.arange(len(true)), true]
    return float(-np.log(np.maximum(chosen, MIN_PROBABILITY)).mean())


def majority_baseline(train: Labels, test: Labels) -> float:
    """Test accuracy of always answering the most frequent training class, lowest label first."""
    return float(np.mean(test == np.bincount(train).argmax()))


def average_views(
    probabilities: Probabilities, clip_indices: Labels, *, num_clips: int
) -> Probabilities:
    """Mean probabilities (num_clips, classes) of views (V, classes) over each clip's views.

    ``clip_indices`` (V,) says which clip a view belongs to; every clip has at least one.
    """
    total = np.zeros((num_clips, probabilities.shape[1]))
    np.add.at(total, clip_indices, probabilities)
    return total / np.bincount(clip_indices, minlength=num_clips)[:, None]
