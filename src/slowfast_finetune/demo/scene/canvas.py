"""What a backdrop is painted on, and how to fill it and place things on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from slowfast_finetune.demo.figure.casting import Colour

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Canvas:
    """What is being painted: `unit` pixels are one body height, `horizon` ends the floor."""

    picture: Image.Image
    draw: ImageDraw.ImageDraw
    unit: float
    horizon: float
    floor_y: float  # where the figure stands

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.picture.width

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.picture.height


def paint_gradient(canvas: Canvas, rows: tuple[float, float], top: Colour, bottom: Colour) -> None:
    """Fill the rows from one height to another with a gradient."""
    first, last = max(round(rows[0]), 0), min(round(rows[1]), canvas.height)
    if first >= last:
        return
    ramp = np.linspace(top, bottom, last - first).round().astype(np.uint8)
    column = Image.fromarray(ramp[:, None, :])
    canvas.picture.paste(column.resize((canvas.width, last - first)), (0, first))


def places(canvas: Canvas, *, apart: float, rng: np.random.Generator) -> list[float]:
    """Places from left to right, about this many body heights apart."""
    step = apart * canvas.unit
    starts = np.arange(-rng.random() * step, canvas.width + step, step)
    return [float(x + rng.uniform(-0.25, 0.25) * step) for x in starts]


def around(centre: tuple[float, float], radius: float) -> Box:
    """The box of a circle."""
    return centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius
