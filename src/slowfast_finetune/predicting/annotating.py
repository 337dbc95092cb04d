"""A copy of a video with what is seen in it, and when: a label above, a timeline below."""

import bisect
import colorsys
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.reformatter import Colorspace
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.base.files import atomic_path
from slowfast_finetune.base.params import VIDEO_EXTENSIONS
from slowfast_finetune.clips.workers import outcome_here, run_killable
from slowfast_finetune.decoding.opening import open_video, video_stream
from slowfast_finetune.decoding.sampled_frames import every_frame
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.decoding.video_facts import DecodeReport
from slowfast_finetune.predicting.frame_pipe import Frame
from slowfast_finetune.predicting.prediction import Prediction
from slowfast_finetune.predicting.prediction_text import named
from slowfast_finetune.predicting.timeline import Segment

# Where systems keep fonts that know many scripts, the widest first.
SYSTEM_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/System/Library/Fonts/PingFang.ttc",
    "/Library/Fonts/Arial Unicode.ttf",
)
NOWHERE = "\U0010ffff"  # no font has it: what is drawn like it is missing
CLOCK = Fraction(1, 90_000)  # a tick of the copy's time stamps [s]
SOUND = {"aac", "mp3", "ac3", "eac3", "opus", "alac"}  # what MP4 holds as it is
FORMATS = {".mp4": "mp4", ".mov": "mov", ".m4v": "mp4", ".mkv": "matroska"}
GREY = (150, 150, 150)
SECONDS_PER_SECOND = 60  # a copy that takes longer than this times its length has hung


@dataclass(frozen=True)
class _CopyJob:
    """A copy to write, as a process that can be killed needs it."""

    prediction: Prediction
    target: Path
    container_format: str

    @property
    def seconds_allowed(self) -> float:
        return 60 + SECONDS_PER_SECOND * self.prediction.duration_seconds


class Annotator:
    """Writes copies: to ``target`` if it names a video and there is one, else into that folder."""

    def __init__(self, target: Path, *, videos: Sequence[Path]) -> None:
        self._target = target
        self._taken = {video.resolve() for video in videos}
        self._common = os.path.commonpath([_folder_of(video) for video in videos] or ["/"])
        suffix = target.suffix.lower()
        self._is_file = len(videos) == 1 and suffix in FORMATS
        if self._is_file and target.is_dir():
            raise DataError(f"{target}: is a folder; give the name of a file in it")
        if self._is_file and target.resolve() in self._taken:
            raise DataError(f"{target}: is the video itself; give another name")
        if not self._is_file and not target.is_dir():
            if len(videos) == 1 and suffix in VIDEO_EXTENSIONS:
                raise DataError(f"{target}: copies are {', '.join(sorted(FORMATS))}")
            if target.exists() or suffix in VIDEO_EXTENSIONS:
                raise DataError(f"{target}: for several videos, --annotate names a folder")

    def write(self, result: Prediction) -> str | None:
        """Write the copy of a predicted video; return the reason if it cannot be made."""
        target = self._target if self._is_file else self._unused(result.path)
        try:
            # The parent owns the temporary file, so it is removed even if the worker is killed.
            with atomic_path(target) as temporary:
                job = _CopyJob(result, temporary, FORMATS.get(target.suffix.lower(), "mp4"))
                ((_, future),) = run_killable([job], write_copy, workers=1)
                outcome = outcome_here(future, job)
                if isinstance(outcome, VideoError):
                    raise outcome  # the old file stays
        except VideoError as error:
            return error.detail
        except OSError as error:
            return f"{error.filename or target}: {error.strerror}"
        return None

    def _unused(self, video: Path) -> Path:
        """A name of its own for each copy, in the video's subfolder; never that of a video."""
        folder = self._target / Path(_folder_of(video)).relative_to(self._common)
        path, number = folder / f"{video.stem}_labelled.mp4", 2
        while path.resolve() in self._taken:
            path, number = folder / f"{video.stem}_labelled_{number}.mp4", number + 1
        self._taken.add(path.resolve())
        return path


