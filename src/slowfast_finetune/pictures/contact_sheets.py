"""Contact sheets: frames of a video in one JPEG, as many and as good as a page has bytes for."""

import base64
import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]

GAP = 2  # between frames [px]
GREY = (128, 128, 128)  # of the gaps: visible on light and on dark pages


@dataclass(frozen=True)
class SheetPlan:
    """The form of a contact sheet."""

    num_frames: int  # evenly spaced over the video
    columns: int  # frames per row
    height: int  # maximum height of a frame; its width is at most twice that [px]
    quality: int  # of the JPEG, 1 to 95


class Sheet(NamedTuple):
    """A contact sheet as a page shows it."""

    uri: str  # data:image/jpeg;base64,…
    plan: SheetPlan


# From the largest to the smallest.
PLANS = (
    SheetPlan(8, 4, 96, 75),
    SheetPlan(8, 4, 84, 62),
    SheetPlan(8, 4, 72, 50),
    SheetPlan(6, 3, 72, 42),
    SheetPlan(4, 4, 64, 40),
    SheetPlan(4, 4, 48, 32),
    SheetPlan(3, 3, 40, 25),
)
SAMPLE = 24  # sheets made to estimate the size of all


def data_uri(jpeg: bytes) -> str:
    """Encode a JPEG as a data URI, ``data:image/jpeg;base64,…``."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def evenly_spaced(num_frames: int, count: int) -> list[int]:
    """Return ``count`` evenly spaced indices of ``num_frames`` frames, from first to last."""
    numbers: list[int] = np.linspace(0, num_frames - 1, count).round().astype(int).tolist()
    return numbers


def strip(frames: Frames, *, height: int) -> bytes:
    """Make a JPEG of frames (N, H, W, 3) in one row."""
    return tiled_jpeg(frames, columns=len(frames), height=height, quality=72)


def contact_sheet(frames: Frames, plan: SheetPlan) -> bytes:
    """Make a contact sheet of ``plan.num_frames`` frames, uint8 (N, H, W, 3)."""
    return tiled_jpeg(frames, columns=plan.columns, height=plan.height, quality=plan.quality)


def tiled_jpeg(frames: Frames, *, columns: int, height: int, quality: int) -> bytes:
    """Make a JPEG of frames (N, H, W, 3) in rows, each scaled to (2 * height, height) or less.

    Raises:
        ValueError: there are no frames, or they are not RGB.
    """
    from PIL import Image

    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"found an array of {frames.shape}, expected frames (N, H, W, 3)")
    source_height, source_width = frames.shape[1:3]
    scale = min(height / source_height, 2 * height / source_width)
    size = max(1, round(source_width * scale)), max(1, round(source_height * scale))
    rows = -(-len(frames) // columns)
    step = size[0] + GAP, size[1] + GAP
    sheet = Image.new("RGB", (columns * step[0] - GAP, rows * step[1] - GAP), GREY)
    for index, frame in enumerate(frames):
        row, column = divmod(index, columns)
        scaled = Image.fromarray(np.ascontiguousarray(frame)).resize(
            size, Image.Resampling.BILINEAR, reducing_gap=2
        )
        sheet.paste(scaled, (column * step[0], row * step[1]))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def make_sheets(
    keys: Sequence[str], read_frames: Callable[[str, int], Frames], *, max_bytes: int
) -> dict[str, Sheet]:
    """Make contact sheets whose data URIs take at most ``max_bytes`` together, by key.

    All are made by the largest plan that fits. If not even the smallest fits, the last keys get
    no sheet.

    Args:
        keys: videos, the most important first.
        read_frames: reads a number of evenly spaced frames (N, H, W, 3) of a video.
    """

    @functools.cache
    def make(key: str, plan: SheetPlan) -> str:
        return data_uri(contact_sheet(read_frames(key, plan.num_frames), plan))

    sheets: dict[str, Sheet] = {}
    for plan in PLANS[_first_plan(keys, make, max_bytes=max_bytes) :]:
        sheets, bytes_left = {}, max_bytes
        for key in keys:
            uri = make(key, plan)
            bytes_left -= len(uri)
            if bytes_left < 0:
                break
            sheets[key] = Sheet(uri, plan)
        else:
            break
    return sheets


def _first_plan(
    keys: Sequence[str], make: Callable[[str, SheetPlan], str], *, max_bytes: int
) -> int:
    """Return the position of the largest plan that fits, judged by a sample of the videos."""
    sample = [keys[i] for i in sorted(set(evenly_spaced(len(keys), SAMPLE)))] if keys else []
    for position, plan in enumerate(PLANS[:-1]):
        used = sum(len(make(key, plan)) for key in sample)
        if used * len(keys) <= max_bytes * len(sample):
            return position
    return len(PLANS) - 1
