"""Pictures for pages: frames side by side as one JPEG, and a JPEG as text that a page holds."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt

JPEG_QUALITY = 72
GAP = 2  # between frames [px]
PAPER = 128  # a grey that is seen on light and on dark pages


def strip(frames: npt.NDArray[np.uint8], *, height: int) -> bytes:
    """A JPEG of ``frames``, uint8 (K, H, W, 3), in a row from left to right, ``height`` px high.

    Raises:
        ValueError: there are no frames, or they are not RGB.
    """
    from PIL import Image

    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"found an array of {frames.shape}, expected frames (K, H, W, 3)")
    num_frames, source_height, source_width, _ = frames.shape
    width = max(1, round(source_width * height / source_height))
    total = num_frames * (width + GAP) - GAP
    sheet = Image.new("RGB", (total, height), (PAPER, PAPER, PAPER))
    for index, frame in enumerate(frames):
        picture = Image.fromarray(np.ascontiguousarray(frame)).resize(
            (width, height), Image.Resampling.BOX if source_height > height else None
        )
        sheet.paste(picture, (index * (width + GAP), 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def data_uri(jpeg: bytes) -> str:
    """A JPEG as the address that holds it: ``data:image/jpeg;base64,…``."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
