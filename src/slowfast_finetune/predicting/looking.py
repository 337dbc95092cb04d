"""Which parts of a video's frames the model is shown, while they are still being decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slowfast_finetune.clips.windows import corners
from slowfast_finetune.decoding.sampling import padded_indices, window_starts
from slowfast_finetune.model.checkpoint import Preprocessing

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
    """Yield every clip of a video once, as soon as its frames are there; fill ``looked``.

    A video that the store would keep whole is held in memory, padded as there, and gives the
    windows of the timeline and then the views of evaluate. A longer one gives the windows only,
    and no more of it is held than a window and a stride.
    """
    window, side = plan.shape.num_frames, plan.shape.crop_size
    longest = max(plan.kept_frames, window)
    kept: list[Frame] = []
    first = 0  # the frame that kept[0] is
    due = 0  # first frame of the next window

    def look(start: int, top: int, left: int) -> Look:
        return Look(start, top, left, _cut(kept[start - first :][:window], top, left, side))

    def next_window(start: int) -> Look:
        ((top, left),) = _corners(kept[0], side, 1)
        looked.timeline.append((start, top, left))
        return look(start, top, left)

    for frame in frames:
        kept.append(frame)
        looked.num_frames += 1
        if looked.num_frames == due + window:
            yield next_window(due)
            due += plan.stride
        if looked.num_frames > longest:
            # The last window may begin anywhere after the one before it.
            used = max(first, due - plan.stride)
            del kept[: used - first]
            first = used
    is_whole = looked.num_frames <= longest
    if is_whole:
        kept = _padded(kept, plan.shape)
    last = first + len(kept) - window
    if not looked.timeline or looked.timeline[-1][0] < last:
        yield next_window(last)
    if is_whole:
        looked.views = [
            (start, top, left)
            for start in window_starts(len(kept), window=window, views=plan.temporal_views)
            for top, left in _corners(kept[0], side, plan.spatial_crops)
        ]
        for place in dict.fromkeys(looked.views):
            if place not in looked.timeline:
                yield look(*place)


def _corners(frame: Frame, side: int, count: int) -> list[tuple[int, int]]:
    height, width = frame.shape[:2]
    return corners(height, width, side, count)


def _padded(frames: list[Frame], shape: Preprocessing) -> list[Frame]:
    indices = padded_indices(len(frames), min_frames=shape.num_frames, padding=shape.padding)  # type: ignore[arg-type]
    return [frames[index] for index in indices]


def _cut(frames: list[Frame], top: int, left: int, side: int) -> Frame:
    return np.stack([frame[top : top + side, left : left + side] for frame in frames])
