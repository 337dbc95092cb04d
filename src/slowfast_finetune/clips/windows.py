"""Plan which windows of the stored videos are read, and how. Pure.

Everything random about an epoch's data is drawn here from (seed, epoch): results depend neither on
how the reading is done nor on how many devices share the work.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slowfast_finetune.base.params import AugmentParams, ClipShape, TrainParams
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.decoding.sampling import window_starts


@dataclass(frozen=True)
class ViewPlan:
    """Which views of each video: clips spread over it, squares of each, and their mirror images."""

    temporal_views: int = 1
    spatial_crops: int = 1
    mirrored: bool = False


MIDDLE = ViewPlan()


@dataclass(frozen=True)
class Window:
    """A box of a stored video: frames from ``start``, ``side`` × ``side`` px from (top, left)."""

    clip: int  # which row, of those that the windows were planned for
    start: int
    top: int
    left: int
    side: int
    mirrored: bool = False  # left and right exchanged
    draw: int = 0  # what the random choices of its appearance are seeded with


@dataclass(frozen=True)
class Mix:
    """How the clips of a step are joined with their partners."""

    share: float  # of the clip's own label in the loss; the partner's has the rest
    # (top, left, height, width) in px, where the partner is pasted in; None blends.
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Step:
    """What one step of the optimiser learns from; ``mix`` joins each window with the next one."""

    windows: tuple[Window, ...]
    mix: Mix | None = None


@dataclass(frozen=True)
class MicroBatch:
    """The part of a step that one device computes at once."""

    windows: tuple[Window, ...]  # the clips
    partners: tuple[Window, ...]  # what each is joined with; empty without ``mix``
    mix: Mix | None
    num_counted: int  # so many of the clips count; the others only keep the devices in step
    step_size: int  # clips of the whole step, over all devices
    ends_step: bool  # whether the optimiser moves after it


def plan_training_epoch(
    rows: Sequence[ClipRow],
    recipe: TrainParams,
    augment: AugmentParams,
    shape: ClipShape,
    *,
    epoch: int,
) -> list[Step]:
    """One window of every video, in random order, in steps: what an epoch trains on.

    Depends on the arguments alone: of the recipe, on batch size, class balance and seed. With the
    sampler an epoch has as many windows, but the same number of every class. A last step of a
    single clip joins the one before it: its batch-norm statistics would be those of one video.
    """
    batch_size, balanced = recipe.batch_size, recipe.class_balance == "sampler"
    rng = np.random.default_rng([recipe.seed, epoch])
    order = _balanced_order(rows, rng) if balanced else rng.permutation(len(rows)).tolist()
    windows = [_random_window(clip, rows[clip], rng, augment, shape) for clip in order]
    parts = in_batches(windows, size=batch_size)
    if len(parts) > 1 and batch_size > 1 and len(parts[-1]) == 1:
        parts[-2:] = [[*parts[-2], *parts[-1]]]
    return [Step(tuple(part), _draw_mix(rng, augment, shape.crop_size)) for part in parts]


def _balanced_order(rows: Sequence[ClipRow], rng: np.random.Generator) -> list[int]:
    """As many clips as there are, the same number of each class, repeated as late as can be."""
    labels = np.array([row.label for row in rows])
    classes = rng.permutation(np.unique(labels))
    wanted, left_over = divmod(len(rows), len(classes))
    chosen: list[int] = []
    for position, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        number = wanted + (position < left_over)
        rounds = [rng.permutation(members) for _ in range(math.ceil(number / len(members)))]
        chosen += np.concatenate([members[:0], *rounds])[:number].tolist()
    return [chosen[position] for position in rng.permutation(len(chosen))]


def _random_window(
    clip: int, row: ClipRow, rng: np.random.Generator, augment: AugmentParams, shape: ClipShape
) -> Window:
    # The same number of draws for every video, so that one choice does not shift the next.
    time, vertical, horizontal, mirror, zoom = rng.random(5).tolist()
    draw = int(rng.integers(2**62))
    side = round(shape.crop_size / (1 + zoom * (augment.max_zoom - 1)))
    top, left = (row.height - side) // 2, (row.width - side) // 2
    if augment.random_crop:
        top = int(vertical * (row.height - side + 1))
        left = int(horizontal * (row.width - side + 1))
    return Window(
        clip=clip,
        start=int(time * (row.num_frames - shape.num_frames + 1)),
        top=top,
        left=left,
        side=side,
        mirrored=mirror < augment.horizontal_flip,
        draw=draw,
    )


def _draw_mix(rng: np.random.Generator, augment: AugmentParams, crop_size: int) -> Mix | None:
    """One draw a step; where both kinds are wanted, each is taken half of the time."""
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(augment, f"{kind}_alpha") > 0]
    if not kinds:
        return None
    kind = kinds[int(rng.integers(len(kinds)))]
    alpha = getattr(augment, f"{kind}_alpha")
    share = float(rng.beta(alpha, alpha))
    return Mix(share) if kind == "mixup" else _cut(rng, share, crop_size)


def _cut(rng: np.random.Generator, share: float, crop_size: int) -> Mix:
    """A box of ``1 - share`` of the area round a random centre, cut at the edges.

    Yun et al., "CutMix", 2019; the label's share is that of the pixels that are left.
    """
    half = math.sqrt(1 - share) * crop_size / 2
    y, x = rng.integers(crop_size, size=2).tolist()
    top, bottom = (min(max(round(y + offset), 0), crop_size) for offset in (-half, half))
    left, right = (min(max(round(x + offset), 0), crop_size) for offset in (-half, half))
    height, width = bottom - top, right - left
    return Mix(1 - height * width / crop_size**2, (top, left, height, width))


def deal_out(step: Step, *, rank: int, num_devices: int, size: int) -> list[MicroBatch]:
    """The share of one device in a step, in parts of at most ``size`` clips.

    Every device has a part of every step. One for which no clip is left repeats the first, which
    then counts nothing.
    """
    count = len(step.windows)
    own = list(range(rank, count, num_devices))
    # Equal parts: batch norm should see no single clip where it can see more.
    bounds = np.linspace(0, len(own), math.ceil(len(own) / size) + 1).round().astype(int).tolist()
    parts = [own[first:last] for first, last in itertools.pairwise(bounds)] or [[0]]
    return [
        MicroBatch(
            windows=tuple(step.windows[i] for i in part),
            partners=tuple(step.windows[(i + 1) % count] for i in part) if step.mix else (),
            mix=step.mix,
            num_counted=len(part) if own else 0,
            step_size=count,
            ends_step=part is parts[-1],
        )
        for part in parts
    ]


def plan_views(rows: Sequence[ClipRow], shape: ClipShape, views: ViewPlan = MIDDLE) -> list[Window]:
    """The fixed windows of every video: time by time, crop by crop, and then these mirrored.

    With three crops they lie at the start, centre and end of the longer side, as in the
    SlowFast paper's test; with one, at the centre.
    """
    num_frames, side = shape.num_frames, shape.crop_size
    return [
        Window(clip, start, top, left, side, mirrored)
        for clip, row in enumerate(rows)
        for mirrored in (False, True)[: 1 + views.mirrored]
        for start in window_starts(row.num_frames, window=num_frames, views=views.temporal_views)
        for top, left in corners(row.height, row.width, side, views.spatial_crops)
    ]


def in_batches(windows: Sequence[Window], *, size: int) -> list[Sequence[Window]]:
    """Windows in their order, ``size`` at a time."""
    return [windows[i : i + size] for i in range(0, len(windows), size)]


def corners(height: int, width: int, crop_size: int, crops: int) -> list[tuple[int, int]]:
    """(top, left) of the centre square of a frame [px], or of three along its longer side."""
    top, left = (height - crop_size) // 2, (width - crop_size) // 2
    if crops == 1:
        return [(top, left)]
    if width >= height:
        return [(top, 0), (top, left), (top, width - crop_size)]
    return [(0, left), (top, left), (height - crop_size, left)]
