"""Predict the newest window of a webcam, again and again."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.predicting.decoded_video import VideoClosedError
from slowfast_finetune.predicting.decoder_pool import DecodeLimits, DecoderPool
from slowfast_finetune.predicting.frame_pipe import Frame, FrameRun

if TYPE_CHECKING:
    from slowfast_finetune.predicting.predictor import Predictor

CAMERA_FORMAT = "v4l2"


@dataclass(frozen=True)
class Moment:
    """The answer to one window.

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


def watch(model: Predictor, camera: int, *, stride_seconds: float | None) -> Iterator[Moment]:
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
    model: Predictor, source: Path, container_format: str | None, *, stride_seconds: float | None
) -> Iterator[Moment]:
    """As :func:`watch`, of anything that FFmpeg reads."""
    shape = model.preprocessing
    stride = shape.num_frames // 2 if stride_seconds is None else stride_seconds * shape.sample_fps
    request = replace(model.frame_request, container_format=container_format)
    with contextlib.closing(DecoderPool(DecodeLimits(), num_workers=1)) as pool:
        newest = _NewestFrames(shape.num_frames)
        runs = pool.open(source, request).runs()
        threading.Thread(target=newest.fill, args=(runs,), daemon=True).start()
        try:
            for end, clip in newest.windows(stride=max(1, round(stride))):
                label, confidence = model.predict_clip(clip)
                start = end - shape.num_frames
                fps = shape.sample_fps
                yield Moment(label, confidence, start / fps, end / fps)
        except VideoError as error:
            raise DataError(f"{source}: {error.detail}") from error


class _NewestFrames:
    """Ring buffer of the last frames of a stream: a slow consumer skips frames."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames
        self._frames: deque[Frame] = deque(maxlen=num_frames)
        self._count = 0  # frames that have come
        self._error: VideoError | None = None
        self._is_over = False
        self._changed = threading.Condition()

    def fill(self, runs: Iterator[FrameRun]) -> None:
        """Take frames until they end or are no longer wanted. Runs in a thread."""
        error: VideoError | None = None
        try:
            for frame, length in runs:
                with self._changed:
                    self._frames.extend([frame] * min(length, self._num_frames))
                    self._count += length
                    self._changed.notify_all()
        except VideoError as caught:
            error = caught
        except VideoClosedError:
            pass
        with self._changed:
            self._error, self._is_over = error, True
            self._changed.notify_all()

    def windows(self, *, stride: int) -> Iterator[tuple[int, Frame]]:
        """Yield how many frames there were, and the newest window (T, H, W, 3), ``stride`` apart.

        Raises:
            VideoError: the stream cannot be read.
        """
        due = self._num_frames
        while True:
            with self._changed:
                self._changed.wait_for(lambda due=due: self._count >= due or self._is_over)  # type: ignore[misc]
                if self._count < due:
                    if self._error is not None:
                        raise self._error
                    return
                count, clip = self._count, np.stack(self._frames)
            yield count, clip
            due = count + stride
