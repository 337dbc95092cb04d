"""Videos to measure on: drawn, textured, in motion; and copies that differ in their bytes only."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

MARGIN = 160  # the picture is a window that wanders over a larger texture [px]


def draw_video(
    path: Path,
    *,
    width: int,
    height: int,
    num_frames: int,
    fps: int = 30,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
) -> Path:
    """Write a video of a texture that swings in circles; by default H.264 as people make it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.options = {"preset": "veryfast"} if options is None else options
        for index, picture in enumerate(pictures(width, height, num_frames, fps)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def pictures(width: int, height: int, num_frames: int, fps: int) -> Iterator[Frame]:
    """Frames uint8 (height, width, 3) of a texture that swings in circles."""
    texture = _texture(width + MARGIN, height + MARGIN)
    for index in range(num_frames):
        seconds = index / fps
        left = round(MARGIN / 2 * (1 + 0.9 * math.sin(2.0 * seconds)))
        top = round(MARGIN / 2 * (1 + 0.9 * math.cos(1.5 * seconds)))
        yield np.ascontiguousarray(texture[top : top + height, left : left + width])


def _texture(width: int, height: int) -> Frame:
    """Coloured blocks of 8 px under fine grain, the same at every call."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 224, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    enlarged = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return enlarged + rng.integers(0, 32, enlarged.shape, dtype=np.uint8)


def marked(video: bytes, mark: int) -> bytes:
    """The same MP4 with a box of free space that holds a number: new content, same frames."""
    return video + struct.pack(">I4sQ", 16, b"free", mark)


def write_copies(video: Path, folder: Path, *, count: int, first: int = 0) -> list[Path]:
    """Write copies of an MP4 that each have their own content hash."""
    folder.mkdir(parents=True, exist_ok=True)
    content = video.read_bytes()
    copies = [folder / f"{video.stem}_{mark:05}.mp4" for mark in range(first, first + count)]
    for mark, copy in enumerate(copies, start=first):
        copy.write_bytes(marked(content, mark))
    return copies
