"""A copy of a video with what is seen in it, and when: a label above, a timeline below."""

from __future__ import annotations

import colorsys
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.base.files import atomic_path
from slowfast_finetune.predicting.inputs import VIDEO_SUFFIXES
from slowfast_finetune.predicting.lettering import font_for
from slowfast_finetune.predicting.prediction import Prediction
from slowfast_finetune.predicting.prediction_text import named
from slowfast_finetune.predicting.timeline import Segment

Frame = npt.NDArray[np.uint8]

CLOCK = Fraction(1, 90_000)  # a tick of the copy's time stamps [s]
SOUND = {"aac", "mp3", "ac3", "eac3", "opus", "alac"}  # what MP4 holds as it is
SUFFIXES = {".mp4", ".mov", ".m4v", ".mkv"}
GREY = (150, 150, 150)
SECONDS_PER_SECOND = 60  # a copy that takes longer than this times its length has hung


@dataclass(frozen=True)
class _Job:
    """A copy to write: what a process that can be killed needs to know."""

    prediction: Prediction
    target: Path
    suffix: str
    max_megapixels: float = 40.0

    @property
    def seconds_allowed(self) -> float:
        return 60 + SECONDS_PER_SECOND * self.prediction.duration_seconds


class Annotator:
    """Writes copies: to ``target`` if it names a video and there is one, else into that folder."""

    def __init__(self, target: Path, *, videos: Sequence[Path]) -> None:
        self._target = target
        self._taken = {video.resolve() for video in videos}
        suffix = target.suffix.lower()
        self._is_file = len(videos) == 1 and suffix in SUFFIXES
        if self._is_file and target.is_dir():
            raise DataError(f"{target}: is a folder; give the name of a file in it")
        if self._is_file and target.resolve() in self._taken:
            raise DataError(f"{target}: is the video itself; give another name")
        if not self._is_file and not target.is_dir():
            if len(videos) == 1 and suffix in VIDEO_SUFFIXES:
                raise DataError(f"{target}: copies are {', '.join(sorted(SUFFIXES))}")
            if target.exists() or suffix in VIDEO_SUFFIXES:
                raise DataError(f"{target}: for several videos, --annotate names a folder")

    def write(self, result: Prediction) -> str | None:
        """Write the copy of a predicted video; gives the reason if it cannot be made."""
        from slowfast_finetune.clips.decode_job import Refusal
        from slowfast_finetune.clips.workers import outcome_here, refusal_of, run_killable

        target = self._target if self._is_file else self._unused(result.path.stem)
        try:
            # Ours, not the worker's, which may be killed: so it goes whatever happens.
            with atomic_path(target) as temporary:
                job = _Job(result, temporary, target.suffix.lower())
                ((_, future),) = run_killable([job], write_annotated_job, workers=1)
                outcome = outcome_here(future, job, refusal=lambda error, _: refusal_of(error))
                if isinstance(outcome, Refusal):
                    raise _NotWrittenError(outcome.detail)
        except _NotWrittenError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename or target}: {error.strerror}"
        return None

    def _unused(self, stem: str) -> Path:
        """A name of its own for each copy, and never that of a video that is looked at."""
        path, number = self._target / f"{stem}_labelled.mp4", 2
        while path.resolve() in self._taken:
            path, number = self._target / f"{stem}_labelled_{number}.mp4", number + 1
        self._taken.add(path.resolve())
        return path


class _NotWrittenError(Exception):
    """Leaves what was there before."""


def write_annotated_job(job: _Job) -> None:
    """Write a copy. Runs in a process of its own."""
    _write(job.prediction, job.target, suffix=job.suffix, max_megapixels=job.max_megapixels)


def write_annotated(prediction: Prediction, target: Path, *, max_megapixels: float = 40.0) -> None:
    """Write a copy of a predicted video, upright, with its size, frame times and sound.

    Sound that MP4 does not hold as it is, is left out. A width or height that is odd loses a pixel:
    H.264 has none. Memory does not grow with the length.

    Raises:
        VideoError: the video cannot be decoded or the copy cannot be encoded.
    """
    with atomic_path(target) as temporary:
        suffix = target.suffix.lower()
        _write(prediction, temporary, suffix=suffix, max_megapixels=max_megapixels)


def _write(prediction: Prediction, target: Path, *, suffix: str, max_megapixels: float) -> None:
    import av.error

    from slowfast_finetune.decoding.decode_settings import DecodeSettings
    from slowfast_finetune.decoding.decoding import every_frame

    settings = DecodeSettings(sample_fps=1, short_side=None, max_megapixels=max_megapixels)
    frames = every_frame(prediction.path, settings=settings)
    try:
        _encode(prediction, frames, target, suffix=suffix)
    except av.error.FFmpegError as error:
        raise VideoError("decoder_error", f"cannot be encoded: {error.strerror}") from error


def _encode(
    prediction: Prediction,
    frames: Iterator[tuple[Frame, Fraction]],
    target: Path,
    *,
    suffix: str,
) -> None:
    import av

    from slowfast_finetune.decoding.opening import open_video

    kind = {".mkv": "matroska", ".mov": "mov"}.get(suffix, "mp4")
    overlay: Overlay | None = None
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(av.open(str(target), "w", format=kind))
        stream: Any = None
        sound: _Sound | None = None
        for picture, time in frames:
            if stream is None:
                height, width = (side - side % 2 or side for side in picture.shape[:2])
                stream = _video_stream(container, width, height)
                sound = _Sound(stack.enter_context(open_video(prediction.path)), container)
                overlay = Overlay(prediction, width=width, height=height)
            assert overlay is not None
            assert sound is not None
            drawn = overlay.on(picture[:height, :width], float(time))
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            frame.pts, frame.time_base = round(time / CLOCK), CLOCK
            container.mux(stream.encode(frame))
            sound.copy_until(time)
        if stream is not None and sound is not None:
            container.mux(stream.encode())
            sound.copy_until(None)


def _video_stream(container: Any, width: int, height: int) -> Any:
    stream = container.add_stream("libx264", options={"preset": "veryfast", "crf": "20"})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = stream.codec_context.time_base = CLOCK
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
            video = source.streams.video[0]
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
                shift = round(self._start / packet.time_base)
                packet.pts -= shift
                packet.dts = packet.pts
                packet.stream = self._stream
                self._container.mux(packet)
            self._advance()

    def _advance(self) -> None:
        import av.error

        try:
            self._next = next((p for p in self._packets if p.size and p.pts is not None), None)
        except (av.error.FFmpegError, OSError):
            self._next = None  # a damaged end: the picture goes on without sound


class Overlay:
    """What is drawn on each frame: the answer of the moment, and a bar of the whole time."""

    def __init__(self, prediction: Prediction, *, width: int, height: int) -> None:
        self._segments = prediction.segments
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
        number = _segment_at(self._segments, seconds)
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
        from PIL import Image, ImageDraw

        words = f"{self._legible(segment)} {segment.confidence:.2f}"
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


def _segment_at(segments: Sequence[Segment], seconds: float) -> int:
    """Which segment a moment lies in; the last one holds what comes after it."""
    for number, segment in enumerate(segments):
        if seconds < segment.end_seconds:
            return number
    return len(segments) - 1
