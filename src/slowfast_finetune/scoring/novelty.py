"""Measure how unlike the training videos a video is, by its distance from their classes. Pure.

The Mahalanobis distance to the nearest class mean, with one covariance for all classes: Lee, Lee,
Lee and Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks", NeurIPS 2018 (arXiv 1807.03888). The square root is taken of each feature first, and
these are scaled to length 1, so that a few large ones do not decide alone (Arandjelović and
Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012).
docs/predicting.md compares this with other rules.
"""

from __future__ import annotations

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

# Axes along which less than this share of the squared distance is removed are left out.
MIN_REMOVED = 0.05
FAMILIAR = 1.0  # novelty up to which a video counts as like the training videos


@dataclass(frozen=True)
class ClassDistances:
    """Where the classes of the training videos lie, and how their videos spread.

    With the covariance S within the classes, of mean variance m, the distance of x from a mean μ
    is √(m (x - μ)ᵀ (S + m I)⁻¹ (x - μ)) = √(‖x - μ‖² - ‖A (x - μ)‖²): S + m I is S shrunk half-way
    towards m I, and A has a row √(s / (s + m)) e for each eigenvector e of S with its variance s.
    """

    means: Features  # float32 (classes, D), of :func:`directions_of` the training videos
    axes: Features  # A: float32 (K, D)
    limit: float = 1.0  # the distance that 95 % of the validation videos do not exceed

    def novelty(self, features: Features) -> Floats:
        """Distances from the nearest class, as multiples of the limit (M,), of features (M, D)."""
        directions = directions_of(features)
        along, means_along = directions @ self.axes.T, self.means @ self.axes.T
        squares = [
            np.square(directions - mean).sum(axis=1) - np.square(along - mean_along).sum(axis=1)
            for mean, mean_along in zip(self.means, means_along, strict=True)
        ]
        distances: Floats = np.sqrt(np.maximum(np.min(squares, axis=0), 0.0))
        return distances.astype(np.float64) / self.limit

    def as_plain(self) -> dict[str, Any]:
        """What a checkpoint keeps; float16 changes a distance by a thousandth."""
        import torch  # here: heads are fitted, and labels judged, without it

        kept = {name: torch.from_numpy(getattr(self, name)).half() for name in ("means", "axes")}
        return {**kept, "limit": self.limit}

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> ClassDistances | None:
        """Those of a checkpoint; None if it was written without.

        Raises:
            CheckpointError: they are not as this project writes them.
        """
        if checkpoint.class_distances is None:
            return None
        try:
            means, axes, limit = (checkpoint.class_distances[n] for n in ("means", "axes", "limit"))
            size = checkpoint.model_state["blocks.6.proj.weight"].shape[1]
            for kept in (means, axes):
                if kept.shape != (len(kept), size) or not kept.isfinite().all():
                    raise ValueError("out of range")
            if not (len(means) and 0 < limit < np.inf):
                raise ValueError("out of range")
            return cls(means.float().numpy(), axes.float().numpy(), float(limit))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                "the checkpoint's class_distances are not as this project writes them"
            ) from error


def directions_of(features: Features) -> Features:
    """Square roots of features (M, D), scaled to length 1; what is below 0 counts as 0."""
    roots = np.sqrt(np.maximum(features, 0.0, dtype=np.float32))
    lengths = np.linalg.norm(roots, axis=1, keepdims=True)
    directions: Features = roots / np.maximum(lengths, np.float32(1e-12))
    return directions


def fit_class_distances(features: Features, labels: Labels) -> ClassDistances:
    """Fit to features (N, D) of training videos and their labels (N,); the limit is 1."""
    directions = directions_of(features)
    _, classes = np.unique(labels, return_inverse=True)
    sums = np.zeros((classes.max() + 1, directions.shape[1]))
    np.add.at(sums, classes, directions)
    means = (sums / np.bincount(classes)[:, None]).astype(np.float32)
    within = directions - means[classes]
    variances, axes = np.linalg.eigh(within.T @ within / len(within))
    variances = np.maximum(variances, 0.0)
    removed = variances / np.maximum(variances + variances.mean(), np.finfo(np.float32).tiny)
    kept = removed > MIN_REMOVED
    return ClassDistances(means, np.sqrt(removed[kept])[:, None] * axes.T[kept])


def with_limit(found: ClassDistances, distances: Floats) -> ClassDistances:
    """The same with the limit that 95 % of these distances (M,) do not exceed."""
    limit = float(np.quantile(distances, KEPT_SHARE, method="higher"))
    return ClassDistances(found.means, found.axes, max(limit, 1e-6))
