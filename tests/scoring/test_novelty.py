"""How unlike the training videos a video is: distances by hand, limits, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import write_checkpoint

from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.model.checkpoint import load_checkpoint, save_checkpoint
from slowfast_finetune.scoring.novelty import (
    MAX_KEPT,
    Neighbours,
    directions_of,
    distances,
    neighbours_between_folds,
    neighbours_from,
)


def at(*degrees: float) -> np.ndarray:
    """Features whose square roots lie on the unit circle at these angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles) ** 2, np.sin(angles) ** 2], axis=1).astype(np.float32)


def chord(degrees: float) -> float:
    return float(2 * np.sin(np.radians(degrees) / 2))


def test_distance_is_the_chord_to_the_kth_nearest() -> None:
    known = directions_of(at(0, 10, 40, 90))
    found = distances(known, directions_of(at(20)), k=2)
    # From 20 degrees: 10 to the nearest, 20 to two others.
    assert found == pytest.approx([chord(20)], abs=1e-5)
    assert distances(known, directions_of(at(20)), k=4) == pytest.approx([chord(70)], abs=1e-5)


def test_length_does_not_matter_and_nothing_is_as_far_as_can_be() -> None:
    assert directions_of(7 * at(30)) == pytest.approx(directions_of(at(30)), abs=1e-6)
    assert np.array_equal(directions_of(np.array([[0.0, -1.0]], np.float32)), [[0.0, 0.0]])


def test_limit_is_what_nineteen_of_twenty_validation_videos_do_not_exceed() -> None:
    # k is the root of 9; all training videos lie at 0 degrees.
    found = neighbours_from(at(*[0] * 9), at(*range(1, 22)))
    assert found.k == 3
    assert found.limit == pytest.approx(chord(20), abs=1e-4)
    assert found.novelty(at(20, 60)) == pytest.approx([1, chord(60) / chord(20)], abs=1e-3)


def test_a_probes_limit_comes_from_videos_that_are_left_out() -> None:
    features = at(0, 0, 0, 0, 30, 30, 30, 30)
    found = neighbours_between_folds(features, np.array([0] * 4 + [1] * 4))
    # Each has three like itself, but none of them in another fold.
    assert found.limit == pytest.approx(chord(30), abs=1e-4)
    assert found.k == 3
    assert len(found.directions) == 8


def test_no_more_than_a_thousand_are_kept() -> None:
    found = neighbours_from(np.ones((2 * MAX_KEPT, 3), np.float32), np.eye(3, dtype=np.float32))
    assert found.directions.shape == (MAX_KEPT, 3)


def test_a_checkpoint_carries_them(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(write_checkpoint(tmp_path / "best.pt"))
    assert Neighbours.of(checkpoint) is None
    size = checkpoint.model_state["blocks.6.proj.weight"].shape[1]
    features = np.random.default_rng(0).random((9, size), np.float32)
    kept = neighbours_from(features, 1 - features)
    save_checkpoint(tmp_path / "with.pt", replace(checkpoint, neighbours=kept.as_plain()))
    found = Neighbours.of(load_checkpoint(tmp_path / "with.pt"))
    assert found is not None
    assert found.novelty(1 - features) == pytest.approx(kept.novelty(1 - features), abs=2e-3)
    for wrong in (
        {"k": 10},
        {"limit": 0.0},
        {"directions": torch.ones(9, size + 1)},
        {"directions": None},
        {"directions": torch.full((9, size), torch.nan)},
    ):
        damaged = replace(checkpoint, neighbours=kept.as_plain() | wrong)
        with pytest.raises(CheckpointError, match="neighbours are not as"):
            Neighbours.of(damaged)
