"""Find the features that are nearest to others. Pure."""

import numpy as np

from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.scoring.metrics import Labels

_CHUNK = 500  # rows compared at once, to bound the memory


def nearest(
    given: Features, features: Features, *, k: int, but_itself: bool = False
) -> tuple[Labels, Features]:
    """Find the k rows of features (N, D) that are nearest to each of (M, D).

    Of equal cosines the first comes first.

    Args:
        but_itself: the given ones are the first M of the features; none is its own neighbour.

    Returns:
        Positions and cosines, (M, k) or as many as there are.
    """
    known, asked = _directions(features), _directions(given)
    positions, cosines = [], []
    for start in range(0, len(asked), _CHUNK):
        chunk = asked[start : start + _CHUNK] @ known.T
        if but_itself:
            own = np.arange(len(chunk))
            chunk[own, start + own] = -np.inf
        order = np.argsort(-chunk, axis=1, kind="stable")[:, : min(k, len(known) - but_itself)]
        positions.append(order)
        cosines.append(np.take_along_axis(chunk, order, axis=1))
    return np.concatenate(positions), np.concatenate(cosines)


def _directions(features: Features) -> Features:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    found: Features = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found
