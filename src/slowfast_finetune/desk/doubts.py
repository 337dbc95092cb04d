"""Rank labels by how much probabilities of models that have not seen them speak against. Pure.

A label's score is the normalised margin: the highest probability of another class, less that of its
own (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 70, 2021, section 3.2; Kuan and Mueller, "Model-agnostic label quality scoring to detect
real-world label errors", ICML DataPerf workshop 2022). benchmarks/README.md compares it with other
orders.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.features.logistic import PENALTIES, best_of, cross_validate, deal_folds
from slowfast_finetune.scoring.metrics import Floats, Labels


def held_out_probabilities(
    rows: Sequence[ClipRow], features: Features, *, balanced: bool, seed: int
) -> tuple[Floats, float]:
    """Predict every video by a head that has not seen its group.

    Args:
        rows: their labels are the numbers from 0 up, each at least once.
        features: means over the views, float32 (N, D), of these rows.

    Returns:
        Probabilities (N, classes), and the penalty of the heads: that with the lowest loss.

    Raises:
        DataError: as :func:`deal_folds`.
    """
    from scipy.special import softmax

    labels = np.array([row.label for row in rows], np.int64)
    folds = deal_folds(rows, seed=seed)
    results = cross_validate(features[:, None], labels, folds, num_views=1, balanced=balanced)
    best = best_of(results)
    probabilities: Floats = softmax(results[best].logits[:, 0], axis=1)
    return probabilities, PENALTIES[best]


def margins(probabilities: Floats, labels: Labels) -> Floats:
    """Highest probability of another class less that of the own (N,), from -1 to 1."""
    own = np.arange(len(labels)), labels
    others = probabilities.copy()
    others[own] = -np.inf
    found: Floats = others.max(axis=1) - probabilities[own]
    return found
