"""Assign each frame a start and an end time; repair missing and discontinuous timestamps.

A frame is shown until the next one, however long that is, except at a timestamp discontinuity:

- In formats that allow them (FFmpeg's AVFMT_TS_DISCONT: transport and program streams, which can
  be concatenated byte by byte), a step of more than 10 s is removed, unless there is audio in
  between. `ffmpeg` does so for steps of more than 10 s (-dts_delta_threshold: ffmpeg_opt.c;
  ts_discontinuity_detect in ffmpeg_demux.c), and `ffplay` too (max_frame_duration: ffplay.c).
- In other formats each step is written down by itself, and `ffmpeg` ignores a time stamp only where
  it is more than 30 hours from the one that was expected (-dts_error_threshold). So does this
  module.
- Timestamps that go back by more than 0.1 s (`ffmpeg`'s limit for the first kind of formats) and
  stay there continue from the last frame, in every format.
"""

import statistics
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

import av

from slowfast_finetune.decoding import packets
from slowfast_finetune.decoding.opening import OpenedVideo, stated_rate

LONGEST_STEP_WHERE_CLOCKS_LEAP = Fraction(10)
LONGEST_STEP = Fraction(30 * 3600)
SMALL_STEP_BACK = Fraction(1, 10)
STEPS_REMEMBERED = 9


@dataclass(frozen=True)
class TimedFrame:
    """A decoded frame, shown from ``time`` until before ``end`` [s], from the first frame on."""

    frame: av.VideoFrame
    time: Fraction
    end: Fraction


class FrameClock:
    """Gives frames, in the order of showing, times from 0 that never go back [s].

    Args:
        usual: how long a frame lasts that does not say so, before any is known [s].
        longest_step: a longer one is a leap of the clock [s].
        is_held: whether a frame is really held from one stamp to another, however long [s].
        origin: the stamp of time 0; None for that of the first frame [s].
    """

    def __init__(
        self,
        usual: Fraction,
        *,
        longest_step: Fraction = LONGEST_STEP,
        is_held: Callable[[Fraction, Fraction], bool] | None = None,
        origin: Fraction | None = None,
    ) -> None:
        self._usual = usual
        self._longest_step = longest_step
        self._is_held = is_held
        # From stamps to times.
        self._shift: Fraction | None = None if origin is None else -origin
        self._shift_back: Fraction | None = None  # the same, if the last step back was a leap
        self._last_stamp = Fraction(0)
        self._steps: deque[Fraction] = deque(maxlen=STEPS_REMEMBERED)
        self._time = Fraction(0)
        self._end = Fraction(0)
        self._longest_end = Fraction(0)
        self.num_leaps = 0

    def place(self, stamp: Fraction | None, *, stated: Fraction) -> Fraction:
        """The time of the next frame.

        Args:
            stamp: when it is shown by the file's clock; None where the file does not say [s].
            stated: how long it lasts, 0 where the file does not say [s].
        """
        is_first = self._end == 0
        time = self._end if stamp is None else self._by_stamp(stamp)
        step = time - self._time
        if not is_first:
            self._steps.append(step)
        typical = statistics.median_high(self._steps) if self._steps else Fraction(0)
        # Matroska may state no duration, or a thousandth: the usual step is the better guess.
        if stated > typical / 10:
            self._usual = stated
        elif typical > 0:
            self._usual = typical
        self._time, self._end = time, time + self._usual
        self._longest_end = time + max(step, self._usual)
        return time

    def _by_stamp(self, stamp: Fraction) -> Fraction:
        last_stamp, self._last_stamp = self._last_stamp, stamp
        if self._shift is None:
            self._shift = self._end - stamp
        time = stamp + self._shift
        if self._end == 0:
            return time
        ahead = time - self._end
        is_held = self._is_held is not None and self._is_held(last_stamp, stamp)
        if ahead > self._longest_step and not is_held:
            self._shift, self._shift_back = self._shift - ahead, None
            self.num_leaps += 1
            return self._end
        if time > self._time:
            self._shift_back = None
            return time
        if self._shift_back is not None and stamp + self._shift_back > self._time:
            self._shift, self._shift_back = self._shift_back, None
            self.num_leaps += 1
            return stamp + self._shift
        # A single stamp that goes back means "right after the last one".
        self._shift_back = self._end - stamp if time < self._time - SMALL_STEP_BACK else None
        return self._end

    def last_end(self, own: Fraction | None) -> Fraction:
        """When the last frame disappears [s].

        Args:
            own: how long the file says it lasts [s]; taken where it fits the last frame.
        """
        # One that leaves the last frame a thousandth of a second is a guess of the container's.
        shortest = self._time + self._usual / 10
        fits = own is not None and not self.num_leaps and shortest < own <= self._longest_end
        return own if own is not None and fits else self._end


def timed_frames(video: OpenedVideo, *, origin: Fraction | None = None) -> Generator[TimedFrame]:
    """Decode frames in the order of showing, each with its time and its end.

    A caller that stops before the end must close the generator: ``video.report`` is complete then.

    Args:
        origin: where the container was sought, the stamp of the video's first frame [s].
    """
    sound: packets.SoundTimes = deque(maxlen=packets.MOST_SOUND_TIMES)
    report, stream = video.report, video.stream
    leaping = packets.has_leaping_clock(video.container)
    clock = FrameClock(
        1 / (stated_rate(stream) or Fraction(30)),
        longest_step=LONGEST_STEP_WHERE_CLOCKS_LEAP if leaping else LONGEST_STEP,
        is_held=lambda start, end: _sounds_between(sound, start, end),
        origin=origin,
    )
    is_avi = video.container.format.name == "avi"
    before: tuple[av.VideoFrame, Fraction] | None = None
    found = packets.decoded_frames(video, sound, after_jump=origin is not None)
    with closing(found) as frames:
        for frame in frames:
            video.check_frame_size(frame.width, frame.height)
            # Frames that were held back until the end of the file come without a time base.
            time_base = frame.time_base or stream.time_base or Fraction(0)
            # AVI numbers packets in the order of decoding. The one that made the decoder give out
            # this frame has its number, later by the same delay for every frame.
            stamp = frame.dts if is_avi else frame.pts
            time = clock.place(
                None if stamp is None or not time_base else stamp * time_base,
                # In AVI each is stated to last one tick, however many empty packets follow it.
                stated=Fraction(0) if is_avi else (frame.duration or 0) * time_base,
            )
            report.num_decoded += 1
            report.num_leaps = max(report.num_leaps, clock.num_leaps)
            report.interlaced |= bool(frame.interlaced_frame)
            if before is not None:
                yield TimedFrame(*before, end=time)
            before = frame, time
    if before is not None:
        yield TimedFrame(*before, end=clock.last_end(own_duration(video)))


def _sounds_between(sound: packets.SoundTimes, start: Fraction, end: Fraction) -> bool:
    """Whether there is sound in the middle half of a step of the clock."""
    quarter = (end - start) / 4
    return any(start + quarter < time < end - quarter for time in sound)


def own_duration(video: OpenedVideo) -> Fraction | None:
    """How long the file says that the video lasts [s]; None where it does not say."""
    container, stream = video.container, video.stream
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    if container.duration and len(container.streams) == 1:
        return Fraction(container.duration, av.time_base)
    return None
