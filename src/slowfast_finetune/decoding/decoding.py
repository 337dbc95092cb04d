"""Where videos are opened and decoded: one pass over a file, frames in true time.

PyAV reads what decord reads and more, shows no frame that an edit list hides, and converts only
the frames that are kept; docs/architecture.md has the comparison.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from slowfast_finetune.base.errors import VideoError, frame_too_large
from slowfast_finetune.decoding.sampling import TOLERANCE_SECONDS, instants_before

Frame = npt.NDArray[np.uint8]
DisplayMatrix = tuple[int, int, int, int]  # a, b, c, d of FFmpeg's display.h, in 1/65536

# A panorama of 20:1 is a video; a strip of 10000×2 is a fault that scaling would blow up.
MAX_ASPECT_RATIO = 20
# FFmpeg's formats that show what lies in other files: an entry would not be that of its bytes, and
# who sends a video to a server must not choose what is opened there. They are never even begun.
_PLAYLISTS = {"applehttp", "concat", "dash", "hls", "image2", "imf", "rtsp", "sdp", "vobsub"}
_FORMATS = ",".join(sorted(av.formats_available - _PLAYLISTS))
# Time stamps of broken files may claim any length; nobody waits for more than this.
FOREVER_SECONDS = 7 * 86_400
# To decode so many frames takes no longer than to jump to a few places in longer videos.
FRAMES_READ_THROUGH = 600
MOST_FRAMES_A_SECOND = 240  # Matroska may claim one for each of its milliseconds
FRAMES_AFTER_JUMP = 300  # more than encoders usually put between key frames


@dataclass(frozen=True)
class DecodeSettings:
    """How frames are taken from a video.

    Attributes:
        sample_fps: instants a second.
        short_side: shorter side of the upright, scaled frame; None for as filmed [px].
        max_seconds: what lies later is left out [s].
        max_megapixels: larger frames are refused before memory is taken [10⁶ px].
    """

    sample_fps: float
    short_side: int | None
    max_seconds: float
    max_megapixels: float


@dataclass
class DecodeReport:
    """What was found while decoding; complete once the frames are exhausted.

    Attributes:
        codec: FFmpeg's name of the decoder.
        source_width, source_height: of the upright picture [px].
        source_fps: frames a second as the file states it; 0 where it does not.
        has_audio: there is a sound track.
        num_packets: frames the file claims to show, as far as it was read.
        num_decoded: frames that were really decoded.
        num_errors: packets that failed to decode, and frames decoded with faults.
        duration_seconds: from the first frame shown to the end of the last, as far as was read.
        truncated: the video goes on after ``max_seconds``.
    """

    codec: str = ""
    source_width: int = 0
    source_height: int = 0
    source_fps: float = 0.0
    has_audio: bool = False
    num_packets: int = 0
    num_decoded: int = 0
    num_errors: int = 0
    duration_seconds: float = 0.0
    truncated: bool = False

    @property
    def decodable_fraction(self) -> float:
        """Share of the claimed frames that were decoded, from 0 to 1."""
        return min(1.0, self.num_decoded / max(self.num_packets, self.num_decoded, 1))


def sampled_frames(
    path: Path,
    *,
    settings: DecodeSettings,
    report: DecodeReport,
    container_format: str | None = None,
) -> Iterator[Frame]:
    """Yield the frame shown at each sampled instant: upright, scaled, RGB uint8 (H, W, 3).

    Fills ``report`` on the way. Damaged packets are counted and passed over. The same array is
    yielded again where a frame is shown at several instants.

    Args:
        container_format: FFmpeg's name of the format; None to find it out.

    Raises:
        VideoError: with a reason code where nothing can be decoded.
    """
    with open_video(path, container_format) as container:
        stream = _prepared_stream(container, settings=settings, report=report)
        timed = _timed_frames(container, stream, report=report, settings=settings)
        yield from _take_shown(timed, settings=settings, report=report)
    if report.num_decoded == 0:
        raise VideoError("no_frames", f"none of {report.num_packets} frames can be decoded")


def every_frame(
    path: Path, *, settings: DecodeSettings, report: DecodeReport
) -> Iterator[tuple[Frame, Fraction]]:
    """Yield each decoded frame, upright, RGB uint8 (H, W, 3), and its time from the first [s].

    ``settings.sample_fps`` and ``max_seconds`` are not used.

    Raises:
        VideoError: with a reason code where nothing can be decoded.
    """
    with open_video(path) as container:
        stream = _prepared_stream(container, settings=settings, report=report)
        shape = _Reshaper(settings.short_side)
        for timed in _timed_frames(container, stream, report=report, settings=settings):
            for array in shape.repeated(timed.frame, 1, report):
                yield array, timed.time


def glimpses(
    path: Path, *, count: int, settings: DecodeSettings, report: DecodeReport
) -> list[Frame]:
    """``count`` frames in the middle of as many equal parts of a video, as RGB uint8 (H, W, 3).

    Of a short video every frame is decoded, and ``report`` is as complete as that of
    :func:`sampled_frames`. In a long one the decoder jumps from place to place: ``num_packets``
    and ``num_errors`` are then unknown and left at what was met, and the duration is the stated
    one. Where jumping fails it is read from its start. ``settings.sample_fps`` is not used.

    Raises:
        VideoError: with a reason code where nothing can be decoded.
    """
    with open_video(path) as container:
        stream = _prepared_stream(container, settings=settings, report=report)
        stated = _stated_seconds(container, stream)
        longest = min(settings.max_seconds, FOREVER_SECONDS)
        rate = min(report.source_fps or 30, MOST_FRAMES_A_SECOND)
        if stated is not None and min(stated, longest) * rate > FRAMES_READ_THROUGH:
            frames = _by_jumping(
                container,
                stream,
                instants=_middles(min(stated, longest), count),
                settings=settings,
                report=report,
            )
            if frames:
                report.duration_seconds = stated
                report.truncated = stated > longest
                return frames
    return _by_reading(path, stated, count=count, settings=settings, report=report)


def _middles(seconds: float, count: int) -> list[Fraction]:
    """The middle of each of ``count`` equal parts of a length of time [s]."""
    length = Fraction(seconds).limit_denominator(1_000_000)
    return [length * (2 * part + 1) / (2 * count) for part in range(count)]


def _stated_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """How long the file says it lasts; None where it does not say."""
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds = container.duration / av.time_base
    else:
        return None
    return seconds if 0 < seconds <= FOREVER_SECONDS else None


def _by_jumping(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    *,
    instants: Sequence[Fraction],
    settings: DecodeSettings,
    report: DecodeReport,
) -> list[Frame]:
    """The frames at ``instants`` after the start [s]; none where the file cannot be jumped in."""
    shape = _Reshaper(settings.short_side)
    frames: list[Frame] = []
    stamps: set[int] = set()
    for instant in instants:
        frame = _frame_after_jump(container, stream, instant)
        # A file that cannot be jumped in goes back to its start each time.
        if frame is None or frame.pts is None or frame.pts in stamps:
            report.num_decoded = 0
            return []
        _check_frame_size(frame.width, frame.height, settings)
        stamps.add(frame.pts)
        report.num_decoded += 1
        frames += shape.repeated(frame, 1, report)
    return frames


def _frame_after_jump(
    container: av.container.InputContainer, stream: av.VideoStream, instant: Fraction
) -> av.VideoFrame | None:
    """The frame shown at an instant after the start [s], or one up to ten seconds before it."""
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
    path: Path,
    stated: float | None,
    *,
    count: int,
    settings: DecodeSettings,
    report: DecodeReport,
) -> list[Frame]:
    """Frames of a file that is read from its start, twice where it lasts not as long as stated."""
    longest = float(min(settings.max_seconds, FOREVER_SECONDS))
    seconds = min(stated or longest, longest)
    frames = _read_at(path, _middles(seconds, count), settings=settings, report=report)
    found = min(report.duration_seconds, longest)
    if len(frames) < count or abs(found - seconds) > 0.05 * seconds:
        frames = _read_at(path, _middles(found, count), settings=settings, report=report)
    if not frames:
        raise VideoError("no_frames", f"none of {report.num_packets} frames can be decoded")
    if report.truncated and stated is not None:
        report.duration_seconds = max(stated, report.duration_seconds)
    return frames + [frames[-1]] * (count - len(frames))


def _read_at(
    path: Path, instants: Sequence[Fraction], *, settings: DecodeSettings, report: DecodeReport
) -> list[Frame]:
    """Read a video once and keep the frames shown at ``instants``; those past its end are left."""
    report.num_packets = report.num_decoded = report.num_errors = 0
    shape = _Reshaper(settings.short_side)
    longest = Fraction(min(settings.max_seconds, FOREVER_SECONDS))
    frames: list[Frame] = []
    due = deque(instants)
    shown: _TimedFrame | None = None
    with open_video(path) as container:
        stream = _prepared_stream(container, settings=settings, report=report)
        for timed in _timed_frames(container, stream, report=report, settings=settings):
            while shown is not None and due and due[0] < timed.time:
                due.popleft()
                frames += shape.repeated(shown.frame, 1, report)
            shown = timed
            if timed.time >= longest - TOLERANCE_SECONDS:
                report.truncated = True
                report.num_packets = report.num_decoded + report.num_errors
                break
        while shown is not None and due and due[0] < shown.end:
            due.popleft()
            frames += shape.repeated(shown.frame, 1, report)
    report.duration_seconds = float(shown.end) if shown else 0.0
    return frames


def _prepared_stream(
    container: av.container.InputContainer, *, settings: DecodeSettings, report: DecodeReport
) -> av.VideoStream:
    """The stream that is the video, ready to be decoded; what it says of itself is reported."""
    stream = _video_stream(container)
    _check_frame_size(stream.codec_context.width, stream.codec_context.height, settings)
    # One thread a video: many videos are decoded at once, which wastes less.
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "NONE"
    report.codec = stream.codec_context.name
    report.source_fps = stated_rate(stream)
    report.has_audio = bool(container.streams.audio)
    return stream


def open_video(path: Path, container_format: str | None = None) -> av.container.InputContainer:
    """Open a file, and nothing that it may name, with PyAV.

    Raises:
        VideoError: with a reason code.
    """
    try:
        # Metadata may be in any encoding; it is none of our business.
        container = av.open(
            str(path.absolute()),
            format=container_format,
            metadata_errors="replace",
            options={"protocol_whitelist": "file", "format_whitelist": _FORMATS},
        )
    except FileNotFoundError as error:
        raise VideoError("missing", "there is no such file") from error
    except PermissionError as error:
        raise VideoError("unreadable", "no permission to read the file") from error
    except av.error.ArgumentError as error:
        detail = "a list of other files, or of a format that is not read here"
        raise VideoError("not_a_video", detail) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError("not_a_video", f"cannot be opened: {_one_line(error)}") from error
    return container


def _one_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    # A cover picture is a video stream to FFmpeg, but not a video.
    streams = [s for s in container.streams.video if not _is_cover(s)]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise VideoError("no_video_stream", f"holds {', '.join(kinds) or 'no streams'}, no video")
    if streams[0].codec_context is None:
        raise VideoError("unknown_codec", "the codec is not known to this FFmpeg")
    return streams[0]


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _check_frame_size(width: int, height: int, settings: DecodeSettings) -> None:
    if width * height > settings.max_megapixels * 1e6:
        raise frame_too_large(width, height, max_megapixels=settings.max_megapixels)
    if width and height and max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise VideoError(
            "too_narrow", f"frames of {width}×{height} px; 1:{MAX_ASPECT_RATIO} at most"
        )


@dataclass(frozen=True)
class _TimedFrame:
    frame: av.VideoFrame
    time: Fraction
    end: Fraction


def _timed_frames(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    *,
    report: DecodeReport,
    settings: DecodeSettings,
) -> Iterator[_TimedFrame]:
    """Decode frames in presentation order with times from 0 that never go back [s]."""
    usual = _usual_duration(stream)
    first: Fraction | None = None
    previous_end = Fraction(0)
    previous_time = Fraction(0)
    for frame in _in_slots(container, stream, report):
        _check_frame_size(frame.width, frame.height, settings)
        # Frames that were held back until the end of the file come without a time base.
        time_base = frame.time_base or stream.time_base
        if frame.pts is None or time_base is None:
            time = previous_end
        else:
            stamp = frame.pts * time_base
            first = stamp if first is None else first
            # Broken stamps that go back become "right after the last one".
            time = stamp - first
            if report.num_decoded and time <= previous_time:
                time = previous_end
        step = time - previous_time
        stated = frame.duration * time_base if frame.duration and time_base else Fraction(0)
        # Matroska may state no duration, or a thousandth: the last step is the better guess.
        if stated > step / 10:
            usual = stated
        elif step > 0:
            usual = step
        previous_time, previous_end = time, time + usual
        report.num_decoded += 1
        yield _TimedFrame(frame, time, previous_end)


def _in_slots(
    container: av.container.InputContainer, stream: av.VideoStream, report: DecodeReport
) -> Iterator[av.VideoFrame]:
    """Decoded frames, those of an AVI with the time of their place.

    AVI has no presentation times: it numbers packets in the order of decoding, one a frame. Where
    that is not the order of showing, the i-th frame shown belongs in the i-th of these slots.
    """
    slots: deque[int | None] = deque()
    for frame in _decode(container, stream, report, slots):
        slot = slots.popleft() if slots else None
        if slot is not None:
            frame.pts = slot if stream.codec_context.has_b_frames else frame.dts
        yield frame


def stated_rate(stream: av.VideoStream) -> float:
    """Frames a second as the file states it, to three digits; 0 where it states none."""
    rate = stream.average_rate or stream.base_rate
    return 0.0 if not rate or rate <= 0 else round(float(rate), 3)


def _usual_duration(stream: av.VideoStream) -> Fraction:
    """How long a frame lasts that does not say so: by the stream's average rate, else 1/30 s."""
    rate = stream.average_rate or stream.base_rate
    return Fraction(1, 30) if not rate or rate <= 0 else 1 / Fraction(rate)


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    report: DecodeReport,
    slots: deque[int | None],
) -> Iterator[av.VideoFrame]:
    """Decode every packet; a damaged one is counted and passed over, as a player does.

    Adds each packet's decoding time to ``slots``.
    """
    hidden = 0
    for packet in _packets(container, stream, report):
        hidden += packet is not None and packet.is_discard
        report.num_packets += packet is not None and packet.size > 0 and not packet.is_discard
        if packet is not None and container.format.name == "avi":
            slots.append(packet.dts)
        try:
            for frame in stream.codec_context.decode(packet):
                report.num_errors += bool(getattr(frame, "is_corrupt", False))
                yield frame
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):
            report.num_errors += 1
            if slots:
                slots.pop()  # the place of a frame that will not come
    # Only the header of a cut-off file still knows how many frames it once held.
    report.num_packets = max(report.num_packets, (stream.frames or 0) - hidden)


