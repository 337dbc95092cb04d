"""How many clips are shown at once."""

from __future__ import annotations

import pytest
import torch

from slowfast_finetune.inference.ready import views_at_once
from slowfast_finetune.model.checkpoint import Preprocessing


@pytest.mark.parametrize(
    ("device", "num_frames", "crop_size", "expected"),
    [
        ("cpu", 16, 224, 2),
        ("cpu", 32, 224, 1),
        ("cpu", 64, 256, 1),  # never none
        ("cpu", 16, 112, 8),
        ("cpu", 16, 64, 8),  # never more than eight
        ("cuda", 32, 224, 8),
    ],
)
def test_large_clips_are_shown_to_a_cpu_in_small_batches(
    device: str, num_frames: int, crop_size: int, expected: int
) -> None:
    shape = Preprocessing(
        num_frames=num_frames,
        sample_fps=15,
        short_side=256,
        crop_size=crop_size,
        padding="repeat_last",
    )
    assert views_at_once(shape, torch.device(device)) == expected
