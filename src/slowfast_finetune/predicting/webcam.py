"""Predict the newest window of a webcam, again and again."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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


def camera_device(camera: int) -> Path:
    """Where Linux has a webcam.

    Raises:
        DataError: there is no such camera.
    """
    device = Path(f"/dev/video{camera}")
    if not device.exists():
        raise DataError(f"{device}: there is no such camera")
    return device


def watch(
    model: Predictor,
    source: Path,
    *,
    stride_seconds: float | None,
    container_format: str | None = CAMERA_FORMAT,
) -> Iterator[Moment]:
    """Answers to the newest window of a webcam, until the person stops it.

    Args:
        container_format: FFmpeg's name of the source's format; None to find it out.

    Raises:
        DataError: the source gives no frames.
    """
    shape = model.preprocessing
    fps, window = shape.sample_fps, shape.num_frames
    stride = window // 2 if stride_seconds is None else max(1, round(stride_seconds * fps))
    request = replace(model.frame_request, container_format=container_format)
    with contextlib.closing(DecoderPool(DecodeLimits(), num_workers=1)) as pool:
        newest = _NewestFrames(pool.open(source, request).runs(), window)
        try:
            for end, clip in newest.windows(stride=stride):
                label, confidence = model.predict_clip(clip)
                yield Moment(label, confidence, (end - window) / fps, end / fps)
        except VideoError as error:
            raise DataError(f"{source}: {error.detail}") from error


class _NewestFrames:
    """Ring buffer, filled by a thread, of a stream's last frames: a slow consumer skips frames."""

    def __init__(self, runs: Iterable[FrameRun], num_frames: int) -> None:
        self._runs = runs
        self._num_frames = num_frames
        self._frames: deque[Frame] = deque(maxlen=num_frames)
        self._count = 0  # frames that have come
        self._error: VideoError | None = None
        self._is_over = False
        self._changed = threading.Condition()
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self) -> None:
        try:
            for frame, length in self._runs:
                with self._changed:
                    self._frames.extend([frame] * min(length, self._num_frames))
                    self._count += length
                    self._changed.notify_all()
        except VideoError as error:
            self._error = error
        except VideoClosedError:
            pass
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def windows(self, *, stride: int) -> Iterator[tuple[int, Frame]]:
        """Yield how many frames there were, and the newest window (T, H, W, 3), ``stride`` apart.

        Raises:
            VideoError: the stream cannot be read.
        """
        due = self._num_frames
        while True:
            with self._changed:
                while self._count < due and not self._is_over:
                    self._changed.wait()
                if self._count < due:
                    if self._error is not None:
                        raise self._error
                    return
                count, clip = self._count, np.stack(self._frames)
            yield count, clip
            due = count + stride
