"""RandAugment, mixup, CutMix, and names that forbid mirroring."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor
from toy_learner import augment

from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.clips.windows import Mix, Window
from slowfast_finetune.training.augmentation import (
    check_mirroring,
    mix_clips,
    rand_augment,
    zoom_and_mirror,
)


def still_clips(count: int) -> Tensor:
    """Clips whose frames are all the same picture, uint8 (B, 5, 24, 24, 3)."""
    torch.manual_seed(0)
    picture = torch.randint(0, 256, (count, 1, 24, 24, 3), dtype=torch.uint8)
    return picture.expand(count, 5, 24, 24, 3).contiguous()


def ramp(side: int, size: int) -> Tensor:
    """A clip whose corner of ``side`` px grows brighter to the right; noise round it."""
    torch.manual_seed(0)
    clip = torch.randint(0, 256, (1, 3, size, size, 3), dtype=torch.uint8)
    clip[:, :, :side, :side] = (torch.arange(side) * 8)[None, None, None, :, None]
    return clip


@pytest.mark.parametrize("mirrored", [False, True])
def test_smaller_window_is_enlarged_as_an_independent_library_does(mirrored: bool) -> None:
    clips = torch.cat([ramp(20, 32), ramp(32, 32)])
    whole = clips[1].clone()
    picture = PIL.Image.fromarray(clips[0, 0, :20, :20].numpy())
    expected = np.asarray(picture.resize((32, 32), PIL.Image.Resampling.BILINEAR)).astype(int)
    if mirrored:
        expected = expected[:, ::-1]
    both = [Window(0, 0, 0, 0, side=20, mirrored=mirrored), Window(1, 0, 0, 0, side=32)]
    enlarged = zoom_and_mirror(clips, both)
    for frame in enlarged[0].numpy():
        assert np.abs(frame.astype(int) - expected).max() <= 1
    assert torch.equal(enlarged[1], whole), "the other clip stays"


def test_mirrored_window_is_the_same_box_from_right_to_left() -> None:
    torch.manual_seed(0)
    clips = torch.randint(0, 256, (2, 4, 16, 16, 3), dtype=torch.uint8)
    plain = clips.clone()
    mirrored = zoom_and_mirror(clips, [Window(0, 0, 0, 0, 16, mirrored=m) for m in (True, False)])
    for column in (0, 1, 15):
        assert torch.equal(mirrored[0, :, :, column], plain[0, :, :, 15 - column])
    assert torch.equal(mirrored[1], plain[1])


def windows(*draws: int) -> list[Window]:
    return [Window(0, 0, 0, 0, 24, draw=draw) for draw in draws]


@pytest.mark.slow
def test_rand_augment_treats_all_frames_of_a_clip_alike() -> None:
    clips = still_clips(12)
    changed = rand_augment(clips, windows(*range(12)), augment(rand_augment_ops=2))
    assert changed.dtype == torch.uint8
    assert changed.shape == clips.shape
    for clip in changed:
        assert all(torch.equal(frame, clip[0]) for frame in clip)
    different = sum(not torch.equal(a, b) for a, b in zip(clips, changed, strict=True))
    assert different >= 8, "of twelve clips most are changed"


def test_rand_augment_depends_on_the_window_alone() -> None:
    clips, settings = still_clips(1), augment(rand_augment_ops=2)
    first = rand_augment(clips, windows(7), settings)
    before = torch.random.get_rng_state()
    torch.testing.assert_close(rand_augment(clips, windows(7), settings), first)
    assert torch.equal(before, torch.random.get_rng_state())
    others = [rand_augment(clips, windows(draw), settings) for draw in range(8)]
    assert any(not torch.equal(first, other) for other in others)


def test_no_operations_no_change() -> None:
    clips = still_clips(1)
    assert rand_augment(clips, windows(1), augment()) is clips


def constant(value: int) -> Tensor:
    return torch.full((1, 2, 4, 6, 3), value, dtype=torch.uint8)


def test_mixup_blends() -> None:
    mixed = mix_clips(constant(200), constant(100), Mix(share=0.3))
    assert mixed.dtype == torch.uint8
    assert mixed.unique().tolist() == [130]


def test_cutmix_pastes_the_box() -> None:
    own = constant(200)
    mixed = mix_clips(own, constant(100), Mix(share=0.5, box=(1, 2, 3, 4)))
    expected = torch.full((4, 6), 200)
    expected[1:4, 2:6] = 100
    assert torch.equal(mixed[0, 1, :, :, 2].long(), expected)
    assert torch.equal(mixed[0, 0, :, :, 0].long(), expected)
    assert own.unique().tolist() == [200], "the clips themselves stay"


@pytest.mark.parametrize(
    "names",
    [
        ["turn left", "turn right"],
        ["Left-Hook", "right-hook"],
        ["left_hand_up", "right_hand_up"],
        ["TurnLeft", "TurnRight"],
        ["leftHook", "rightHook"],
    ],
)
def test_mirrored_classes_are_refused(names: list[str]) -> None:
    with pytest.raises(ParamsError, match=r"augment\.horizontal_flip: 0\.5 would show '"):
        check_mirroring(names, augment(horizontal_flip=0.5))
    assert check_mirroring(names, augment(horizontal_flip=0.0)) is None


@pytest.mark.parametrize(
    ("names", "warned"),
    [
        (["jump", "turn left"], True),
        (["jump", "leftover", "bright"], False),
        (["left and right", "none"], True),
    ],
)
def test_names_that_hint_at_a_side(names: list[Any], warned: bool) -> None:
    warning = check_mirroring(names, augment(horizontal_flip=0.5))
    assert (warning is not None) == warned
    if warned:
        assert "names a side" in str(warning)
