"""Draw a figure and its surroundings with Pillow, as seen from far away and straight ahead."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from slowfast_finetune.demo.poses import Body, Floats, Joint

Colour = tuple[int, int, int]  # red, green, blue, each 0 to 255
Pixel = tuple[float, float]  # x to the right and y down

# Radii of a usual build, in body heights.
HEAD, TORSO, ARM, LEG = 0.088, 0.095, 0.033, 0.044
OUTLINE = 0.009
FAR = 0.84  # the brightness of the limbs on the far side of the body


@dataclass(frozen=True)
class Person:
    """A body and what it looks like, in every video of the person."""

    body: Body
    build: float  # 1 is usual; thin is less, stout is more
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour


def random_person(rng: np.random.Generator) -> Person:
    """A random person."""
    legs, arms = rng.uniform(0.92, 1.08, size=2)
    body = Body(
        thigh=0.235 * legs,
        shin=0.220 * legs,
        torso=rng.uniform(0.255, 0.290),
        upper_arm=0.165 * arms,
        forearm=0.150 * arms,
        half_shoulders=rng.uniform(0.090, 0.120),
        half_hips=rng.uniform(0.052, 0.070),
    )
    return Person(
        body=body,
        build=rng.uniform(0.85, 1.2),
        skin=_hsv(0.07, rng.uniform(0.25, 0.55), rng.uniform(0.5, 1.0)),
        hair=_hsv(rng.uniform(0.03, 0.12), rng.uniform(0.0, 0.6), rng.uniform(0.1, 0.45)),
        shirt=_hsv(rng.random(), rng.uniform(0.45, 0.75), rng.uniform(0.7, 0.95)),
        trousers=_hsv(rng.random(), rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.65)),
    )


def paint_room(
    size: tuple[int, int], *, unit: float, floor_y: float, rng: np.random.Generator
) -> Image.Image:
    """A random wall and floor of a size (width, height) in pixels; a body height is a unit."""
    width, height = size
    wall = _hsv(rng.random(), rng.uniform(0.04, 0.2), rng.uniform(0.8, 0.95))
    floor = _hsv(rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.35), rng.uniform(0.65, 0.9))
    picture = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(picture)
    step = rng.uniform(0.12, 0.3) * unit
    for x in np.arange(-rng.random() * step, width, step):  # stripes show how the camera moves
        draw.rectangle((x, 0, x + 0.5 * step, height), fill=_darker(wall, 0.95))
    edge = floor_y - rng.uniform(0.06, 0.2) * unit
    # Pictures on the wall tell rooms apart, as they are apart in real videos.
    for x in np.arange(-rng.random() * unit, width, rng.uniform(0.4, 0.7) * unit):
        across, down = rng.uniform(0.15, 0.35, size=2) * unit
        y = edge - rng.uniform(0.4, 1.0) * unit
        paper = _hsv(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.4, 0.95))
        frame = (x, y, x + across, y + down)
        draw.rectangle(frame, fill=paper, outline=_darker(wall, 0.75), width=3)
    draw.rectangle((0, edge, width, height), fill=floor)
    return picture


def draw_figure(
    picture: Image.Image, joints: Floats, *, person: Person, unit: float, origin: Pixel
) -> None:
    """Draw a figure on a picture.

    Its joints (17, 3) are in the world's axes: x to the right, y up, z towards the viewer. The
    origin is the pixel of the world's origin, and a body height has as many pixels as a unit.
    """
    draw = ImageDraw.Draw(picture)
    at: list[Pixel] = list(map(tuple, (origin + unit * joints[:, :2] * (1, -1)).tolist()))

    def limb(points: Sequence[Pixel], radius: float, colour: Colour) -> None:
        """Draw a bar through points, with round ends and joints and a darker outline."""
        for size, ink in ((radius + OUTLINE, _darker(colour, 0.45)), (radius, colour)):
            size *= unit
            draw.line(points, fill=ink, width=round(2 * size))
            for x, y in points:
                draw.ellipse((x - size, y - size, x + size, y + size), fill=ink)

    def arm(shoulder: int, light: float) -> None:
        limb(at[shoulder : shoulder + 3], ARM * person.build, _darker(person.shirt, light))
        limb(at[shoulder + 2 : shoulder + 3], ARM * person.build, _darker(person.skin, light))

    sides = (Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER)
    far, near = sorted(sides, key=lambda side: float(joints[side, 2]))
    arm(far, FAR)
    (neck_x, neck_y), (pelvis_x, pelvis_y) = at[Joint.NECK], at[Joint.PELVIS]
    waist = (0.7 * pelvis_x + 0.3 * neck_x, 0.7 * pelvis_y + 0.3 * neck_y)
    limb([at[Joint.LEFT_HIP], at[Joint.RIGHT_HIP]], LEG * person.build, person.trousers)
    limb([at[Joint.NECK], waist], TORSO * person.build, person.shirt)
    for side, light in ((far, FAR), (near, 1.0)):
        limb(at[side + 3 : side + 7], LEG * person.build, _darker(person.trousers, light))
    left = joints[Joint.LEFT_SHOULDER] - joints[Joint.RIGHT_SHOULDER]
    ahead = unit * 0.35 * HEAD * np.array((-left[2], left[0])) / np.hypot(left[0], left[2])
    head_x, head_y = at[Joint.HEAD]
    limb([(head_x, head_y)], HEAD, person.hair)
    limb([(head_x + ahead[0], head_y + 0.01 * unit)], 0.7 * HEAD, person.skin)
    arm(near, 1.0)


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue (in turns), saturation and value, each 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _darker(colour: Colour, factor: float) -> Colour:
    """The colour with its brightness multiplied, from 0 (black) to 1 (as it is)."""
    red, green, blue = colour
    return round(factor * red), round(factor * green), round(factor * blue)
