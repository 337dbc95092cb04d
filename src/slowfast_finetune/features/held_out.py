"""Predict videos by heads on features that have not seen their groups. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.features.logistic import (
    best_of,
    check_features,
    cross_validate,
    deal_folds,
)
from slowfast_finetune.scoring.metrics import Floats


def held_out_probabilities(
    rows: Sequence[ClipRow], features: Features, *, balanced: bool, seed: int
) -> tuple[Floats, float]:
    """Predict every video by a head that has not seen its group.

    Args:
        features: means over the views, float32 (N, D), of these rows.

    Returns:
        Probabilities (N, classes), of the labels that occur, ascending; and the penalty of the
        heads: that with the lowest loss.

    Raises:
        DataError: as :func:`check_features` and :func:`deal_folds`.
    """
    from scipy.special import softmax

    check_features(rows, features[:, None])
    labels = np.unique([row.label for row in rows], return_inverse=True)[1]
    folds = deal_folds(rows, seed=seed)
    results = cross_validate(features[:, None], labels, folds, num_views=1, balanced=balanced)
    best = best_of(results)
    probabilities: Floats = softmax(results[best].logits[:, 0], axis=1)
    return probabilities, results[best].penalty
