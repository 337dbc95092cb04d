"""Heads: hair, face, hat and beard, turned with the figure."""

from __future__ import annotations

import math

from slowfast_finetune.demo.figure.casting import Look, shade
from slowfast_finetune.demo.figure.shapes import Brush, Point
from slowfast_finetune.demo.scene.camera import Floats

INK = (34, 26, 30)


def draw_hair_behind(brush: Brush, centre: Point, axes: Floats, *, look: Look) -> None:
    """The hair that the shoulders hide."""
    head = _Head(brush, centre, axes, look)
    if look.hair == "long":
        strand = [head.at(0, 0, -0.2), head.at(0, -1.25, -0.35)]
        head.chain(strand, [0.95, 0.8], head.hair)
    elif look.hair == "ponytail":
        tail = [head.at(0, 0.5, -0.9), head.at(0, -0.3, -1.55), head.at(0, -1.1, -1.5)]
        head.chain(tail, [0.3, 0.34, 0.12], head.hair)


def draw_head(brush: Brush, centre: Point, axes: Floats, *, look: Look) -> None:
    """The head itself; axes are rows left, up and ahead as right, down and nearness."""
    head = _Head(brush, centre, axes, look)
    _draw_skull(head)
    _draw_face(head)
    if look.hair == "cap":
        _draw_cap(head)


class _Head:
    """Places points of a head, given in head radii, on the picture."""

    def __init__(self, brush: Brush, centre: Point, axes: Floats, look: Look) -> None:
        self.brush, self.centre, self.look = brush, centre, look
        self.axes = [[float(part) for part in row] for row in axes]
        self.radius = look.head_radius
        self.hair = look.hair_colour

    def at(self, left: float, up: float, ahead: float) -> Point:
        """Pixel of a point of the head."""
        size = self.radius * self.brush.pixels_per_height
        sides, ups, aheads = self.axes
        right = left * sides[0] + up * ups[0] + ahead * aheads[0]
        down = left * sides[1] + up * ups[1] + ahead * aheads[1]
        return self.centre[0] + size * right, self.centre[1] + size * down

    def nearness(self, left: float, up: float, ahead: float) -> float:
        """How far a point is before the middle of the head."""
        sides, ups, aheads = self.axes
        return left * sides[2] + up * ups[2] + ahead * aheads[2]

    def chain(
        self,
        points: list[Point],
        radii: list[float],
        colour: tuple[int, int, int],
        *,
        outlined: bool = True,
    ) -> None:
        """`Brush.chain` with radii in head radii."""
        scaled = [radius * self.radius for radius in radii]
        self.brush.chain(points, scaled, colour, outlined=outlined)


def _draw_skull(head: _Head) -> None:
    look = head.look
    if look.hair == "bun":
        head.chain([head.at(0, 1.05, -0.45)], [0.42], head.hair)
    if look.hair == "curly":
        for turn in range(-3, 4):
            angle = 0.55 * turn
            curl = head.at(0.85 * math.sin(angle), 0.35 + 0.7 * math.cos(angle), -0.2)
            head.chain([curl], [0.42], head.hair)
    colour = look.skin if look.hair == "bald" else head.hair
    head.chain([head.at(0, 0.06, -0.06)], [1.0], colour)
    for side in (-1, 1):
        if head.nearness(side, 0, 0) > -0.35:
            head.chain([head.at(side * 0.95, -0.12, -0.05)], [0.16], look.skin)


def _draw_face(head: _Head) -> None:
    look = head.look
    head.chain([head.at(0, -0.16, 0.2)], [0.84], look.skin, outlined=False)
    if look.bearded:
        jaw = [(-0.52, -0.5), (-0.25, -0.72), (0.25, -0.72), (0.52, -0.5)]
        beard = [head.at(left, up, 0.5) for left, up in jaw]
        head.chain(beard, [0.22, 0.3, 0.3, 0.22], head.hair, outlined=False)
    nose = shade(look.skin, 0.88)
    head.chain(
        [head.at(0, -0.12, 0.95), head.at(0, -0.2, 1.02)], [0.09, 0.13], nose, outlined=False
    )
    for side in (-0.38, 0.38):
        if head.nearness(side, 0.1, 0.92) > 0.12:
            head.chain([head.at(side, 0.1, 0.9)], [0.125], INK, outlined=False)
    smile = [(-0.36, -0.42), (-0.15, -0.54), (0.15, -0.54), (0.36, -0.42)]
    visible = [head.at(left, up, 0.78) for left, up in smile if head.nearness(left, up, 0.78) > 0.1]
    if len(visible) > 1:
        lips = look.skin if look.bearded else shade(look.skin, 0.42)
        head.chain(visible, [0.055] * len(visible), lips, outlined=False)


def _draw_cap(head: _Head) -> None:
    colour = head.look.trim
    arc = [math.pi * step / 12 for step in range(13)]
    dome = [head.at(1.08 * math.cos(a), 0.32 + 0.88 * math.sin(a), 0.0) for a in arc]
    front = [head.at(0.0, 0.32 + 0.88 * math.sin(a), 1.08 * math.cos(a)) for a in arc]
    head.brush.polygon(dome, colour)
    head.brush.polygon(front, colour)
    brim = [head.at(0.85 * math.sin(a - 1.57), 0.36, 0.75 + 0.85 * math.cos(a - 1.57)) for a in arc]
    head.brush.polygon(brim, shade(colour, 0.6))
