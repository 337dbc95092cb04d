"""Choose which unlabelled videos to label next: uncertain, and unlike each other. Pure.

Zhdanov, "Diverse mini-batch Active Learning", arXiv 1901.05954, 2019: of the most uncertain videos,
ten times as many as are wanted, k-means with their uncertainty as weight makes as many clusters as
are wanted, and the video nearest to each centre is chosen. A video is uncertain by the margin
between its two most probable classes. benchmarks/README.md compares it with other rules.
"""

import numpy as np

from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.features.logistic import fitting
from slowfast_finetune.scoring.metrics import Floats
from slowfast_finetune.scoring.novelty import directions_of

PRESELECTED = 10  # times as many videos as are wanted, as in the paper


def suggest(features: Features, probabilities: Floats, *, count: int, seed: int) -> list[int]:
    """Choose videos to label, the most uncertain first.

    Args:
        features: float32 (N, D).
        probabilities: of the classes, (N, classes).

    Returns:
        Positions, at most ``count``; fewer where the features are copies of each other.
    """
    from sklearn.cluster import KMeans

    ordered = np.sort(probabilities, axis=1)
    uncertainty = 1 - (ordered[:, -1] - ordered[:, -2])
    considered = np.argsort(-uncertainty, kind="stable")[: PRESELECTED * count]
    if len(considered) <= count:
        return [*map(int, considered)]
    directions = directions_of(features[considered])
    weights = np.maximum(uncertainty[considered], 1e-6)
    with fitting():
        model = KMeans(count, n_init=1, random_state=seed).fit(directions, sample_weight=weights)
    away = ((directions - model.cluster_centers_[model.labels_]) ** 2).sum(axis=1)
    order = np.lexsort((away, model.labels_))
    # The first of each cluster is the nearest to its centre.
    _, firsts = np.unique(model.labels_[order], return_index=True)
    return [*map(int, considered[np.sort(order[firsts])])]
