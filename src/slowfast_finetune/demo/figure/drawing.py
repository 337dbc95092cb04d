"""Draw a figure, given as points on the picture, with Pillow.

Pictures are drawn `SUPERSAMPLING` times too large and then reduced, which smooths the edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from slowfast_finetune.demo.figure.casting import Look, shade
from slowfast_finetune.demo.figure.heads import draw_hair_behind, draw_head
from slowfast_finetune.demo.figure.shapes import Brush, Point
from slowfast_finetune.demo.figure.skeleton import Joint
from slowfast_finetune.demo.scene.camera import Floats

SUPERSAMPLING = 3
FAR = 0.84  # the shade of the limbs behind the body
BEHIND = -0.03  # body heights behind the torso at which an arm is hidden by it
SHADOW = 70  # of 255, how much the figure darkens the floor
AHEAD = 0.10  # body heights before the pelvis at which legs hide the torso

_SIDES = (Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER)
_ELBOW, _WRIST, _HIP, _KNEE, _ANKLE, _TOE = 1, 2, 3, 4, 5, 6  # rows after the shoulder


@dataclass(frozen=True)
class Figure:
    """A posed figure on a picture.

    points: float64 (17, 2) pixels, x right and y down; nearness: float64 (17,) body heights,
    larger is nearer to the viewer; head_axes: float64 (3, 3), rows left, up and ahead of the
    head, columns right and down on the picture and nearness; soles: float64 (2, 2) pixels on
    the floor below the ankles; pixels_per_height: how large the figure is.
    """

    points: Floats
    nearness: Floats
    head_axes: Floats
    soles: Floats
    pixels_per_height: float

    def at(self, joint: int) -> Point:
        """Pixel of a joint."""
        return float(self.points[joint, 0]), float(self.points[joint, 1])


def draw_frame(picture: Image.Image, figure: Figure, *, look: Look) -> NDArray[np.uint8]:
    """Draw the figure onto a large picture of the scene: uint8 (H, W, 3) of the final size."""
    _draw_shadow(picture, figure)
    draw_figure(picture, figure, look=look)
    return np.asarray(picture.reduce(SUPERSAMPLING))


def draw_figure(picture: Image.Image, figure: Figure, *, look: Look) -> None:
    """Draw the figure onto the picture, what is far first."""
    brush = Brush(ImageDraw.Draw(picture), pixels_per_height=figure.pixels_per_height)
    near_last = sorted(_SIDES, key=lambda side: figure.nearness[side + _HIP])
    arms_behind = [side for side in _SIDES if _is_behind(figure, side)]
    draw_hair_behind(brush, figure.at(Joint.HEAD), figure.head_axes, look=look)
    for side in arms_behind:
        _draw_arm(brush, figure, side, look=look, light=FAR)
    if _legs_are_ahead(figure):
        _draw_torso(brush, figure, look=look)
        _draw_legs(brush, figure, near_last, look=look)
    else:
        _draw_legs(brush, figure, near_last, look=look)
        _draw_torso(brush, figure, look=look)
    draw_head(brush, figure.at(Joint.HEAD), figure.head_axes, look=look)
    for side in near_last:
        if side not in arms_behind:
            _draw_arm(brush, figure, side, look=look, light=1.0)


def _draw_shadow(picture: Image.Image, figure: Figure) -> None:
    (left, y), (right, other_y) = figure.soles.tolist()
    wide = abs(right - left) / 2 + 0.13 * figure.pixels_per_height
    high = abs(other_y - y) / 2 + 0.03 * figure.pixels_per_height
    mask = Image.new("L", (round(2 * wide), round(2 * high)))
    ImageDraw.Draw(mask).ellipse((0, 0, mask.width - 1, mask.height - 1), fill=SHADOW)
    corner = (round((left + right) / 2 - wide), round((y + other_y) / 2 - high))
    picture.paste((0, 0, 0), corner, mask)


def _is_behind(figure: Figure, side: int) -> bool:
    return bool(figure.nearness[side] - figure.nearness[Joint.NECK] < BEHIND)


def _legs_are_ahead(figure: Figure) -> bool:
    knees = figure.nearness[[side + _KNEE for side in _SIDES]]
    return bool(knees.mean() - figure.nearness[Joint.PELVIS] > AHEAD)


def _draw_arm(brush: Brush, figure: Figure, side: int, *, look: Look, light: float) -> None:
    shoulder, elbow, wrist = (figure.at(side + step) for step in (0, _ELBOW, _WRIST))
    radius = look.arm_radius
    skin, sleeve = shade(look.skin, light), shade(look.shirt, light)
    brush.chain([shoulder, elbow, wrist], [radius, radius * 0.95, radius * 0.85], skin)
    hand = _between(elbow, wrist, 1.12)
    brush.chain([hand], [radius * 1.2], skin)
    if look.sleeves == "long":
        brush.chain([shoulder, elbow, wrist], [radius * 1.2, radius * 1.1, radius], sleeve)
    elif look.sleeves == "short":
        hem = _between(shoulder, elbow, 0.62)
        brush.chain([shoulder, hem], [radius * 1.3, radius * 1.25], sleeve)


def _draw_legs(brush: Brush, figure: Figure, sides: Sequence[int], *, look: Look) -> None:
    hips = [figure.at(side + _HIP) for side in sides]
    brush.hull(hips, look.leg_radius * 1.2, shade(look.legwear_colour, FAR))
    for side, light in zip(sides, (FAR, 1.0), strict=True):
        _draw_leg(brush, figure, side, look=look, light=light)
    if look.legwear == "skirt":
        hems = [_between(figure.at(s + _HIP), figure.at(s + _KNEE), 0.72) for s in sides]
        brush.hull([*hips, *reversed(hems)], look.leg_radius * 1.35, look.legwear_colour)


def _draw_leg(brush: Brush, figure: Figure, side: int, *, look: Look, light: float) -> None:
    hip, knee, ankle, toe = (figure.at(side + step) for step in (_HIP, _KNEE, _ANKLE, _TOE))
    radius = look.leg_radius
    cloth = shade(look.legwear_colour, light)
    heel = _between(ankle, toe, -0.12)
    leg_colour = cloth if look.legwear == "trousers" else shade(look.skin, light)
    brush.chain([hip, knee, ankle], [radius * 1.2, radius, radius * 0.72], leg_colour)
    brush.chain([heel, toe], [radius * 0.85, radius * 0.62], shade(look.shoes, light))
    if look.legwear == "shorts":
        hem = _between(hip, knee, 0.7)
        brush.chain([hip, hem], [radius * 1.3, radius * 1.2], cloth)


def _draw_torso(brush: Brush, figure: Figure, *, look: Look) -> None:
    neck, pelvis = figure.at(Joint.NECK), figure.at(Joint.PELVIS)
    brush.chain([neck, figure.at(Joint.HEAD)], [look.arm_radius * 1.1] * 2, look.skin)
    shoulders = [_between(neck, figure.at(side), 0.72) for side in _SIDES]
    waist = _between(pelvis, neck, 0.16)
    waists = [
        _between(waist, _shifted(waist, pelvis, figure.at(side + _HIP)), 0.85)
        for side in reversed(_SIDES)
    ]
    brush.hull([*shoulders, *waists], look.torso_radius, look.shirt)
    for stripe in range(look.stripes):
        _draw_stripe(brush, shoulders, waists, 0.3 + 0.28 * stripe, look=look)


def _draw_stripe(
    brush: Brush, shoulders: list[Point], waists: list[Point], down: float, *, look: Look
) -> None:
    left = _between(shoulders[0], waists[1], down)
    right = _between(shoulders[1], waists[0], down)
    spine = np.subtract(waists[0], shoulders[1]) + np.subtract(waists[1], shoulders[0])
    across = np.array((spine[1], -spine[0])) / np.linalg.norm(spine)
    if across @ np.subtract(left, right) < 0:
        across = -across
    reach = 0.9 * look.torso_radius * brush.pixels_per_height * across
    ends = [tuple(np.add(left, reach)), tuple(np.subtract(right, reach))]
    brush.chain(ends, [0.013, 0.013], look.trim, outlined=False)


def _between(first: Point, second: Point, part: float) -> Point:
    return (
        first[0] + part * (second[0] - first[0]),
        first[1] + part * (second[1] - first[1]),
    )


def _shifted(point: Point, start: Point, end: Point) -> Point:
    return point[0] + end[0] - start[0], point[1] + end[1] - start[1]