def _folder_of(video: Path) -> str:
    return os.path.dirname(os.path.abspath(video))  # noqa: PTH100, PTH120 - links are not followed


def write_copy(job: _CopyJob) -> None:
    """Write a copy of a predicted video, upright, with its size, frame times and sound.

    Sound in a codec that MP4 cannot hold is left out. An odd width or height loses a pixel, as
    H.264 has none. Colours are BT.709. Memory does not grow with the length. Runs in a process of
    its own.

    Raises:
        VideoError: the video cannot be decoded or the copy cannot be encoded.
    """
    try:
        _encode(job)
    except av.error.FFmpegError as error:
        raise VideoError("decoder_error", f"cannot be encoded: {error.strerror}") from error


def _encode(job: _CopyJob) -> None:
    path = job.prediction.path
    frames = every_frame(path, settings=DecodeSettings(sample_fps=1, short_side=None))
    first = next(frames)
    height, width = (side - side % 2 or side for side in first[0].shape[:2])
    overlay = Overlay(job.prediction, width=width, height=height)
    with (
        av.open(str(job.target), "w", format=job.container_format) as container,
        open_video(path) as source,
    ):
        stream = _video_stream(container, width, height, rate=1 / (first[2] - first[1]))
        sound = _Sound(source, container)
        durations: dict[int, int] = {}

        def mux(packets: Sequence[Any]) -> None:
            for packet in packets:
                # The encoder does not pass it on: the last frame would be shown for 1 / rate.
                packet.duration = durations.pop(packet.pts, 0)
                container.mux(packet)

        for picture, time, end in itertools.chain([first], frames):
            drawn = overlay.on(picture[:height, :width], float(time))
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            frame.pts, frame.time_base = round(time / CLOCK), CLOCK
            durations[frame.pts] = round(end / CLOCK) - frame.pts
            mux(stream.encode(frame))
            sound.copy_until(time)
        mux(stream.encode())
        sound.copy_until(None)


