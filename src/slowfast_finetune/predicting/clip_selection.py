"""Which clips of a video the model is shown, while its frames are still being decoded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from slowfast_finetune.clips.windows import corners
from slowfast_finetune.decoding.sampling import padded_indices, window_starts
from slowfast_finetune.model.checkpoint import Preprocessing
from slowfast_finetune.predicting.frame_pipe import Frame, FrameRun

Place = tuple[int, int, int]  # start [frames], top, left [px] of a clip in its video


@dataclass(frozen=True)
class ClipPlan:
    """Which clips are taken."""

    shape: Preprocessing  # of the model's clips
    temporal_views: int  # that evaluate averages
    spatial_crops: int  # that evaluate averages
    kept_frames: int  # that the clip store keeps of a video; evaluate never sees the rest
    stride: int  # frames from one window of the timeline to the next


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
    """What is known of a video once all of its frames have come."""

    num_frames: int = 0  # sampled, before padding
    # The places that evaluate averages; empty for a video longer than the store keeps.
    views: list[Place] = field(default_factory=list)
    timeline: list[WindowRun] = field(default_factory=list)  # its windows, in order
    # For a place whose clip holds the same frames as an earlier one, that one's place: the model
    # is not shown the same clip twice.
    shown_as: dict[Place, Place] = field(default_factory=dict)

    @property
    def averaged(self) -> list[Place]:
        """The places whose answers are averaged: the views, of a longer video the windows."""
        return self.views or [run.place for run in self.timeline]


def select_clips(
    runs: Iterable[FrameRun], plan: ClipPlan, clips: VideoClips
) -> Iterator[SelectedClip]:
    """Yield every different clip of a video once, as soon as its frames are there; fill ``clips``.

    A video that the store would keep whole is held in memory, padded as there, and gives the
    windows of the timeline and then the views of evaluate. A longer one gives the windows only,
    and no more of it is held than a window and a stride. A frame held for hours costs no more than
    one held for two windows.
    """
    selection = _Selection(plan, clips)
    for run, (frame, length) in enumerate(runs):
        yield from selection.add(run, frame, length)
    yield from selection.finish()


class _Selection:
    """The frames of a video that are still needed, and the clips that were found among them."""

    def __init__(self, plan: ClipPlan, clips: VideoClips) -> None:
        self._plan, self._clips = plan, clips
        self._window, self._side = plan.shape.num_frames, plan.shape.crop_size
        self._longest = max(plan.kept_frames, self._window)
        self._kept: list[tuple[int, Frame]] = []  # each with the number of its run
        self._first = 0  # the frame that kept[0] is
        self._due = 0  # first frame of the next window
        self._shown: dict[tuple[int, ...], Place] = {}  # by the runs of its frames and its corner

    @property
    def _is_long(self) -> bool:
        return self._clips.num_frames > self._longest

    def add(self, run: int, frame: Frame, length: int) -> Iterator[SelectedClip]:
        """Take a frame that is shown at ``length`` sampled instants; yield the clips that end."""
        while length:
            step = min(length, self._due + self._window - self._clips.num_frames)
            self._kept += [(run, frame)] * step
            self._clips.num_frames += step
            length -= step
            is_window = self._clips.num_frames == self._due + self._window
            if is_window:
                yield from self._next_window(self._due)
                self._due += self._plan.stride
            if self._is_long:
                # The last window may begin anywhere after the one before it.
                used = max(self._first, self._due - self._plan.stride)
                del self._kept[: used - self._first]
                self._first = used
                if is_window and self._kept[0][0] == run:
                    length -= self._skip_repeats(length)

    def _skip_repeats(self, length: int) -> int:
        """Count the windows that hold one frame alone, without going through their frames."""
        stride = self._plan.stride
        repeats = length // stride
        last = self._clips.timeline[-1]
        self._clips.timeline[-1] = WindowRun(last.place, last.length + repeats)
        self._first += repeats * stride
        self._due += repeats * stride
        self._clips.num_frames += repeats * stride
        return repeats * stride

    def finish(self) -> Iterator[SelectedClip]:
        """Yield the last window, and the views of a video that the store would keep whole."""
        plan, clips, window = self._plan, self._clips, self._window
        if not self._is_long:
            indices = padded_indices(len(self._kept), min_frames=window, padding=plan.shape.padding)
            self._kept = [self._kept[index] for index in indices]
        end = self._first + len(self._kept) - window
        if not clips.timeline or clips.timeline[-1].last_start(plan.stride) < end:
            yield from self._next_window(end)
        if not self._is_long:
            starts = window_starts(len(self._kept), window=window, views=plan.temporal_views)
            clips.views = [
                (start, *corner) for start in starts for corner in self._corners(plan.spatial_crops)
            ]
            for place in dict.fromkeys(clips.views):
                yield from self._clip_at(place)

    def _next_window(self, start: int) -> Iterator[SelectedClip]:
        clips = self._clips
        (corner,) = self._corners(1)
        place = (start, *corner)
        yield from self._clip_at(place)
        if clips.timeline and place in clips.shown_as:
            last = clips.timeline[-1]
            like_last = clips.shown_as[place] == clips.shown_as.get(last.place, last.place)
            if like_last and start == last.last_start(self._plan.stride) + self._plan.stride:
                clips.timeline[-1] = WindowRun(last.place, last.length + 1)
                del clips.shown_as[place]
                return
        clips.timeline.append(WindowRun(place, 1))

    def _clip_at(self, place: Place) -> Iterator[SelectedClip]:
        """The clip, unless the model is shown the same frames already."""
        start, top, left = place
        frames = self._kept[start - self._first :][: self._window]
        key = (*(run for run, _ in frames), top, left)
        earlier = self._shown.get(key)
        if self._is_long:
            self._shown.clear()  # of a long video only neighbours are compared
        self._shown[key] = earlier or place
        if earlier is None:
            square = slice(top, top + self._side), slice(left, left + self._side)
            yield SelectedClip(place, np.stack([frame[square] for _, frame in frames]))
        elif earlier != place:
            self._clips.shown_as[place] = earlier

    def _corners(self, count: int) -> list[tuple[int, int]]:
        height, width = self._kept[0][1].shape[:2]
        return corners(height, width, self._side, count)
