"""Open a video file: which formats are read, and which of its streams is the video."""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error

from slowfast_finetune.base.errors import VideoError, frame_too_large
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.decoding.video_facts import DecodeReport

# A panorama of 20:1 is a video. A strip of 10000×2 px comes of damage; scaling would enlarge it.
MAX_ASPECT_RATIO = 20
# A track of so few frames is a picture of the video, not the video.
THUMBNAIL_FRAMES = 2
PACKETS_COUNTED = 500  # ten seconds of two streams
# FFmpeg's formats that read other files. A clip store entry must depend on the file's own bytes,
# and a client must not choose which files a server opens: FFmpeg may not try these formats.
_PLAYLISTS = {"applehttp", "concat", "dash", "hls", "image2", "imf", "rtsp", "sdp", "vobsub"}
# Still pictures are no videos either, whatever their names.
_STILLS = {name for name in av.formats_available if name.endswith("_pipe")} - {"gif_pipe"}
_FORMATS = ",".join(sorted(av.formats_available - _PLAYLISTS - _STILLS))


def open_video(path: Path, container_format: str | None = None) -> av.container.InputContainer:
    """Open a file with PyAV, but no other file that it refers to.

    Raises:
        VideoError: with a reason code.
    """
    try:
        # Metadata may be in any encoding; it is not used.
        return av.open(
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
        detail = "a still picture, a list of other files, or of a format that is not read here"
        raise VideoError("not_a_video", detail) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        detail = " ".join(detail.split())
        if isinstance(error, av.error.InvalidDataError):  # an MP4's index comes at its end
            detail = f"cut off, or not a video ({detail})"
        detail = f"cannot be opened: {detail}"
        raise VideoError("not_a_video", detail) from error


@dataclass(frozen=True)
class OpenedVideo:
    """A file that is open for decoding; ``report`` is filled while it is decoded."""

    container: av.container.InputContainer
    stream: av.VideoStream
    settings: DecodeSettings
    report: DecodeReport

    def check_frame_size(self, width: int, height: int) -> None:
        """Refuse frames that are too large or too narrow [px].

        Raises:
            VideoError: with the reason ``too_large`` or ``too_narrow``.
        """
        if width * height > self.settings.max_megapixels * 1e6:
            raise frame_too_large(width, height, max_megapixels=self.settings.max_megapixels)
        if width and height and max(width, height) > MAX_ASPECT_RATIO * min(width, height):
            raise VideoError(
                "too_narrow", f"frames of {width}×{height} px; 1:{MAX_ASPECT_RATIO} at most"
            )


@contextmanager
def opened(
    path: Path,
    settings: DecodeSettings,
    report: DecodeReport,
    *,
    container_format: str | None = None,
) -> Iterator[OpenedVideo]:
    """Open a file for decoding while the block runs, and report what its video stream states.

    Raises:
        VideoError: with a reason code.
    """
    with open_video(path, container_format) as container:
        stream = video_stream(container, report)
        context = stream.codec_context
        video = OpenedVideo(container, stream, settings, report)
        video.check_frame_size(context.width, context.height)
        # One thread a video: many videos are decoded at once, which wastes less.
        context.thread_count = 1
        context.thread_type = "NONE"
        # Frames then carry what their packet was marked with.
        context.copy_opaque = True
        report.codec = context.name
        report.source_fps = round(float(stated_rate(stream)), 3)
        report.has_audio = bool(container.streams.audio)
        yield video


def video_stream(container: av.container.InputContainer, report: DecodeReport) -> av.VideoStream:
    """The stream that is the video: of several the default one, then the largest, as in `ffmpeg`.

    Cover pictures and tracks of one or two frames beside longer ones are none.

    Raises:
        VideoError: there is none, or its codec is not known.
    """
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise VideoError("no_video_stream", f"holds {', '.join(kinds) or 'no streams'}, no video")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError("unknown_codec", "the codec is not known to this FFmpeg")
    counts = _packets_at_the_start(Path(container.name)) if len(known) > 1 else Counter[int]()
    is_long = max(counts.values(), default=0) >= 5 * THUMBNAIL_FRAMES
    stills = {index for index, count in counts.items() if is_long and count <= THUMBNAIL_FRAMES}
    chosen = max((stream for stream in known if stream.index not in stills), key=_rank)
    if len(streams) > 1:
        report.remark(f"stream {chosen.index} of {len(streams)} video streams is used")
    return chosen


def _packets_at_the_start(path: Path) -> Counter[int]:
    """Count the packets of each video stream among the first ones; few headers state how many."""
    counts: Counter[int] = Counter()
    # Opened once more: to go back would not leave every format at its start.
    with open_video(path) as container, suppress(av.error.FFmpegError, OSError):
        streams = container.streams.video
        counts.update({stream.index: 0 for stream in streams})
        for packet in itertools.islice(container.demux(streams), PACKETS_COUNTED):
            counts[packet.stream.index] += bool(packet.size)
    return counts


def _rank(stream: av.VideoStream) -> tuple[bool, int]:
    """What `ffmpeg` chooses a stream by: that it is the default one, then its area [px]."""
    is_default = bool(stream.disposition & av.stream.Disposition.default)
    return is_default, stream.codec_context.width * stream.codec_context.height


def stated_rate(stream: av.VideoStream) -> Fraction:
    """Frames a second as the file states it; 0 where it states none."""
    rate = stream.average_rate or stream.base_rate
    return Fraction(rate) if rate and rate > 0 else Fraction(0)
