"""Decode ranges of a video's sampled frames in one pass, without what lies between them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path

import av
import av.error

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.decoding.decode_settings import DecodeSettings
from slowfast_finetune.decoding.opening import open_video, prepared_stream
from slowfast_finetune.decoding.orientation import Frame, Reshaper
from slowfast_finetune.decoding.sampling import FrameRange, exact_rate, instants_before
from slowfast_finetune.decoding.timing import TimedFrame, timed_frames
from slowfast_finetune.decoding.video_facts import DecodeReport

# FFmpeg finds key frames by time in these, and their time stamps say when each frame is shown.
_SEARCHABLE = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
# Decoding through a shorter gap takes no longer than decoding from the key frame before its end.
SHORTEST_JUMP_SECONDS = 10
# How far before the wanted time a key frame is looked for. The second attempt is for streams that
# need some frames until their pictures are whole (periodic intra refresh).
_LEADS_SECONDS = (1, 15)


def sampled_ranges(
    path: Path, ranges: Sequence[FrameRange], *, settings: DecodeSettings, report: DecodeReport
) -> Iterator[tuple[int, Frame, int]]:
    """Yield frames of ranges: the range's position, the frame, and at how many instants it shows.

    The frames are those that :func:`sampled_frames` yields at the same instants. A range ends where
    the video does. Between ranges the decoder jumps where the container allows it; ``report`` then
    tells of what was read. ``settings.max_seconds`` is not used.

    Args:
        ranges: sorted, none empty, without overlap.

    Raises:
        VideoError: with a reason code where nothing can be decoded.
    """
    fps = exact_rate(settings.sample_fps)
    report.in_ranges = True
    with ExitStack() as stack:
        container = stack.enter_context(open_video(path))
        stream = prepared_stream(container, settings=settings, report=report)
        shape = Reshaper(settings.short_side, stream)
        frames = stack.enter_context(
            closing(timed_frames(container, stream, report=report, settings=settings))
        )
        current = next(frames, None)
        if current is None:
            raise VideoError("no_frames", f"none of {report.num_packets} frames can be decoded")
        origin = _stamp(current)
        is_searchable = container.format.name in _SEARCHABLE and origin is not None
        taken = 0
        for position, wanted in enumerate(ranges):
            start = wanted.first / fps
            if is_searchable and origin is not None and start - current.end > SHORTEST_JUMP_SECONDS:
                frames.close()
                found = _jump(container, stream, start, origin, report=report, settings=settings)
                if found is None:
                    # From the start, in a container that was never sought.
                    is_searchable = False
                    container = stack.enter_context(open_video(path))
                    stream = prepared_stream(container, settings=settings, report=report)
                    again = timed_frames(container, stream, report=report, settings=settings)
                    first = next(again, None)
                    found = None if first is None else (first, again)
                if found is None:
                    return
                current, frames = found
                stack.enter_context(closing(frames))
            while True:
                first_instant = max(
                    wanted.first, taken, instants_before(current.time, sample_fps=fps)
                )
                due = min(wanted.end, instants_before(current.end, sample_fps=fps))
                if due > first_instant:
                    yield position, shape.upright(current.frame, report), due - first_instant
                    taken = due
                if due == wanted.end:
                    break
                following = next(frames, None)
                if following is None:
                    if taken == 0 and wanted.first == 0:  # too short for any instant
                        yield position, shape.upright(current.frame, report), 1
                    report.duration_seconds = float(current.end)
                    return
                current = following
            report.duration_seconds = float(current.end)


def _jump(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    time: Fraction,
    origin: Fraction,
    *,
    report: DecodeReport,
    settings: DecodeSettings,
) -> tuple[TimedFrame, Generator[TimedFrame]] | None:
    """The first frame from a key frame before ``time`` on, and those after it; None if none is."""
    assert stream.time_base is not None
    for lead in _LEADS_SECONDS:
        stamp = int((time - lead + origin) / stream.time_base)
        try:
            container.seek(stamp, stream=stream)
        except (av.error.FFmpegError, OSError):
            return None
        frames = timed_frames(container, stream, report=report, settings=settings, origin=origin)
        first = next(frames, None)
        if first is not None and _stamp(first) is not None and first.time <= time:
            return first, frames
        frames.close()
    return None


def _stamp(timed: TimedFrame) -> Fraction | None:
    """When a frame is shown by the file's clock [s]."""
    frame = timed.frame
    if frame.pts is None or not frame.time_base:
        return None
    return Fraction(frame.pts * frame.time_base)
