"""Predict the newest window of a webcam, again and again."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.predicting.decoded_video import DecodedVideo
from slowfast_finetune.predicting.decoder_pool import DecodeLimits, DecoderPool
from slowfast_finetune.predicting.frame_pipe import Frame
from slowfast_finetune.predicting.timeline import Segment

if TYPE_CHECKING:
    from slowfast_finetune.predicting.predictor import Predictor

CAMERA_FORMAT = "v4l2"


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
    threshold: float | None = None,
    container_format: str | None = CAMERA_FORMAT,
) -> Iterator[Segment]:
    """Answers to the newest window of a webcam, until the person stops it.

    Args:
        threshold: an answer less probable is "none of these"; that of the model if None.
        container_format: FFmpeg's name of the source's format; None to find it out.

    Raises:
        DataError: the source gives no frames.
    """
    shape = model.preprocessing
    fps, window = shape.sample_fps, shape.num_frames
    stride = window // 2 if stride_seconds is None else max(1, round(stride_seconds * fps))
    sure_enough = model.threshold if threshold is None else threshold
    frames: deque[Frame] = deque(maxlen=window)
    count, due = 0, window  # frames that have come, and those there must be for the next answer
    with contextlib.closing(DecoderPool(DecodeLimits(), num_workers=1)) as pool:
        settings = model.decode_settings
        video = pool.open(DecodedVideo(source, settings, container_format=container_format))
        try:
            while runs := video.take():
                for frame, length in runs:
                    frames.extend([frame] * min(length, window))
                    count += length
                # A slow model skips the frames that have come meanwhile.
                if count >= due and not video.has_frames:
                    label, confidence = model.predict_clip(np.stack(frames))
                    answer = label if confidence >= sure_enough else None
                    yield Segment(answer, (count - window) / fps, count / fps, confidence)
                    due = count + stride
        except VideoError as error:
            raise DataError(f"{source}: {error.detail}") from error
