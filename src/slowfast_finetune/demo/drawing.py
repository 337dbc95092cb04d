"""Draw a figure with Pillow: rounded limbs with an outline, what is far first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from slowfast_finetune.demo.casting import Colour, Person, darker
from slowfast_finetune.demo.shot import Camera, Pixel
from slowfast_finetune.demo.skeleton import Floats, Joint, unit

# Widths and radii are in body heights.
OUTLINE = 0.009
HEAD, TORSO, ARM, LEG = 0.088, 0.056, 0.028, 0.040  # radii of a usual build
FAR = 0.84  # the brightness of the limbs behind the body
ARM_BEHIND = -0.03  # nearness to the torso below which an arm is hidden by it
LEGS_AHEAD = 0.10  # nearness of the knees to the pelvis above which legs hide the torso
INK = (34, 26, 30)

# Spots of a head, in head radii to the left, up and ahead of its middle.
_HAIR, _FACE, _NOSE = [(0.0, 0.06, -0.06)], [(0.0, -0.16, 0.2)], [(0.0, -0.17, 1.0)]
_EYES = [(0.38, 0.1, 0.9), (-0.38, 0.1, 0.9)]
_SMILE = [(-0.34, -0.42, 0.8), (-0.14, -0.54, 0.8), (0.14, -0.54, 0.8), (0.34, -0.42, 0.8)]

_SIDES = (Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER)
_HIP, _KNEE, _ANKLE, _TOE = 3, 4, 5, 6  # rows after the shoulder


@dataclass(frozen=True)
class Brush:
    """Draws discs and bars with radii in body heights, outlined in a darker shade."""

    draw: ImageDraw.ImageDraw
    unit: float  # pixels of a body height

    def limb(self, points: Sequence[Pixel], radii: Sequence[float], colour: Colour) -> None:
        """Discs at the points, joined by bars that run from one radius to the next."""
        self.plain(points, [radius + OUTLINE for radius in radii], darker(colour, 0.45))
        self.plain(points, radii, colour)

    def plain(self, points: Sequence[Pixel], radii: Sequence[float], colour: Colour) -> None:
        """A limb without an outline."""
        sizes = [radius * self.unit for radius in radii]
        for (x, y), size in zip(points, sizes, strict=True):
            self.draw.ellipse((x - size, y - size, x + size, y + size), fill=colour)
        for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
            length = math.hypot(x1 - x0, y1 - y0)
            if length >= 1:  # otherwise seen end on: the discs cover it
                across, down = (y0 - y1) / length, (x1 - x0) / length
                first, last = sizes[i], sizes[i + 1]
                bar = [
                    (x0 + first * across, y0 + first * down),
                    (x1 + last * across, y1 + last * down),
                    (x1 - last * across, y1 - last * down),
                    (x0 - first * across, y0 - first * down),
                ]
                self.draw.polygon(bar, fill=colour)

    def shadow(self, soles: Sequence[Pixel]) -> None:
        """A shadow on the floor around two feet."""
        (left, y), (right, other_y) = sorted(soles)
        wide, high = 0.13 * self.unit, 0.03 * self.unit
        box = (left - wide, min(y, other_y) - high, right + wide, max(y, other_y) + high)
        self.draw.ellipse(box, fill=(0, 0, 0, 60))

    def hull(self, points: Sequence[Pixel], radius: float, colour: Colour) -> None:
        """A polygon with rounded corners, the radius larger than its points on every side."""
        around = [*points, points[0]]
        for extra, ink in ((OUTLINE, darker(colour, 0.45)), (0.0, colour)):
            self.plain(around, [radius + extra] * len(around), ink)
            self.draw.polygon(points, fill=ink)


def draw_figure(
    picture: Image.Image, joints: Floats, *, person: Person, camera: Camera, origin: Pixel
) -> None:
    """Draw a figure, given as its joints in the world (17, 3), and its shadow on a picture."""
    at, nearness = camera.project(joints, origin=origin)
    brush = Brush(ImageDraw.Draw(picture, "RGBA"), camera.pixels_per_height)
    far_first = sorted(_SIDES, key=lambda side: float(nearness[side + _HIP]))
    behind = [s for s in _SIDES if nearness[s] - nearness[Joint.NECK] < ARM_BEHIND]
    knees = nearness[[side + _KNEE for side in _SIDES]].mean()

    soles = joints[[side + _ANKLE for side in _SIDES]] * (1.0, 0.0, 1.0)
    brush.shadow(camera.project(soles, origin=origin)[0])
    for side in behind:
        _draw_arm(brush, at[side : side + _HIP], person=person, light=FAR)
    if knees - nearness[Joint.PELVIS] > LEGS_AHEAD:
        _draw_torso(brush, at, person=person)
        _draw_legs(brush, at, far_first, person=person)
    else:
        _draw_legs(brush, at, far_first, person=person)
        _draw_torso(brush, at, person=person)
    _draw_head(brush, joints, person=person, camera=camera, origin=origin)
    for side in far_first:
        if side not in behind:
            _draw_arm(brush, at[side : side + _HIP], person=person, light=1.0)


def _draw_arm(brush: Brush, arm: Sequence[Pixel], *, person: Person, light: float) -> None:
    radius = ARM * person.build
    brush.limb(arm, [radius, radius, 1.1 * radius], darker(person.skin, light))
    sleeve = arm if person.long_sleeves else arm[:2]
    brush.limb(sleeve, [1.3 * radius] * len(sleeve), darker(person.shirt, light))
    brush.limb(arm[2:], [1.2 * radius], darker(person.skin, light))


def _draw_legs(
    brush: Brush, at: Sequence[Pixel], far_first: Sequence[int], *, person: Person
) -> None:
    radius = LEG * person.build
    brush.limb([at[s + _HIP] for s in far_first], [1.2 * radius] * 2, darker(person.trousers, FAR))
    for side, light in zip(far_first, (FAR, 1.0), strict=True):
        *leg, toe = at[side + _HIP : side + _TOE + 1]
        brush.limb(leg, [radius, radius, 0.72 * radius], darker(person.skin, light))
        trousers = leg if person.long_trousers else leg[:2]
        radii = [1.2 * radius, 1.1 * radius, 0.85 * radius][: len(trousers)]
        brush.limb(trousers, radii, darker(person.trousers, light))
        brush.limb([leg[2], toe], [0.85 * radius, 0.62 * radius], darker(person.shoes, light))


def _draw_torso(brush: Brush, at: Sequence[Pixel], *, person: Person) -> None:
    neck, pelvis = at[Joint.NECK], at[Joint.PELVIS]
    brush.limb([neck, at[Joint.HEAD]], [1.1 * ARM * person.build] * 2, person.skin)
    shoulders = [_between(neck, at[side], 0.72) for side in _SIDES]
    rise = 0.16 * (neck[0] - pelvis[0]), 0.16 * (neck[1] - pelvis[1])
    hips = [_between(pelvis, at[side + _HIP], 0.85) for side in reversed(_SIDES)]
    waists = [(x + rise[0], y + rise[1]) for x, y in hips]
    brush.hull([*shoulders, *waists], TORSO * person.build, person.shirt)


def _draw_head(
    brush: Brush, joints: Floats, *, person: Person, camera: Camera, origin: Pixel
) -> None:
    """Draw hair and face of a head that looks where the figure faces."""
    up = unit(joints[Joint.HEAD] - joints[Joint.NECK])
    left = joints[Joint.LEFT_SHOULDER] - joints[Joint.RIGHT_SHOULDER]
    left = unit(left - (left @ up) * up)
    axes = HEAD * np.stack([left, up, np.cross(left, up)])
    spots = joints[Joint.HEAD] + np.concatenate([_HAIR, _FACE, _NOSE, _EYES, _SMILE]) @ axes
    (hair, face, nose, *features), nearness = camera.project(spots, origin=origin)
    # Only what is on the viewer's side of the head is seen.
    middle = camera.project(joints[[Joint.HEAD]], origin=origin)[1]
    is_seen = (nearness[3:] > middle + 0.1 * HEAD).tolist()
    eyes = [eye for eye, seen in zip(features[:2], is_seen[:2], strict=True) if seen]
    lips = [lip for lip, seen in zip(features[2:], is_seen[2:], strict=True) if seen]

    brush.limb([hair], [HEAD], person.hair)
    brush.plain([face], [0.84 * HEAD], person.skin)
    brush.plain([nose], [0.13 * HEAD], darker(person.skin, 0.88))
    for eye in eyes:
        brush.plain([eye], [0.13 * HEAD], INK)
    brush.plain(lips, [0.055 * HEAD] * len(lips), darker(person.skin, 0.45))


def _between(first: Pixel, second: Pixel, part: float) -> Pixel:
    (x0, y0), (x1, y1) = first, second
    return x0 + part * (x1 - x0), y0 + part * (y1 - y0)
