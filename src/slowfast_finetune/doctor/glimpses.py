"""A few frames spread over a video, without decoding a long one in full."""

from collections import deque
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import av.error

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.decoding.opening import OpenedVideo, opened
from slowfast_finetune.decoding.orientation import Frame, Reshaper
from slowfast_finetune.decoding.packets import has_leaping_clock
from slowfast_finetune.decoding.sampling import FOREVER_SECONDS, TOLERANCE_SECONDS, DecodeSettings
from slowfast_finetune.decoding.timing import TimedFrame, own_duration, timed_frames
from slowfast_finetune.decoding.video_facts import MOST_FRAMES_A_SECOND, DecodeReport, VideoFacts

# Up to this many frames, decoding all takes no longer than seeking.
FRAMES_READ_THROUGH = 600
# A file that has fewer bytes for a second has no such length: its clock leaps.
FEWEST_BYTES_A_SECOND = 5_000
FRAMES_AFTER_JUMP = 300  # more than encoders usually put between key frames


def glimpses(path: Path, *, count: int, settings: DecodeSettings) -> tuple[list[Frame], VideoFacts]:
    """``count`` frames in the middle of as many equal parts of a video, as RGB uint8 (H, W, 3).

    Of a short video every frame is decoded, and its facts are those that :func:`sampled_frames`
    finds. In a long one the decoder jumps from place to place: damage is then known only where it
    was met, and the duration is the stated one. Where jumping fails it is read from its start.
    ``settings.sample_fps`` is not used.

    Raises:
        VideoError: with a reason code where nothing can be decoded.
    """
    longest = float(min(settings.max_seconds, FOREVER_SECONDS))
    report = DecodeReport()
    with opened(path, settings, report) as video:
        stated = _stated_seconds(video)
        rate = min(report.source_fps or 30, MOST_FRAMES_A_SECOND)
        if stated is not None and min(stated, longest) * rate > FRAMES_READ_THROUGH:
            frames = _by_jumping(video, _middles(min(stated, longest), count))
            if frames:
                report.duration_seconds = stated
                report.truncated = stated > longest
                if report.source_fps > MOST_FRAMES_A_SECOND:
                    report.source_fps = 0.0
                return frames, report.facts()
    seconds = min(stated or longest, longest)
    frames, report = _by_reading(path, _middles(seconds, count), settings=settings)
    found = min(report.duration_seconds, longest)
    if len(frames) < count or abs(found - seconds) > 0.05 * seconds:
        frames, report = _by_reading(path, _middles(found, count), settings=settings)
    if not frames:
        raise VideoError("no_frames", f"none of {report.num_packets} frames can be decoded")
    if report.truncated and stated is not None:
        report.duration_seconds = max(stated, report.duration_seconds)
    return frames + [frames[-1]] * (count - len(frames)), report.facts()


def _middles(seconds: float, count: int) -> list[Fraction]:
    """The middle of each of ``count`` equal parts of a length of time [s]."""
    length = Fraction(seconds).limit_denominator(1_000_000)
    return [length * (2 * part + 1) / (2 * count) for part in range(count)]


def _stated_seconds(video: OpenedVideo) -> float | None:
    """How long the file says it lasts; None where it does not say, or cannot be believed."""
    container = video.container
    seconds = float(own_duration(video) or Fraction(container.duration or 0, av.time_base))
    if has_leaping_clock(container) and container.size < seconds * FEWEST_BYTES_A_SECOND:
        return None
    return seconds if 0 < seconds <= FOREVER_SECONDS else None


def _by_jumping(video: OpenedVideo, instants: Sequence[Fraction]) -> list[Frame]:
    """The frames at ``instants`` after the start [s]; none where the file cannot be jumped in."""
    shape, report = Reshaper(video), video.report
    frames: list[Frame] = []
    stamps: set[int] = set()
    for instant in instants:
        frame = _frame_after_jump(video, instant)
        # A file that cannot be jumped in goes back to its start each time.
        if frame is None or frame.pts is None or frame.pts in stamps:
            return []
        video.check_frame_size(frame.width, frame.height)
        stamps.add(frame.pts)
        report.num_decoded += 1
        report.interlaced |= bool(frame.interlaced_frame)
        frames.append(shape.upright(frame))
    return frames


def _frame_after_jump(video: OpenedVideo, instant: Fraction) -> av.VideoFrame | None:
    """The frame shown at an instant after the start [s], or one up to ten seconds before it."""
    container, stream = video.container, video.stream
    assert stream.time_base is not None
    stamp = (stream.start_time or 0) + int(instant / stream.time_base)
    shown = None
    try:
        container.seek(stamp, stream=stream)
        for read, frame in enumerate(container.decode(stream)):
            if frame.pts is None or (frame.pts > stamp and shown is not None):
                break
            shown = frame
            if read >= FRAMES_AFTER_JUMP:
                break
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError):
        return None
    return shown


def _by_reading(
    path: Path, instants: Sequence[Fraction], *, settings: DecodeSettings
) -> tuple[list[Frame], DecodeReport]:
    """Read a video once and keep the frames shown at ``instants``; those past its end are left."""
    longest = Fraction(min(settings.max_seconds, FOREVER_SECONDS))
    report = DecodeReport()
    frames: list[Frame] = []
    due = deque(instants)
    shown: TimedFrame | None = None
    with opened(path, settings, report) as video, closing(timed_frames(video)) as timed:
        shape = Reshaper(video)
        for shown in timed:
            while due and due[0] < shown.end:
                due.popleft()
                frames.append(shape.upright(shown.frame))
            if shown.time >= longest - TOLERANCE_SECONDS:
                report.truncated = True
                break
    report.duration_seconds = float(shown.end) if shown else 0.0
    return frames, report