def _video_stream(container: Any, width: int, height: int, *, rate: Fraction) -> Any:
    options = {"preset": "veryfast", "crf": "20"}
    stream = container.add_stream("libx264", rate=rate.limit_denominator(1001), options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    stream.time_base = context.time_base = CLOCK
    # Stated, as players guess BT.601 for small pictures and BT.709 for large ones. The numbers are
    # those of ITU-T H.273: BT.709 for all three, and limited range.
    context.colorspace = context.color_primaries = context.color_trc = 1
    context.color_range = 1
    return stream


class _Sound:
    """The packets of a source's sound track, copied as the picture proceeds."""

    def __init__(self, source: Any, container: Any) -> None:
        tracks = [track for track in source.streams.audio if track.codec_context is not None]
        usable = [track for track in tracks if track.codec_context.name.split("_")[0] in SOUND]
        self._container = container
        self._packets: Iterator[Any] = iter(())
        self._next: Any = None
        if usable:
            self._stream = container.add_stream_from_template(usable[0])
            video = video_stream(source, DecodeReport())
            # The picture's times begin at its first frame.
            self._start = Fraction(video.start_time or 0) * (video.time_base or 0)
            self._packets = source.demux(usable[0])
            self._advance()

    def copy_until(self, time: Fraction | None) -> None:
        """Copy what is heard before ``time``; all that is left if None [s]."""
        while self._next is not None:
            packet = self._next
            heard = packet.pts * packet.time_base - self._start
            if time is not None and heard > time:
                return
            if heard >= 0:
                packet.pts -= round(self._start / packet.time_base)
                packet.dts = packet.pts
                packet.stream = self._stream
                self._container.mux(packet)
            self._advance()

    def _advance(self) -> None:
        try:
            self._next = next((p for p in self._packets if p.size and p.pts is not None), None)
        except (av.error.FFmpegError, OSError):
            self._next = None  # a damaged end: the picture goes on without sound


class Overlay:
    """What is drawn on each frame: the answer of the moment, and a bar of the whole time."""

    def __init__(self, prediction: Prediction, *, width: int, height: int) -> None:
        self._segments = prediction.segments
        self._is_unlike = prediction.doubt == "unlike the training videos"
        self._seconds = max(prediction.duration_seconds, 1e-6)
        self._names = list(prediction.probabilities)
        self._size = max(10, round(height / 18))
        self._bar_height = max(4, round(height / 40))
        self._width, self._height = width, height
        self._bar = self._draw_bar()
        self._labels: dict[int, Frame] = {}

    def on(self, picture: Frame, seconds: float) -> Frame:
        """A copy of a frame, uint8 (H, W, 3), with the label and the place in time."""
        drawn = picture.copy()
        # The last segment holds what comes after it.
        number = bisect.bisect_right(self._segments[:-1], seconds, key=lambda s: s.end_seconds)
        if number not in self._labels:
            self._labels = {number: self._draw_label(self._segments[number])}
        label = self._labels[number]
        place = drawn[: label.shape[0], : label.shape[1]]
        # Half of the picture shows through the ground of the letters.
        np.maximum(place // 3, label[: place.shape[0], : place.shape[1]], out=place)
        drawn[-self._bar_height :] = self._bar[: drawn.shape[0]]
        here = min(self._width - 1, int(seconds / self._seconds * self._width))
        drawn[-2 * self._bar_height :, max(0, here - 1) : here + 1] = 255
        return drawn

    def _draw_bar(self) -> Frame:
        bar = np.zeros((self._bar_height, self._width, 3), np.uint8)
        for segment in self._segments:
            ends = (segment.start_seconds, segment.end_seconds)
            left, right = (round(end / self._seconds * self._width) for end in ends)
            bar[:, left : max(right, left + 1)] = self._colour(segment)
        return bar

    def _draw_label(self, segment: Segment) -> Frame:
        words = f"{self._legible(segment)} {segment.confidence:.2f}"
        if self._is_unlike:
            words = f"{named(None)}: unlike the training videos"
        font = font_for(words, self._size)
        image = Image.new("RGB", (1, 1))
        left, top, right, bottom = ImageDraw.Draw(image).textbbox((0, 0), words, font=font)
        edge = self._size // 3
        size = (int(right - left) + 2 * edge + self._size // 2, int(bottom - top) + 2 * edge)
        image = Image.new("RGB", size)
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 0, self._size // 3, size[1]), fill=self._colour(segment))
        draw.text(
            (edge - left + self._size // 2, edge - top), words, font=font, fill=(255, 255, 255)
        )
        return np.asarray(image)

    def _legible(self, segment: Segment) -> str:
        """The name, or the number of the class where no font has its letters."""
        name = named(segment.answer)
        if segment.answer is None or font_for(name, self._size) is not None:
            return name
        return f"class {self._names.index(segment.answer)}"

    def _colour(self, segment: Segment) -> tuple[int, int, int]:
        """Grey for "none of these"; else a hue of its own for each class."""
        if segment.answer is None:
            return GREY
        # Steps of the golden ratio keep neighbours apart, however many there are.
        hue = self._names.index(segment.answer) * 0.618034 % 1
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.65, 0.95))
        return red, green, blue


@functools.cache
def font_for(text: str, size: int) -> FreeTypeFont | None:
    """The font that comes with Pillow, or one of the system's, with all letters of ``text``."""
    built_in = ImageFont.load_default(size)
    fonts = [built_in] if isinstance(built_in, FreeTypeFont) else []
    fonts += [ImageFont.truetype(path, size) for path in SYSTEM_FONTS if Path(path).is_file()]
    return next((font for font in fonts if _has_all(font, text)), None)


def _has_all(font: FreeTypeFont, text: str) -> bool:
    missing = _shape(font, NOWHERE)
    return all(letter.isspace() or _shape(font, letter) != missing for letter in set(text))


def _shape(font: FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
