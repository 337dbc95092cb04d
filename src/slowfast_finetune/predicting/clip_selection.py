"""Which clips of a video the model is shown, while its frames are still being decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from slowfast_finetune.clips.windows import corners
from slowfast_finetune.decoding.sampling import padded_indices, window_starts
from slowfast_finetune.model.checkpoint import Preprocessing
from slowfast_finetune.predicting.frame_pipe import Frame, FrameRun

Place = tuple[int, int, int]  # start [frames], top, left [px] of a clip in its video


@dataclass(frozen=True)
class ClipPlan:
    """Which clips are taken.

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


class SelectedClip(NamedTuple):
    """One clip that the model is shown, uint8 (T, H, W, 3), and its place in the video."""

    place: Place
    clip: Frame


class WindowRun(NamedTuple):
    """Windows a stride apart that hold the same frames; the first place stands for all."""

    place: Place
    length: int

    def last_start(self, stride: int) -> int:
        """First frame of the last window."""
        return self.place[0] + (self.length - 1) * stride


@dataclass
class VideoClips:
    """What is known of a video once all of its frames have come.

    Attributes:
        num_frames: sampled, before padding.
        views: places that evaluate averages; empty for a video longer than the store keeps.
        timeline: the windows of the timeline, in order.
        shown_as: for a place whose clip holds the same frames as an earlier one, that one's
            place: the model is not shown the same clip twice.
    """

    num_frames: int = 0
    views: list[Place] = field(default_factory=list)
    timeline: list[WindowRun] = field(default_factory=list)
    shown_as: dict[Place, Place] = field(default_factory=dict)


def select_clips(
    runs: Iterable[FrameRun], plan: ClipPlan, clips: VideoClips
) -> Iterator[SelectedClip]:
    """Yield every different clip of a video once, as soon as its frames are there; fill ``clips``.

    A video that the store would keep whole is held in memory, padded as there, and gives the
    windows of the timeline and then the views of evaluate. A longer one gives the windows only,
    and no more of it is held than a window and a stride. A frame held for hours costs no more than
    one held for two windows.
    """
    window, side, stride = plan.shape.num_frames, plan.shape.crop_size, plan.stride
    longest = max(plan.kept_frames, window)
    kept: list[_KeptFrame] = []
    first = 0  # the frame that kept[0] is
    due = 0  # first frame of the next window
    shown: dict[tuple[int, ...], Place] = {}  # by the runs of its frames and its corner

    def clip_at(place: Place) -> Iterator[SelectedClip]:
        """The clip, unless the model is shown the same frames already."""
        start, top, left = place
        frames = kept[start - first :][:window]
        key = (*(frame.run for frame in frames), top, left)
        earlier = shown.get(key)
        if clips.num_frames > longest:
            shown.clear()  # of a long video only neighbours are compared
        shown[key] = earlier or place
        if earlier is None:
            yield SelectedClip(
                place, np.stack([f.frame[top : top + side, left : left + side] for f in frames])
            )
        elif earlier != place:
            clips.shown_as[place] = earlier

    def next_window(start: int) -> Iterator[SelectedClip]:
        (corner,) = _corners(kept[0].frame, side, 1)
        place = (start, *corner)
        yield from clip_at(place)
        if clips.timeline and place in clips.shown_as:
            last = clips.timeline[-1]
            like_last = clips.shown_as[place] == clips.shown_as.get(last.place, last.place)
            if like_last and start == last.last_start(stride) + stride:
                clips.timeline[-1] = WindowRun(last.place, last.length + 1)
                del clips.shown_as[place]
                return
        clips.timeline.append(WindowRun(place, 1))

    for run, (frame, length) in enumerate(runs):
        rest = length
        while rest:
            step = min(rest, due + window - clips.num_frames)
            kept += [_KeptFrame(run, frame)] * step
            clips.num_frames += step
            rest -= step
            is_window = clips.num_frames == due + window
            if is_window:
                yield from next_window(due)
                due += stride
            if clips.num_frames > longest:
                # The last window may begin anywhere after the one before it.
                used = max(first, due - stride)
                del kept[: used - first]
                first = used
                if is_window and kept[0].run == run:
                    # Every further window that ends in this run holds the same frames.
                    repeats = rest // stride
                    last = clips.timeline[-1]
                    clips.timeline[-1] = WindowRun(last.place, last.length + repeats)
                    first, due = first + repeats * stride, due + repeats * stride
                    clips.num_frames += repeats * stride
                    rest -= repeats * stride
    is_whole = clips.num_frames <= longest
    if is_whole:
        padding: Any = plan.shape.padding
        indices = padded_indices(len(kept), min_frames=window, padding=padding)
        kept = [kept[index] for index in indices]
    end = first + len(kept) - window
    if not clips.timeline or clips.timeline[-1].last_start(stride) < end:
        yield from next_window(end)
    if is_whole:
        clips.views = [
            (start, top, left)
            for start in window_starts(len(kept), window=window, views=plan.temporal_views)
            for top, left in _corners(kept[0].frame, side, plan.spatial_crops)
        ]
        for place in dict.fromkeys(clips.views):
            yield from clip_at(place)


class _KeptFrame(NamedTuple):
    run: int
    frame: Frame


def _corners(frame: Frame, side: int, count: int) -> list[tuple[int, int]]:
    height, width = frame.shape[:2]
    return corners(height, width, side, count)
