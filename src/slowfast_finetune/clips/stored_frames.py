"""The frames of one entry of the clip store, raw or as JPEGs, read in place."""

from __future__ import annotations

import json
import math
import mmap
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

HEADER_BYTES = 4096
SPAN_BYTES = 16  # of each JPEG: where it begins, and its length
# Half the resolution for colour: what JPEG and video codecs use for camera pictures.
SUBSAMPLING = "420"
# One buffer a thread, however many entries it reads.
_MEMORY = threading.local()

Frames = npt.NDArray[np.uint8]
Spans = npt.NDArray[np.uint64]
Shape = tuple[int, int, int, int]


class RawFrames:
    """Frames stored as they are."""

    def __init__(self, frames: Frames) -> None:
        self.shape: Shape = frames.shape  # (F, H, W, 3), of F frames
        self._frames = frames

    @property
    def nbytes(self) -> int:
        """What the frames take in the store [bytes]."""
        return self._frames.nbytes

    def section(self, first: int, count: int) -> RawFrames:
        """``count`` frames from ``first`` on, counted from 0 anew.

        Raises:
            ValueError: there are not so many.
        """
        return RawFrames(self._frames[_checked(self.shape, first, count)])

    def __getitem__(self, index: int) -> Frames:
        """One frame, RGB uint8 (H, W, 3)."""
        frame: Frames = self._frames[index]
        return frame

    def copy_window(self, out: Frames, *, start: int, top: int, left: int) -> None:
        """Fill ``out``, uint8 (T, h, w, 3), with the box at (top, left) of T frames from start.

        Raises:
            ValueError: a frame cannot be decoded.
        """
        length, height, width, _ = out.shape
        box = self._frames[start : start + length, top : top + height, left : left + width]
        np.copyto(out, box)


class JpegFrames:
    """Frames stored as JPEGs, used as :class:`RawFrames`. Decoding releases the GIL.

    Args:
        data: a mapped entry.
        spans: uint64 (F, 2), where the JPEG of each frame begins after the header, and its length
            [bytes]. Frames that are equal share a span.
    """

    def __init__(self, data: mmap.mmap, spans: Spans, shape: Shape) -> None:
        self.shape = shape
        self._mapped = data
        self._data = memoryview(data)[HEADER_BYTES:]
        self._spans = spans

    @property
    def nbytes(self) -> int:
        # Of frames that share a JPEG, each counts.
        return int(self._spans[:, 1].sum())

    def section(self, first: int, count: int) -> JpegFrames:
        spans = self._spans[_checked(self.shape, first, count)]
        return JpegFrames(self._mapped, spans, (count, *self.shape[1:]))

    def __getitem__(self, index: int) -> Frames:
        return self._decode(self._spans[index]).copy()

    def copy_window(self, out: Frames, *, start: int, top: int, left: int) -> None:
        length, height, width, _ = out.shape
        spans = self._spans[start : start + length]
        for position, span in enumerate(spans):
            if position and (span == spans[position - 1]).all():
                out[position] = out[position - 1]
                continue
            frame = self._decode(span)
            np.copyto(out[position], frame[top : top + height, left : left + width])

    def _decode(self, span: Spans) -> Frames:
        """Decode a frame into a buffer of this thread, which the next call overwrites."""
        first, length = span.tolist()
        size = math.prod(self.shape[1:])
        if len(getattr(_MEMORY, "buffer", b"")) < size:
            _MEMORY.buffer = np.empty(size, np.uint8)
        found: Frames = simplejpeg.decode_jpeg(
            self._data[first : first + length], buffer=_MEMORY.buffer
        )
        if found.shape != self.shape[1:]:
            raise ValueError(f"a frame of {found.shape} in a clip of {self.shape[1:]}")
        return found


StoredFrames = RawFrames | JpegFrames


def _checked(shape: Shape, first: int, count: int) -> slice:
    if not 0 <= first <= first + count <= shape[0]:
        raise ValueError(f"holds {shape[0]} frames, not {count} from {first}")
    return slice(first, first + count)


def encode_jpeg(frame: Frames, *, quality: int) -> bytes:
    """RGB uint8 (H, W, 3) as a JPEG; the same bytes for the same frame.

    Args:
        quality: of the quantisation tables, 1 to 100.
    """
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(frame),
        quality=quality,
        colorspace="RGB",
        colorsubsampling=SUBSAMPLING,
        fastdct=False,
    )
    return data


def open_frames(path: Path) -> StoredFrames:
    """Map the frames of an entry, read-only, whatever they are stored as.

    Raises:
        OSError, ValueError: the file is missing, truncated or not an entry of the clip store.
    """
    # Not numpy.memmap: it opens, seeks and wraps in Python and takes three times as long.
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        header = read_header(data[:HEADER_BYTES])
        if "frames" in header:
            shape = header["frames"]["shape"]
            frames = np.frombuffer(data, np.uint8, count=int(np.prod(shape)), offset=HEADER_BYTES)
            return RawFrames(frames.reshape(shape))
        info = json.loads(header["__metadata__"]["info"])
        shape = (info["num_frames"], info["height"], info["width"], 3)
        first, end = header["spans"]["data_offsets"]
        spans = np.frombuffer(data, "<u8", count=(end - first) // 8, offset=HEADER_BYTES + first)
        return JpegFrames(data, spans.reshape(shape[0], 2), shape)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("the header is damaged") from error


def read_header(data: bytes) -> dict[str, Any]:
    """Parse the safetensors header at the start of an entry.

    Raises:
        ValueError, RecursionError: these bytes do not begin an entry.
    """
    if len(data) != HEADER_BYTES or struct.unpack_from("<Q", data) != (HEADER_BYTES - 8,):
        raise ValueError("not an entry of the clip store")
    header = json.loads(data[8:])
    if not isinstance(header, dict):
        raise ValueError("the header is damaged")
    return header
