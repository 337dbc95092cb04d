"""Augment training clips on the device: zoom, mirror, RandAugment, mixup, CutMix.

Crops are cut where the windows are read (clips/). Nothing here draws on the global random state: a
clip's colours are seeded by its window, the rest was planned with it.
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.base.params import AugmentParams
from slowfast_finetune.clips.windows import MicroBatch, Mix, Window

OTHER_SIDE = {"left": "right", "right": "left"}


def augmented(
    clips: Tensor, micro_batch: MicroBatch, augment: AugmentParams, *, device: torch.device
) -> Tensor:
    """The clips of a micro-batch as the model sees them: uint8 (B, T, S, S, 3), on the device.

    Args:
        clips: as a loader gives them, of the windows and then of their partners.
    """
    clips = clips.to(device, non_blocking=True)
    windows = (*micro_batch.windows, *micro_batch.partners)
    clips = rand_augment(zoom_and_mirror(clips, windows), windows, augment)
    if micro_batch.mix is None:
        return clips
    count = len(micro_batch.windows)
    return mix_clips(clips[:count], clips[count:], micro_batch.mix)


def zoom_and_mirror(clips: Tensor, windows: Sequence[Window]) -> Tensor:
    """Enlarge windows that fill a corner of their frames only, bilinearly, and mirror some.

    Args:
        clips: uint8 (B, T, S, S, 3), changed in place.
        windows: one for each clip.
    """
    size = clips.shape[2]
    for clip, window in zip(clips, windows, strict=True):
        if window.side == size and not window.mirrored:
            continue
        images = clip[:, : window.side, : window.side].permute(0, 3, 1, 2)
        if window.side != size:
            images = _resize(images, size)
        if window.mirrored:
            images = images.flip(3)
        clip.copy_(images.permute(0, 2, 3, 1))
    return clips


def _resize(images: Tensor, size: int) -> Tensor:
    """Scale uint8 (T, 3, s, s) to (T, 3, size, size)."""
    if images.device.type == "cpu":
        # A copy without gaps takes the vectorised way for bytes.
        images = images.contiguous(memory_format=torch.channels_last)
        return interpolate(images, (size, size), mode="bilinear", antialias=True)
    return interpolate(images.float(), (size, size), mode="bilinear").round_().to(torch.uint8)


def rand_augment(clips: Tensor, windows: Sequence[Window], augment: AugmentParams) -> Tensor:
    """RandAugment (Cubuk et al., 2019) as torchvision has it, one draw for all frames of a clip.

    Args:
        clips: uint8 (B, T, S, S, 3); returned unchanged where no operation is set.
        windows: one for each clip, which seed the draws.
    """
    if augment.rand_augment_ops == 0:
        return clips
    from slowfast_finetune.model.library_imports import import_torchvision

    import_torchvision()
    from torchvision.transforms import v2

    transform = v2.RandAugment(
        num_ops=augment.rand_augment_ops,
        magnitude=augment.rand_augment_magnitude,
        interpolation=v2.InterpolationMode.BILINEAR,
        fill=[114, 114, 114],  # the mean of the normalisation: what is outside looks like nothing
    )
    changed = torch.empty_like(clips)
    with torch.random.fork_rng(devices=[]):
        for clip, window, target in zip(clips, windows, changed, strict=True):
            # torchvision draws on the CPU's generator, wherever the frames are.
            torch.default_generator.manual_seed(window.draw)
            target.copy_(transform(clip.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    return changed


def mix_clips(clips: Tensor, partners: Tensor, mix: Mix) -> Tensor:
    """Join clips with their partners, both uint8 (B, T, S, S, 3), into a new batch.

    Blending is mixup (Zhang et al., 2017); pasting a box is CutMix (Yun et al., 2019).
    """
    if mix.box is None:
        return torch.lerp(partners.float(), clips.float(), mix.share).round_().to(torch.uint8)
    top, left, height, width = mix.box
    box = (..., slice(top, top + height), slice(left, left + width), slice(None))
    mixed = clips.clone()
    mixed[box] = partners[box]
    return mixed


def check_mirroring(class_names: Sequence[str], augment: AugmentParams) -> str | None:
    """Whether mirrored clips would carry a wrong label; a warning, where names only hint at it.

    Raises:
        ParamsError: mirroring is on, and two classes differ only in left and right.
    """
    if augment.horizontal_flip == 0:
        return None
    sided = [name for name in class_names if _mirrored_name(name) != _words(name)]
    known = {_words(name) for name in class_names}
    for name in sided:
        if _mirrored_name(name) in known:
            raise ParamsError(
                f"augment.horizontal_flip: {augment.horizontal_flip:g} would show {name!r} as its "
                f"mirror image {_mirrored_name(name)!r}, which is another class; set it to 0"
            )
    if sided:
        return (
            f"warning: augment.horizontal_flip is {augment.horizontal_flip:g}, but "
            f"{', '.join(map(repr, sided))} names a side; set it to 0 if sides matter"
        )
    return None


def _mirrored_name(name: str) -> str:
    """The words of a name with left and right exchanged."""
    side = r"(?<![a-z])(left|right)(?![a-z])"
    return re.sub(side, lambda found: OTHER_SIDE[found.group()], _words(name))


def _words(name: str) -> str:
    """A name in lower case, its words apart: ``TurnLeft`` and ``turn_left`` as ``turn left``."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.sub(r"[\s_-]+", " ", apart).lower()
