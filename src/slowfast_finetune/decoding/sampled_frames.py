"""Decode videos in one pass: frames in true time, upright and scaled.

PyAV reads what decord reads and more, shows no frame that an edit list hides, and converts only
the frames that are kept; docs/architecture.md has the comparison.
"""

import itertools
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.decoding import sampling
from slowfast_finetune.decoding.opening import OpenedVideo, opened
from slowfast_finetune.decoding.orientation import Frame, Reshaper
from slowfast_finetune.decoding.timing import TimedFrame, timed_frames
from slowfast_finetune.decoding.video_facts import DecodeReport


def sampled_frames(
    path: Path, *, settings: sampling.DecodeSettings, report: DecodeReport | None = None
) -> Iterator[Frame]:
    """Yield the frame shown at each sampled instant: upright, scaled, RGB uint8 (H, W, 3).

    The same array is yielded again where a frame is shown at several instants. Arguments and
    errors are those of :func:`sampled_runs`.
    """
    for frame, length in sampled_runs(path, settings=settings, report=report):
        yield from itertools.repeat(frame, length)


def sampled_runs(
    path: Path,
    *,
    settings: sampling.DecodeSettings,
    report: DecodeReport | None = None,
    container_format: str | None = None,
) -> Iterator[tuple[Frame, int]]:
    """Yield each frame that is sampled, and at how many sampled instants in a row it is shown.

    A frame that a file holds for days takes no longer than any other. Fills ``report`` on the way.
    Damaged packets are counted and passed over.

    Args:
        container_format: FFmpeg's name of the format; None to find it out.

    Raises:
        VideoError: with a reason code where nothing can be decoded.
    """
    report = DecodeReport() if report is None else report
    with (
        opened(path, settings, report, container_format=container_format) as video,
        closing(timed_frames(video)) as timed,
    ):
        yield from _take_shown(timed, video)
    if report.num_decoded == 0:
        raise VideoError("no_frames", f"none of {report.num_packets} frames can be decoded")


def every_frame(
    path: Path, *, settings: sampling.DecodeSettings
) -> Iterator[tuple[Frame, Fraction, Fraction]]:
    """Yield each decoded frame, upright, RGB uint8 (H, W, 3), from when and until when it is shown.

    Both times are counted from the first frame [s]. ``settings.sample_fps`` and ``max_seconds`` are
    not used.

    Raises:
        VideoError: with a reason code where nothing can be decoded.
    """
    with opened(path, settings, DecodeReport()) as video:
        shape = Reshaper(video)
        for timed in timed_frames(video):
            yield shape.upright(timed.frame), timed.time, timed.end


def _take_shown(timed: Iterator[TimedFrame], video: OpenedVideo) -> Iterator[tuple[Frame, int]]:
    """Yield each frame that is shown at a sampled instant, and the number of these instants.

    A frame is shown from its time until the next one's. Memory stays at two frames.
    """
    settings, report, shape = video.settings, video.report, Reshaper(video)
    fps = sampling.exact_rate(settings.sample_fps)
    longest = Fraction(min(settings.max_seconds, sampling.FOREVER_SECONDS))
    limit = sampling.instants_before(longest, sample_fps=fps)
    # A video that ends at max_seconds is not cut, whatever way its container rounds.
    max_time = longest - sampling.TOLERANCE_SECONDS
    current: TimedFrame | None = None
    taken = 0
    for current in timed:
        due = min(limit, sampling.instants_before(current.end, sample_fps=fps))
        if due > taken:
            yield shape.upright(current.frame), due - taken
            taken = due
        if current.time >= max_time:
            report.truncated = True
            break
    if current is None:
        return
    report.truncated |= current.end > longest + sampling.TOLERANCE_SECONDS
    report.duration_seconds = float(current.end)
    if taken == 0:
        yield shape.upright(current.frame), 1