def _packets(
    container: av.container.InputContainer, stream: av.VideoStream, report: DecodeReport
) -> Iterator[av.Packet[av.VideoStream] | None]:
    """The stream's packets as far as they can be read, then None: "give out what you hold"."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except (av.error.FFmpegError, OSError):
        report.num_errors += 1
    yield None


def _take_shown(
    timed: Iterator[_TimedFrame], *, settings: DecodeSettings, report: DecodeReport
) -> Iterator[Frame]:
    """Yield each frame once for every sampled instant at which it is shown.

    The same rule as ``sampling.shown_frames``, one frame at a time: memory stays at one frame.
    """
    fps = Fraction(settings.sample_fps).limit_denominator(100_000)
    longest = Fraction(min(settings.max_seconds, FOREVER_SECONDS))
    limit = instants_before(longest, sample_fps=fps)
    # A video that ends at max_seconds is not cut, whatever way its container rounds.
    max_time = longest - TOLERANCE_SECONDS
    shape = _Reshaper(settings.short_side)
    current: _TimedFrame | None = None
    taken = 0
    for following in timed:
        if current is not None:
            due = min(limit, instants_before(following.time, sample_fps=fps))
            yield from shape.repeated(current.frame, due - taken, report)
            taken = max(taken, due)
        current = following
        if following.time >= max_time:
            report.truncated = True
            # Frames that were read ahead but not given out are not lost ones.
            report.num_packets = report.num_decoded + report.num_errors
            break
    if current is None:
        return
    report.truncated |= current.end > max_time + 2 * TOLERANCE_SECONDS
    report.duration_seconds = float(current.end)
    due = min(limit, max(1, instants_before(current.end, sample_fps=fps)))
    yield from shape.repeated(current.frame, due - taken, report)


class _Reshaper:
    """Turns decoded frames into upright RGB arrays of one fixed size."""

    def __init__(self, short_side: int | None) -> None:
        self._short_side = short_side
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._matrix: DisplayMatrix | None = None

    def repeated(self, frame: av.VideoFrame, times: int, report: DecodeReport) -> Iterator[Frame]:
        if times > 0:
            array = self._upright(frame, report)
            for _ in range(times):
                yield array

    def _upright(self, frame: av.VideoFrame, report: DecodeReport) -> Frame:
        if self._size is None:
            # The first frame fixes the size; a stream that changes its own is scaled to it. It
            # alone is asked for its matrix: PyAV ties asked frames into cycles that live long.
            self._size = scaled_size(frame.width, frame.height, short_side=self._short_side)
            self._matrix = display_matrix(frame)
            sides = (frame.height, frame.width)
            turned = self._matrix is not None and abs(self._matrix[1]) > abs(self._matrix[0])
            report.source_height, report.source_width = sides[::-1] if turned else sides
        width, height = self._size
        # By itself FFmpeg starts a thread for every core, and again for every video.
        scaled = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        return orient(cast(Frame, scaled.to_ndarray()), self._matrix)


def scaled_size(width: int, height: int, *, short_side: int | None) -> tuple[int, int]:
    """Width and height with the shorter one set to ``short_side``, the ratio kept [px]."""
    if short_side is None:
        return width, height
    if width <= height:
        return short_side, max(short_side, round(height * short_side / width))
    return max(short_side, round(width * short_side / height)), short_side


def orient(image: Frame, matrix: DisplayMatrix | None) -> Frame:
    """Turn and mirror an (H, W, C) array as the container's display matrix says.

    The matrix maps a source pixel (x, y) to (a·x + c·y, b·x + d·y); FFmpeg's display.h.
    Angles that are no multiple of 90° are left alone, as players do.
    """
    if matrix is None:
        return image
    a, b, c, d = matrix
    if abs(b) > abs(a):
        # x and y change places: the new row runs along the old column.
        image = image.transpose(1, 0, 2)
        flip_rows, flip_columns = b < 0, c < 0
    else:
        flip_rows, flip_columns = d < 0, a < 0
    image = image[::-1] if flip_rows else image
    image = image[:, ::-1] if flip_columns else image
    return np.ascontiguousarray(image)


def is_mirrored(path: Path) -> bool:
    """Whether the container asks for mirrored frames; False where that cannot be read."""
    try:
        with open_video(path) as container:
            frame = next(container.decode(_video_stream(container)), None)
            matrix = None if frame is None else display_matrix(frame)
    except (VideoError, av.error.FFmpegError, OSError, ValueError):
        return False
    return matrix is not None and matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0


def display_matrix(frame: av.VideoFrame) -> DisplayMatrix | None:
    """The a, b, c, d of a frame's display matrix; None where it asks for nothing to be done."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    # Nine int32: a b u, c d v, x y w; a to d are 16.16 fixed point.
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(cast(Any, data))[:36])
    if (a, b, c, d) == (65536, 0, 0, 65536):
        return None
    scale = max(abs(a), abs(b), abs(c), abs(d))
    turned = min(abs(a), abs(b)) > scale * math.sin(math.radians(10))
    return None if turned or scale == 0 else (a, b, c, d)
