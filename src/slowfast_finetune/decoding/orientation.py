"""Turn decoded frames into upright RGB arrays of one size: scaling, rotation, mirroring."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from slowfast_finetune.decoding.video_facts import DecodeReport

Frame = npt.NDArray[np.uint8]
DisplayMatrix = tuple[int, int, int, int]  # a, b, c, d of FFmpeg's display.h, in 1/65536


class Reshaper:
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
