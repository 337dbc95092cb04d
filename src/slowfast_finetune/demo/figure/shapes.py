"""Rounded, outlined shapes: the only strokes that figures are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw

from slowfast_finetune.demo.figure.casting import Colour, shade

Point = tuple[float, float]  # pixels, x right and y down

OUTLINE = 0.009  # body heights
OUTLINE_SHADE = 0.45


@dataclass(frozen=True)
class Brush:
    """Draws with radii in body heights; every shape gets an outline in its own darker shade."""

    draw: ImageDraw.ImageDraw
    pixels_per_height: float

    def chain(
        self,
        points: Sequence[Point],
        radii: Sequence[float],
        colour: Colour,
        *,
        outlined: bool = True,
    ) -> None:
        """Discs at the points, joined by bars that run from one radius to the next."""
        if outlined:
            wider = [radius + OUTLINE for radius in radii]
            self._chain(points, wider, shade(colour, OUTLINE_SHADE))
        self._chain(points, radii, colour)

    def hull(self, points: Sequence[Point], radius: float, colour: Colour) -> None:
        """A polygon with rounded corners, the radius larger than its points on every side."""
        around = [*points, points[0]]
        for extra, ink in ((OUTLINE, shade(colour, OUTLINE_SHADE)), (0.0, colour)):
            self._chain(around, [radius + extra] * len(around), ink)
            if len(points) > 2:
                self.draw.polygon(points, fill=ink)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A polygon with sharp corners and no outline."""
        self.draw.polygon(points, fill=colour)

    def _chain(self, points: Sequence[Point], radii: Sequence[float], ink: Colour) -> None:
        sizes = [radius * self.pixels_per_height for radius in radii]
        for (x, y), size in zip(points, sizes, strict=True):
            self.draw.ellipse((x - size, y - size, x + size, y + size), fill=ink)
        for index in range(len(points) - 1):
            self._bar(points[index], points[index + 1], *sizes[index : index + 2], ink=ink)

    def _bar(self, start: Point, end: Point, first: float, last: float, *, ink: Colour) -> None:
        x, y = end[0] - start[0], end[1] - start[1]
        length = math.hypot(x, y)
        if length < 1:  # seen end on: the discs cover it
            return
        across, down = -y / length, x / length
        corners = [
            (start[0] + first * across, start[1] + first * down),
            (end[0] + last * across, end[1] + last * down),
            (end[0] - last * across, end[1] - last * down),
            (start[0] - first * across, start[1] - first * down),
        ]
        self.draw.polygon(corners, fill=ink)
