"""Turn decoded frames into upright RGB arrays of one size with square pixels."""

import math
import struct
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorTrc, Interpolation, VideoReformatter

from slowfast_finetune.decoding.opening import MAX_ASPECT_RATIO, OpenedVideo
from slowfast_finetune.decoding.tone_mapping import tone_map
from slowfast_finetune.decoding.video_facts import DynamicRange

Frame = npt.NDArray[np.uint8]
DisplayMatrix = tuple[int, int, int, int]  # a, b, c, d of FFmpeg's display.h, in 1/65536
# H.264 knows pixels up to twice as wide as high; halves of anamorphic pictures have 2.9.
MAX_PIXEL_ASPECT = 4


class Reshaper:
    """Turns decoded frames into upright RGB arrays of one fixed size.

    The first frame fixes the size. A later one of another shape is fitted into it between black
    bars. Without ``settings.short_side`` they are as filmed, in pixels as high as the source's.
    """

    def __init__(self, video: OpenedVideo) -> None:
        self._short_side = video.settings.short_side
        self._stream = video.stream
        self._report = video.report
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._matrix: DisplayMatrix | None = None
        self._coded_aspect: Fraction | None = None  # what the codec said at the first frame

    def upright(self, frame: av.VideoFrame) -> Frame:
        """The frame as it is shown: scaled, upright, RGB uint8 (H, W, 3)."""
        report = self._report
        stated = self._stated_aspect()
        aspect = plausible_aspect(stated, frame)
        if aspect is None:
            report.remark(f"pixels of {stated} are taken for square")
        shown = round(frame.width * (aspect or 1)), frame.height
        if self._size is None:
            # Only the first frame is asked for its matrix: side data that has been read makes
            # reference cycles, and delays freeing.
            self._matrix = display_matrix(frame)
            self._size = scaled_size(*shown, short_side=self._short_side)
            turned = self._matrix is not None and abs(self._matrix[1]) > abs(self._matrix[0])
            report.source_width, report.source_height = shown[::-1] if turned else shown
            report.pixel_aspect = float(aspect or 1)
            report.dynamic_range = dynamic_range(frame)
        inner = fitted_size(*shown, room=self._size)
        array = self._rgb(frame, *inner)
        if inner != self._size:
            report.remark("the frame size changes; later frames are scaled and padded")
            array = _framed(array, *self._size)
        return orient(array, self._matrix)

    def _stated_aspect(self) -> Fraction:
        """The container's pixel shape, until the codec's changes within the stream."""
        coded = self._stream.codec_context.sample_aspect_ratio or Fraction(1)
        if self._size is None:
            self._coded_aspect = coded
        return stated_aspect(self._stream) if coded == self._coded_aspect else coded

    def _rgb(self, frame: av.VideoFrame, width: int, height: int) -> Frame:
        """Scale to RGB uint8 (height, width, 3), HDR mapped to SDR."""
        transfer = dynamic_range(frame)
        pixels = "rgb24" if transfer == "sdr" else "rgb48le"
        # By itself FFmpeg starts a thread for every core, and again for every video.
        scaled = self._reformatter.reformat(
            frame, width, height, pixels, interpolation=Interpolation.BILINEAR, threads=1
        ).to_ndarray()
        if transfer == "sdr":
            return cast(Frame, scaled)
        return tone_map(cast(npt.NDArray[np.uint16], scaled), transfer)


def dynamic_range(frame: av.VideoFrame) -> DynamicRange:
    """How a frame codes light, by its transfer characteristic."""
    if frame.color_trc == ColorTrc.ARIB_STD_B67:
        return "hlg"
    return "pq" if frame.color_trc == ColorTrc.SMPTE2084 else "sdr"


def stated_aspect(stream: av.VideoStream) -> Fraction:
    """Width of a pixel by its height, of the container if it says so, else of the codec."""
    found = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(found) if found and found > 0 else Fraction(1)


def plausible_aspect(aspect: Fraction, frame: av.VideoFrame) -> Fraction | None:
    """Width of a pixel by its height; None where what the file says cannot be true."""
    ratio = frame.width * aspect / frame.height
    is_strip = not 1 / MAX_ASPECT_RATIO <= ratio <= MAX_ASPECT_RATIO
    if not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT or (is_strip and aspect != 1):
        return None
    return aspect


def fitted_size(width: int, height: int, *, room: tuple[int, int]) -> tuple[int, int]:
    """The largest size of a picture's shape within ``room``; all of it but for rounding [px]."""
    scale = min(room[0] / width, room[1] / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    # A shape that differs by less than two pixels is the same, rounded.
    return room if all(abs(a - b) <= 2 for a, b in zip(inner, room, strict=True)) else inner


def _framed(image: Frame, width: int, height: int) -> Frame:
    """An (H, W, 3) array in the middle of a black one."""
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


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
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # Side data of a kind that PyAV does not know hides all the others; the angle is left.
        return _turned_by(frame.rotation)
    if data is None:
        return None
    # Nine int32: a b u, c d v, x y w; a to d are 16.16 fixed point.
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(cast(Any, data))[:36])
    if (a, b, c, d) == (65536, 0, 0, 65536):
        return None
    scale = max(abs(a), abs(b), abs(c), abs(d))
    turned = min(abs(a), abs(b)) > scale * math.sin(math.radians(10))
    return None if turned or scale == 0 else (a, b, c, d)


def _turned_by(degrees: int) -> DisplayMatrix | None:
    """The matrix of a rotation counterclockwise, as far as it is one by 90°, 180° or 270°."""
    one = 65536
    turns = {90: (0, -one, one, 0), 180: (-one, 0, 0, -one), 270: (0, one, -one, 0)}
    return turns.get(degrees % 360)
