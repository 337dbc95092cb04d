"""Measure how unlike the training videos a video is, by its nearest neighbours among them. Pure.

The distance to the k-th nearest neighbour in features of length 1: Sun, Ming, Zhu and Li,
"Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022 (arXiv 2204.06507). The
square root is taken of each feature first, so that a few large ones do not decide alone
(Arandjelović and Zisserman, "Three things everyone should know to improve object retrieval",
CVPR 2012). docs/predicting.md compares this with other rules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.scoring.calibration import KEPT_SHARE
from slowfast_finetune.scoring.metrics import Floats, Labels

if TYPE_CHECKING:
    from slowfast_finetune.model.checkpoint import Checkpoint

Features = npt.NDArray[np.float32]

MAX_KEPT = 1000  # training videos whose features a checkpoint carries: 4.6 MB for R50
CHUNK = 1000  # videos compared at once, to bound the memory
FAMILIAR = 1.0  # novelty up to which a video counts as like the training videos


@dataclass(frozen=True)
class Neighbours:
    """The training videos that a video is compared with."""

    directions: Features  # float32 (N, D), see :func:`directions_of`
    k: int  # which of the nearest counts, from 1
    limit: float  # the distance that 95 % of the validation videos do not exceed

    def novelty(self, features: Features) -> Floats:
        """Distances to the k-th nearest, as multiples of the limit (M,), of features (M, D)."""
        return distances(self.directions, directions_of(features), k=self.k) / self.limit

    def as_plain(self) -> dict[str, Any]:
        """What a checkpoint keeps; float16 changes a distance by a thousandth."""
        import torch  # here: heads are fitted, and labels judged, without it

        kept = torch.from_numpy(self.directions).half()
        return {"directions": kept, "k": self.k, "limit": self.limit}

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Neighbours | None:
        """Those of a checkpoint; None if it was written without.

        Raises:
            CheckpointError: they are not as this project writes them.
        """
        if checkpoint.neighbours is None:
            return None
        try:
            kept, k, limit = (checkpoint.neighbours[n] for n in ("directions", "k", "limit"))
            size = checkpoint.model_state["blocks.6.proj.weight"].shape[1]
            is_sound = kept.ndim == 2 and kept.shape[1] == size and 1 <= k <= len(kept)
            if not (is_sound and kept.isfinite().all() and 0 < limit < np.inf):
                raise ValueError("out of range")
            return cls(kept.float().numpy(), int(k), float(limit))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                "the checkpoint's neighbours are not as this project writes them"
            ) from error


def directions_of(features: Features) -> Features:
    """Square roots of features (M, D), scaled to length 1; what is below 0 counts as 0."""
    roots = np.sqrt(np.maximum(features, 0.0, dtype=np.float32))
    lengths = np.linalg.norm(roots, axis=1, keepdims=True)
    directions: Features = roots / np.maximum(lengths, np.float32(1e-12))
    return directions


def distances(known: Features, directions: Features, *, k: int) -> Floats:
    """Distance (M,) of each of M directions to the k-th nearest of the known ones (N, D)."""
    nearest = [
        np.partition(part @ known.T, len(known) - k, axis=1)[:, len(known) - k]
        for part in np.array_split(directions, len(directions) // CHUNK + 1)
    ]
    cosines = np.concatenate(nearest).astype(np.float64)
    return np.sqrt(np.maximum(2 - 2 * cosines, 0.0))


def neighbours_from(train: Features, val: Features) -> Neighbours:
    """Keep training videos (N, D), and fit the limit to validation videos (M, D).

    k is the square root of the number of videos that are kept.
    """
    known = _kept(directions_of(train))
    k = neighbour_rank(len(known))
    return Neighbours(known, k, _limit(distances(known, directions_of(val), k=k)))


def neighbours_between_folds(features: Features, folds: Labels) -> Neighbours:
    """Keep all videos (N, D), and fit the limit to each fold's distances from the others."""
    directions = directions_of(features)
    found = np.zeros(len(folds))
    for fold in np.unique(folds):
        inside = folds == fold
        known = _kept(directions[~inside])
        found[inside] = distances(known, directions[inside], k=neighbour_rank(len(known)))
    known = _kept(directions)
    return Neighbours(known, neighbour_rank(len(known)), _limit(found))


def neighbour_rank(num_known: int) -> int:
    """The k for so many videos: about as many as a class of a few dozen has from other groups."""
    return max(1, round(math.sqrt(num_known)))


def _kept(directions: Features) -> Features:
    """At most MAX_KEPT, evenly spread over the order, in which classes follow one another."""
    chosen = np.linspace(0, len(directions) - 1, min(len(directions), MAX_KEPT)).round()
    return directions[chosen.astype(np.int64)]


def _limit(found: Floats) -> float:
    return max(float(np.quantile(found, KEPT_SHARE, method="higher")), 1e-6)
