"""A webcam as a video without an end: what it shows now, again and again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.errors import DataError, VideoError

if TYPE_CHECKING:
    from slowfast_finetune.predicting.model import Model

Frame = npt.NDArray[np.uint8]
CAMERA_FORMAT = "v4l2"


@dataclass(frozen=True)
class Moment:
    """What the last window showed.

    Attributes:
        label: the most probable class.
        confidence: its probability.
        start_seconds, end_seconds: of the window, from the first frame.
    """

    label: str
    confidence: float
    start_seconds: float
    end_seconds: float


def camera_index(words: Sequence[str]) -> int | None:
    """The webcam that is meant by a number alone; None where files are meant."""
    if len(words) != 1 or not words[0].isdecimal() or Path(words[0]).exists():
        return None
    return int(words[0])


def watch(model: Model, camera: int, *, stride_seconds: float | None) -> Iterator[Moment]:
    """Answers to the newest window of a webcam, until the person stops it.

    Raises:
        DataError: there is no such camera, or it gives no frames.
    """
    device = camera_device(camera)
    yield from watch_source(model, device, CAMERA_FORMAT, stride_seconds=stride_seconds)


def camera_device(camera: int) -> Path:
    """Where Linux has a webcam.

    Raises:
        DataError: there is no such camera.
    """
    device = Path(f"/dev/video{camera}")
    if not device.exists():
        raise DataError(f"{device}: there is no such camera")
    return device


def watch_source(
    model: Model, source: Path, container_format: str | None, *, stride_seconds: float | None
) -> Iterator[Moment]:
    """As :func:`watch`, of anything that FFmpeg reads."""
    from slowfast_finetune.decoding.decode_settings import DecodeSettings
    from slowfast_finetune.decoding.decoding import sampled_frames
    from slowfast_finetune.predicting.streams import DecodeLimits

    shape = model.preprocessing
    stride = shape.num_frames // 2 if stride_seconds is None else stride_seconds * shape.sample_fps
    settings = DecodeSettings(
        sample_fps=shape.sample_fps,
        short_side=shape.short_side,
        max_megapixels=DecodeLimits().max_megapixels,
    )
    frames = sampled_frames(source, settings=settings, container_format=container_format)
    newest = _Newest(shape.num_frames)
    threading.Thread(target=newest.fill, args=(frames,), daemon=True).start()
    try:
        for end, clip in newest.windows(stride=max(1, round(stride))):
            label, confidence = model.look(clip)
            start = end - shape.num_frames
            yield Moment(label, confidence, start / shape.sample_fps, end / shape.sample_fps)
    except VideoError as error:
        raise DataError(f"{source}: {error.detail}") from error
    finally:
        newest.stop()


@dataclass
class _Newest:
    """The last frames of a stream: who is slow misses some and sees none that is old."""

    num_frames: int
    count: int = 0
    kept: deque[Frame] = field(default_factory=deque)
    error: VideoError | None = None
    is_over: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def fill(self, frames: Iterator[Frame]) -> None:
        """Take frames until they end or nobody wants them. Runs in a thread."""
        error: VideoError | None = None
        try:
            for frame in frames:
                with self.changed:
                    if self.is_over:
                        return
                    self.kept.append(frame)
                    if len(self.kept) > self.num_frames:
                        self.kept.popleft()
                    self.count += 1
                    self.changed.notify_all()
        except VideoError as caught:
            error = caught
        with self.changed:
            self.error, self.is_over = error, True
            self.changed.notify_all()

    def windows(self, *, stride: int) -> Iterator[tuple[int, Frame]]:
        """The newest window, (T, H, W, 3), with how many frames there were, ``stride`` apart.

        Raises:
            VideoError: the stream cannot be read.
        """
        due = self.num_frames
        while True:
            with self.changed:
                self.changed.wait_for(lambda due=due: self.count >= due or self.is_over)  # type: ignore[misc]
                if self.count < due:
                    if self.error is not None:
                        raise self.error
                    return
                count, clip = self.count, np.stack(self.kept)
            yield count, clip
            due = count + stride

    def stop(self) -> None:
        """Let the thread end with the next frame."""
        with self.changed:
            self.is_over = True
