"""Choose which unlabelled videos to label next: uncertain, and unlike each other. Pure.

BADGE (Ash, Zhang, Krishnamurthy, Langford and Agarwal, "Deep Batch Active Learning by Diverse,
Uncertain Gradient Lower Bounds", ICLR 2020): k-means++ on the gradients of the last layer, as if
the most probable class were the label. A gradient is (p - y) x^T: it is short for a video whose
class is sure, and the gradients of alike videos are near each other.
"""

from __future__ import annotations

import numpy as np

from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.scoring.metrics import Floats


def suggest(features: Features, probabilities: Floats, *, count: int, seed: int) -> list[int]:
    """Choose videos to label, the most uncertain first, then others far from those chosen.

    Args:
        features: float32 (N, D).
        probabilities: of the classes, (N, classes).

    Returns:
        Positions, at most ``count``; fewer if the other gradients are those of chosen videos.
    """
    errors = probabilities - np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
    lengths = (errors**2).sum(axis=1) * (features.astype(np.float64) ** 2).sum(axis=1)
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    nearest = np.full(len(features), np.inf)  # squared distance to the nearest chosen gradient
    while len(chosen) < min(count, len(features)):
        if not chosen:
            position = int(lengths.argmax())
        elif not (nearest > 0).any():
            break
        else:
            position = int(rng.choice(len(nearest), p=nearest / nearest.sum()))
        chosen.append(position)
        # <(p - y) x^T, (q - z) w^T> = <p - y, q - z> <x, w>: no gradient is ever written down.
        products = (errors @ errors[position]) * (features @ features[position])
        distances = np.maximum(lengths + lengths[position] - 2 * products, 0)
        nearest = np.minimum(nearest, distances)
        nearest[chosen] = 0
    return chosen
