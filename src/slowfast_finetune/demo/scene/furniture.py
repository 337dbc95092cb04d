"""The chair, made of boxes that fit the person who sits down on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from slowfast_finetune.demo.figure.casting import Colour, Look, hsv, shade
from slowfast_finetune.demo.figure.performance import Performance
from slowfast_finetune.demo.figure.skeleton import Body
from slowfast_finetune.demo.randomness import chance, choose
from slowfast_finetune.demo.scene.camera import Camera, Floats, face

Style = Literal["panel", "slats", "armchair", "stool"]
Box = tuple[float, float, float, float, float, float]  # x, y, z of two opposite corners

STYLES: tuple[Style, ...] = ("panel", "slats", "slats", "armchair", "stool")
WOOD: tuple[Colour, ...] = ((176, 120, 68), (122, 76, 44), (214, 172, 116), (88, 60, 48))


@dataclass(frozen=True)
class Chair:
    """A chair that faces z, the floor under the sitter's feet at the origin."""

    boxes: tuple[Box, ...]
    colour: Colour


@dataclass(frozen=True)
class Spot:
    """Where something stands in the world and how far it turns away from the viewer."""

    yaw_radians: float
    place: tuple[float, float, float]


def build_chair(body: Body, look: Look, *, rng: np.random.Generator) -> Chair:
    """A random chair whose seat is under the thighs of a sitting person."""
    style = choose(STYLES, rng=rng)
    painted = hsv(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.5, 0.95))
    colour = choose((*WOOD, painted, painted), rng=rng)
    seat = body.ankle_height + body.shin - 1.2 * look.leg_radius
    back = -body.thigh - look.torso_radius - 0.035
    half = body.half_hips + rng.uniform(0.065, 0.10)
    top = seat + rng.uniform(0.24, 0.36)
    return Chair(_boxes(style, seat=seat, back=back, half=half, top=top), colour)


def place_chair(performance: Performance, *, rng: np.random.Generator) -> Spot | None:
    """Where a chair stands, if there is one: seats need it, the other actions may have it."""
    yaw = performance.yaw_radians
    if performance.class_name in ("sitting_down", "standing_up"):
        return Spot(yaw, (0.0, 0.0, 0.0))
    if not chance(0.5, rng=rng):
        return None
    if performance.class_name == "squatting" and chance(0.7, rng=rng):
        behind = face(np.array((0.0, 0.0, -rng.uniform(0.1, 0.25))), yaw_radians=yaw)
        return Spot(yaw, (float(behind[0]), 0.0, float(behind[2])))
    aside = choose((-1, 1), rng=rng) * rng.uniform(0.2, 0.55)
    return Spot(rng.uniform(-1.4, 1.4), (aside, 0.0, -rng.uniform(0.25, 0.5)))


def draw_chair(
    picture: Image.Image,
    chair: Chair,
    *,
    camera: Camera,
    origin: tuple[float, float],
    spot: Spot,
) -> None:
    """Draw the chair at its spot onto a picture with the world's origin at a pixel."""
    draw = ImageDraw.Draw(picture)
    faces: list[tuple[float, list[tuple[float, float]], Colour]] = []
    for box in chair.boxes:
        corners = face(_corners(box), yaw_radians=spot.yaw_radians) + spot.place
        points, nearness = camera.project(corners, origin=origin)
        for rows, light in _FACES:
            outline = [(float(x), float(y)) for x, y in points[list(rows)]]
            if _is_towards_viewer(outline):
                middle = float(nearness.mean())
                faces.append((middle, outline, shade(chair.colour, light)))
    for _, outline, colour in sorted(faces, key=lambda entry: entry[0]):
        draw.polygon(outline, fill=colour, outline=shade(chair.colour, 0.4))


def _boxes(style: Style, *, seat: float, back: float, half: float, top: float) -> tuple[Box, ...]:
    front, leg = -0.075, 0.028
    plank: Box = (-half, seat - 0.032, back, half, seat, front)
    if style == "armchair":
        return (
            (-half, 0.02, back, half, seat, front),
            (-half, 0.02, back - 0.06, half, top, back),
        )
    legs: tuple[Box, ...] = tuple(
        (x, 0.0, z, x + leg, seat - 0.03, z + leg)
        for x in (-half, half - leg)
        for z in (back, front - leg)
    )
    if style == "stool":
        return (*legs, plank)
    posts: tuple[Box, ...] = tuple(
        (x, seat, back, x + leg, top, back + leg) for x in (-half, half - leg)
    )
    if style == "panel":
        rest: tuple[Box, ...] = ((-half, seat + 0.09, back, half, top, back + 0.02),)
    else:
        heights = (seat + 0.08, (seat + top) / 2 + 0.02, top - 0.05)
        rest = tuple((-half, y, back, half, y + 0.04, back + 0.02) for y in heights)
    return (*legs, plank, *posts, *rest)


# Rows of `_corners` around each face as seen from outside, and how much light it gets.
_FACES: tuple[tuple[tuple[int, int, int, int], float], ...] = (
    ((2, 3, 7, 6), 1.12),  # top
    ((1, 5, 7, 3), 0.9),  # front
    ((0, 2, 6, 4), 0.74),  # back
    ((0, 1, 3, 2), 0.78),  # right of the sitter
    ((4, 6, 7, 5), 0.78),  # left of the sitter
)


def _corners(box: Box) -> Floats:
    x0, y0, z0, x1, y1, z1 = box
    return np.array([(x, y, z) for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)])


def _is_towards_viewer(points: list[tuple[float, float]]) -> bool:
    """Whether the points go counterclockwise on the picture (y points down)."""
    area = 0.0
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        area += x0 * y1 - x1 * y0
    return area < 0 and math.isfinite(area)
