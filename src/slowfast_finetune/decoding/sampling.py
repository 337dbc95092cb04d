"""Pure: the instants at which a video is sampled, and the windows that are looked at.

Time runs in exact fractions of a second: at 29.97 frames a second, floating point alone would
decide which of two frames is shown at an instant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from slowfast_finetune.base.params import ClipParams, Padding

# Damaged files may claim any length; what would come later than this is left out.
FOREVER_SECONDS = 7 * 86_400
# Matroska and WebM round time stamps to a millisecond. Half of that is forgiven, so that a
# frame due at an instant is not missed because its container wrote 67 ms for 66.67.
TOLERANCE_SECONDS = Fraction(1, 2000)


class FrameRange(NamedTuple):
    """The sampled instants of a video from number ``first`` until before ``end``, from 0."""

    first: int
    end: int

    def covers(self, other: FrameRange) -> bool:
        """Whether all of another range lies in this one."""
        return self.first <= other.first and other.end <= self.end


def exact_rate(sample_fps: float) -> Fraction:
    """A rate of instants as the fraction that was meant: 29.97 is 2997/100."""
    return Fraction(sample_fps).limit_denominator(100_000)


def instants_before(time_seconds: Fraction, *, sample_fps: Fraction) -> int:
    """How many instants 0, 1/fps, 2/fps, … lie before a time, forgiving the tolerance."""
    return max(0, math.ceil((time_seconds - TOLERANCE_SECONDS) * sample_fps))


def padded_indices(num_frames: int, *, min_frames: int, padding: Padding) -> list[int]:
    """Frame indices of a video padded to at least ``min_frames``, by repeating what is there."""
    if padding == "loop":
        return [index % num_frames for index in range(max(num_frames, min_frames))]
    return [min(index, num_frames - 1) for index in range(max(num_frames, min_frames))]


def window_starts(num_frames: int, *, window: int, views: int) -> list[int]:
    """First frames of ``views`` windows spread evenly over a video; the middle one if alone.

    The windows of PySlowFast's test: start i of n at i·(F - T)/(n - 1), rounded down.
    """
    last = num_frames - window
    if views == 1:
        return [last // 2]
    return [view * last // (views - 1) for view in range(views)]


@dataclass(frozen=True)
class DecodeSettings:
    """How frames are taken from a video."""

    sample_fps: float  # instants a second
    short_side: int | None  # shorter side of the upright, scaled frame; None for as filmed [px]
    max_megapixels: float = 36.0  # larger frames are refused before memory is taken [10⁶ px]
    max_seconds: float = FOREVER_SECONDS  # what lies later is left out [s]

    @classmethod
    def from_clip(
        cls, clip: ClipParams, *, max_megapixels: float, short_side: int | None = None
    ) -> DecodeSettings:
        """The settings of the ``clip:`` parameters; ``short_side`` in place of theirs [px]."""
        return cls(
            sample_fps=clip.sample_fps,
            short_side=clip.short_side if short_side is None else short_side,
            max_megapixels=max_megapixels,
            max_seconds=clip.max_seconds,
        )
