"""Contact sheets of stored videos as small JPEGs, as many and as good as a budget allows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]

GAP = 2  # between the pictures of a sheet [px]


@dataclass(frozen=True)
class SheetPlan:
    """How a contact sheet is made.

    Attributes:
        num_frames: pictures, evenly spread over the video.
        columns: pictures beside each other.
        height: of each picture at most, and its width is at most twice that [px].
        quality: of the JPEG, 1 to 95.
    """

    num_frames: int
    columns: int
    height: int
    quality: int


# From the best to the smallest; a set of videos gets the first one that fits its budget.
PLANS = (
    SheetPlan(8, 4, 96, 75),
    SheetPlan(8, 4, 84, 62),
    SheetPlan(8, 4, 72, 50),
    SheetPlan(6, 3, 72, 42),
    SheetPlan(4, 4, 64, 40),
    SheetPlan(4, 4, 48, 32),
    SheetPlan(3, 3, 40, 25),
)
SAMPLE = 24  # sheets made to estimate what all of them would take


@dataclass(frozen=True)
class Sheets:
    """Contact sheets as JPEG bytes by key; ``num_left_out`` did not fit."""

    images: Mapping[str, bytes]
    num_left_out: int


def data_uri_bytes(jpeg: bytes) -> int:
    """How long the address of a JPEG as text is."""
    return len("data:image/jpeg;base64,") + 4 * ((len(jpeg) + 2) // 3)


def spread(num_frames: int, count: int) -> list[int]:
    """``count`` frame numbers spread evenly over ``num_frames``, first and last included."""
    numbers: list[int] = np.linspace(0, num_frames - 1, count).round().astype(int).tolist()
    return numbers


def contact_sheet(pictures: Frames, plan: SheetPlan) -> bytes:
    """``plan.num_frames`` pictures, uint8 (N, H, W, 3), as one JPEG, row by row."""
    return tiled_jpeg(pictures, columns=plan.columns, height=plan.height, quality=plan.quality)


def tiled_jpeg(pictures: Frames, *, columns: int, height: int, quality: int) -> bytes:
    """Pictures (N, H, W, 3) beside and below each other as one JPEG, scaled to fit ``height``."""
    from PIL import Image

    source_height, source_width = pictures.shape[1:3]
    scale = min(height / source_height, 2 * height / source_width)
    size = max(1, round(source_width * scale)), max(1, round(source_height * scale))
    rows = -(-len(pictures) // columns)
    step = size[0] + GAP, size[1] + GAP
    sheet = Image.new("RGB", (columns * step[0] - GAP, rows * step[1] - GAP), (128, 128, 128))
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        scaled = Image.fromarray(np.ascontiguousarray(picture)).resize(
            size, Image.Resampling.BILINEAR, reducing_gap=2
        )
        sheet.paste(scaled, (column * step[0], row * step[1]))
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=quality, optimize=True)
    return data.getvalue()


def make_sheets(
    keys: Sequence[str], read_frames: Callable[[str, int], Frames], *, budget: int
) -> Sheets:
    """Contact sheets whose addresses together take no more than ``budget`` bytes.

    The best plan that fits is taken for all. If not even the smallest fits, ``keys`` are served in
    their order until the budget is used.

    Args:
        keys: videos, the most important first.
        read_frames: gives a number of frames, uint8 (N, H, W, 3), spread over a video.
    """
    first = _first_plan(keys, read_frames, budget=budget)
    for plan in PLANS[first:]:
        images: dict[str, bytes] = {}
        used = 0
        for key in keys:
            image = contact_sheet(read_frames(key, plan.num_frames), plan)
            used += data_uri_bytes(image)
            if used > budget:
                break
            images[key] = image
        else:
            return Sheets(images, 0)
    return Sheets(images, len(keys) - len(images)) if keys else Sheets({}, 0)


def _first_plan(
    keys: Sequence[str], read_frames: Callable[[str, int], Frames], *, budget: int
) -> int:
    """The best plan that a sample of the videos promises to fit, by its position in PLANS."""
    sample = [keys[index] for index in sorted(set(spread(len(keys), SAMPLE)))] if keys else []
    for position, plan in enumerate(PLANS[:-1]):
        used = sum(
            data_uri_bytes(contact_sheet(read_frames(key, plan.num_frames), plan)) for key in sample
        )
        if used * len(keys) <= budget * len(sample):
            return position
    return len(PLANS) - 1
