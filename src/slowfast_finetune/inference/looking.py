"""Which parts of a video's frames the model is shown, while they are still being decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slowfast_finetune.clips.windows import corners
from slowfast_finetune.inference.timeline import sliding_starts
from slowfast_finetune.model.checkpoint import Preprocessing
from slowfast_finetune.videos.sampling import padded_indices, window_starts

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LookPlan:
    """How a video is looked at.

    Attributes:
        shape: of the model's clips.
        temporal_views, spatial_crops: those that evaluate averages.
        kept_frames: how many frames the clip store keeps of a video; of a longer one evaluate
            never sees the rest.
        stride: frames from one window of the timeline to the next.
    """

    shape: Preprocessing
    temporal_views: int
    spatial_crops: int
    kept_frames: int
    stride: int


@dataclass(frozen=True)
class Look:
    """One clip that the model is shown: uint8 (T, H, W, 3); where it comes from."""

    start: int
    top: int
    left: int
    clip: Frame


@dataclass
class Looked:
    """What is known of a video once all of its frames have come.

    Attributes:
        num_frames: sampled, before padding.
        views: (start, top, left) of those that evaluate averages; empty for a video longer than
            the store keeps.
        timeline: (start, top, left) of the windows of the timeline, in order.
    """

    num_frames: int = 0
    views: list[tuple[int, int, int]] = field(default_factory=list)
    timeline: list[tuple[int, int, int]] = field(default_factory=list)


def look_at(frames: Iterable[Frame], plan: LookPlan, looked: Looked) -> Iterator[Look]:
    """Yield every clip of a video once, and fill ``looked`` on the way.

    A video that the store would keep whole is held in memory, padded as there, and gives the views
    of evaluate and the windows of the timeline. A longer one gives the windows only, and no more
    of it is held than a window and a stride.
    """
    kept: list[Frame] = []
    incoming = iter(frames)
    longest = max(plan.kept_frames, plan.shape.num_frames)
    for frame in incoming:
        kept.append(frame)
        if len(kept) > longest:
            yield from _slide(kept, incoming, plan, looked)
            return
    yield from _look_at_whole(kept, plan, looked)


def _look_at_whole(kept: list[Frame], plan: LookPlan, looked: Looked) -> Iterator[Look]:
    shape = plan.shape
    looked.num_frames = len(kept)
    indices = padded_indices(len(kept), min_frames=shape.num_frames, padding=shape.padding)  # type: ignore[arg-type]
    height, width = kept[0].shape[:2]
    length = len(indices)
    looked.views = [
        (start, top, left)
        for start in window_starts(length, window=shape.num_frames, views=plan.temporal_views)
        for top, left in corners(height, width, shape.crop_size, plan.spatial_crops)
    ]
    ((top, left),) = corners(height, width, shape.crop_size, 1)
    looked.timeline = [
        (start, top, left)
        for start in sliding_starts(length, window=shape.num_frames, stride=plan.stride)
    ]
    for start, top, left in dict.fromkeys([*looked.views, *looked.timeline]):
        chosen = [kept[index] for index in indices[start : start + shape.num_frames]]
        yield Look(start, top, left, _cut(chosen, top, left, shape.crop_size))


def _slide(
    kept: list[Frame], incoming: Iterator[Frame], plan: LookPlan, looked: Looked
) -> Iterator[Look]:
    shape = plan.shape
    height, width = kept[0].shape[:2]
    ((top, left),) = corners(height, width, shape.crop_size, 1)
    start = 0  # of the next window; kept[0] is frame ``first``
    first = 0

    def clip_at(begin: int) -> Look:
        looked.timeline.append((begin, top, left))
        inside = kept[begin - first : begin - first + shape.num_frames]
        return Look(begin, top, left, _cut(inside, top, left, shape.crop_size))

    while True:
        while first + len(kept) >= start + shape.num_frames:
            yield clip_at(start)
            start += plan.stride
        # The last window may begin anywhere after the one before it.
        used = max(first, min(start, first + len(kept)) - plan.stride)
        del kept[: used - first]
        first = used
        frame = next(incoming, None)
        if frame is None:
            break
        kept.append(frame)
    looked.num_frames = first + len(kept)
    last = looked.num_frames - shape.num_frames
    if looked.timeline[-1][0] < last:
        yield clip_at(last)


def _cut(frames: list[Frame], top: int, left: int, side: int) -> Frame:
    return np.stack([frame[top : top + side, left : left + side] for frame in frames])
