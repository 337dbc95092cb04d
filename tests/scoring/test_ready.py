"""How many clips are shown at once, and that it does not matter for the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import ROUNDING, tiny_params, write_checkpoint

from slowfast_finetune.model.checkpoint import Preprocessing, classifier_from, load_checkpoint
from slowfast_finetune.scoring.ready import made_ready, views_at_once


@pytest.mark.parametrize(
    ("device", "num_frames", "crop_size", "expected"),
    [
        ("cpu", 16, 224, 2),
        ("cpu", 32, 224, 2),
        ("cpu", 64, 256, 2),  # never one: in fp32 it takes the time of two
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


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_answer_does_not_depend_on_what_else_is_asked(tmp_path: Path, precision: str) -> None:
    params = tiny_params(runtime={"precision": precision})
    checkpoint = load_checkpoint(write_checkpoint(tmp_path / "best.pt", params))
    classifier, _ = made_ready(classifier_from(checkpoint), params.runtime)
    # On a CPU without bf16 a clip takes more than a second in it.
    count, sizes = (8, (1, 2, 3, 7)) if precision == "fp32" else (3, (1, 2))
    clips = torch.randint(0, 256, (count, 8, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = classifier(clips)[0].numpy()
        for size in sizes:
            found = torch.cat([classifier(part)[0] for part in clips.split(size)]).numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)
