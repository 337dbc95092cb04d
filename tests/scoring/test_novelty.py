"""How unlike the training videos a video is: distances by hand, limits, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from tiny_model import write_checkpoint

from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.clips.windows import Window
from slowfast_finetune.model.checkpoint import load_checkpoint, save_checkpoint
from slowfast_finetune.scoring.novelty import (
    ClassDistances,
    directions_of,
    fit_class_distances,
    with_limit,
)
from slowfast_finetune.scoring.views import Views, class_distances_from


def at(*degrees: float) -> np.ndarray:
    """Features whose square roots lie on the unit circle at these angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles) ** 2, np.sin(angles) ** 2], axis=1).astype(np.float32)


def chord(degrees: float) -> float:
    return float(2 * np.sin(np.radians(degrees) / 2))


def test_distance_is_that_of_mahalanobis_to_the_nearest_class_mean() -> None:
    rng = np.random.default_rng(0)
    spreads = np.array([3.0, 2.0, 1.0, 0.7, 0.5, 0.5])
    features = (5 + spreads * rng.normal(size=(60, 6)) + np.eye(6)[np.repeat([0, 5], 30)]).astype(
        np.float32
    )
    labels = np.repeat([4, 7], 30)
    x = directions_of(features).astype(np.float64)
    means = [x[labels == label].mean(axis=0) for label in (4, 7)]
    within = np.cov((x - np.repeat(means, 30, axis=0)).T, bias=True)
    spread = np.trace(within) / 6
    inverse = spread * np.linalg.inv(within + spread * np.eye(6))
    expected = [min(mahalanobis(each, mean, inverse) for mean in means) for each in x]
    # A twentieth of a squared distance may be left out.
    found = fit_class_distances(features, labels).novelty(features)
    assert found == pytest.approx(expected, rel=0.03)
    assert np.ptp(expected) > 0.3 * np.mean(expected)


def test_videos_that_are_all_alike_leave_the_distance_between_points() -> None:
    found = fit_class_distances(at(0, 0, 40), np.array([0, 0, 1]))
    assert found.novelty(at(20, 90)) == pytest.approx([chord(20), chord(50)], abs=1e-4)


def test_length_does_not_matter_and_nothing_is_as_far_as_can_be() -> None:
    assert directions_of(7 * at(30)) == pytest.approx(directions_of(at(30)), abs=1e-6)
    assert np.array_equal(directions_of(np.array([[0.0, -1.0]], np.float32)), [[0.0, 0.0]])


def test_limit_is_what_nineteen_of_twenty_validation_videos_do_not_exceed() -> None:
    found = fit_class_distances(at(0, 0, 0), np.zeros(3, np.int64))
    found = with_limit(found, found.novelty(at(*range(1, 22))))
    assert found.limit == pytest.approx(chord(20), abs=1e-4)
    assert with_limit(found, np.arange(1.0, 23)).limit == 21, "20 of 22 are less than 95 %"
    assert found.novelty(at(20, 60)) == pytest.approx([1, chord(60) / chord(20)], abs=1e-3)


def test_the_limit_is_that_of_as_many_views_as_are_shown() -> None:
    """The mean of a video's two views lies at the limit, not each view."""
    windows = [Window(clip, 0, 0, 0, 8) for clip in (0, 0, 1, 1)]
    val = Views(windows, np.zeros((4, 1), np.float32), at(0, 20, 0, 20))
    found = class_distances_from(at(0, 0), np.zeros(2, np.int64), val)
    mean = at(0, 20).mean(axis=0, keepdims=True)
    x, y = np.sqrt(mean[0])
    assert found.limit == pytest.approx(
        np.hypot(x / np.hypot(x, y) - 1, y / np.hypot(x, y)), abs=1e-4
    )
    assert val.novelty(found) == pytest.approx([1, 1])


def test_a_checkpoint_carries_them(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(write_checkpoint(tmp_path / "best.pt"))
    assert ClassDistances.of(checkpoint) is None
    size = checkpoint.model_state["blocks.6.proj.weight"].shape[1]
    features = np.random.default_rng(0).random((9, size), np.float32)
    kept = fit_class_distances(features, np.arange(9) % 2)
    save_checkpoint(tmp_path / "with.pt", replace(checkpoint, class_distances=kept.as_plain()))
    found = ClassDistances.of(load_checkpoint(tmp_path / "with.pt"))
    assert found is not None
    assert found.novelty(1 - features) == pytest.approx(kept.novelty(1 - features), abs=2e-3)
    for wrong in (
        {"limit": 0.0},
        {"means": torch.ones(2, size + 1)},
        {"means": torch.ones(0, size)},
        {"axes": None},
        {"axes": torch.full((9, size), torch.nan)},
    ):
        damaged = replace(checkpoint, class_distances=kept.as_plain() | wrong)
        with pytest.raises(CheckpointError, match="class_distances are not as"):
            ClassDistances.of(damaged)
