"""Decode ranges of a video's sampled frames in one pass, without what lies between them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path

import av.error

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.decoding.opening import opened
from slowfast_finetune.decoding.orientation import Frame, Reshaper
from slowfast_finetune.decoding.sampling import (
    DecodeSettings,
    FrameRange,
    exact_rate,
    instants_before,
)
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
        reader = _JumpingReader(path, settings, report, stack)
        taken = 0
        for position, wanted in enumerate(ranges):
            if not reader.skip_to(wanted.first / fps):
                return
            while True:
                shown = reader.current
                first = max(wanted.first, taken, instants_before(shown.time, sample_fps=fps))
                due = min(wanted.end, instants_before(shown.end, sample_fps=fps))
                if due > first:
                    yield position, reader.shape.upright(shown.frame), due - first
                    taken = due
                report.duration_seconds = float(shown.end)
                if due == wanted.end:
                    break
                if not reader.advance():
                    if taken == 0 and wanted.first == 0:  # too short for any instant
                        yield position, reader.shape.upright(shown.frame), 1
                    return


class _JumpingReader:
    """Reads a video from frame to frame, and jumps over long gaps where the container allows it.

    Everything that it opens is closed by ``stack``.

    Raises:
        VideoError: with a reason code where nothing can be decoded.
    """

    def __init__(
        self, path: Path, settings: DecodeSettings, report: DecodeReport, stack: ExitStack
    ) -> None:
        self._path, self._settings, self._report, self._stack = path, settings, report, stack
        self._open()
        first = next(self._frames, None)
        if first is None:
            raise VideoError("no_frames", f"none of {report.num_packets} frames can be decoded")
        self.current = first
        self.shape = Reshaper(self._video)
        # The stamp of the video's first frame, from which a container that was sought counts.
        is_searchable = self._video.container.format.name in _SEARCHABLE
        self._origin = _stamp(first) if is_searchable else None

    def _open(self) -> None:
        self._video = self._stack.enter_context(opened(self._path, self._settings, self._report))
        self._frames = self._stack.enter_context(closing(timed_frames(self._video)))

    def advance(self) -> bool:
        """Make the next frame the current one; False at the end of the video."""
        following = next(self._frames, None)
        if following is not None:
            self.current = following
        return following is not None

    def skip_to(self, time: Fraction) -> bool:
        """Jump if ``time`` [s] is far ahead; False if no frame can be read any more."""
        if self._origin is None or time - self.current.end <= SHORTEST_JUMP_SECONDS:
            return True
        self._frames.close()
        if self._jump(time, self._origin):
            return True
        # From the start, in a container that was never sought.
        self._origin = None
        self._open()
        return self.advance()

    def _jump(self, time: Fraction, origin: Fraction) -> bool:
        """Go on from a key frame before ``time``; False if none is found."""
        container, stream = self._video.container, self._video.stream
        assert stream.time_base is not None
        for lead in _LEADS_SECONDS:
            stamp = int((time - lead + origin) / stream.time_base)
            try:
                container.seek(stamp, stream=stream)
            except (av.error.FFmpegError, OSError):
                return False
            self._frames = self._stack.enter_context(
                closing(timed_frames(self._video, origin=origin))
            )
            first = next(self._frames, None)
            if first is not None and _stamp(first) is not None and first.time <= time:
                self.current = first
                return True
            self._frames.close()
        return False


def _stamp(timed: TimedFrame) -> Fraction | None:
    """When a frame is shown by the file's clock [s]."""
    frame = timed.frame
    if frame.pts is None or not frame.time_base:
        return None
    return Fraction(frame.pts * frame.time_base)
