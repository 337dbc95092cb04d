"""The room in which a figure acts: a pale wall and floor, and a chair that fits the person.

Every video has a wall, a floor and a chair, drawn alike for every class: none tells the action.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from slowfast_finetune.demo.casting import Colour, Person, darker, hsv
from slowfast_finetune.demo.performance import Performance
from slowfast_finetune.demo.randomness import choose
from slowfast_finetune.demo.shot import Camera, Pixel
from slowfast_finetune.demo.skeleton import Floats, face

Box = tuple[float, float, float, float, float, float]  # x, y, z of two opposite corners

WOOD: tuple[Colour, ...] = ((176, 120, 68), (122, 76, 44), (214, 172, 116), (104, 110, 124))


def paint_room(
    size: tuple[int, int], *, unit: float, floor_y: float, rng: np.random.Generator
) -> Image.Image:
    """A random wall and floor of a size (width, height) in pixels; a body height is a unit."""
    wall = hsv(rng.random(), rng.uniform(0.04, 0.2), rng.uniform(0.8, 0.95))
    floor = hsv(rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.35), rng.uniform(0.65, 0.9))
    picture = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(picture)
    width, height = size
    edge = floor_y - rng.uniform(0.06, 0.2) * unit
    # Stripes, pictures and planks show how the camera moves.
    step = rng.uniform(0.12, 0.3) * unit
    for x in np.arange(-rng.random() * step, width, step):
        draw.rectangle((x, 0, x + 0.5 * step, edge), fill=darker(wall, 0.975))
    for x in np.arange(-rng.random() * unit, width, rng.uniform(0.7, 1.1) * unit):
        y, across, high = edge - rng.uniform(0.7, 0.9) * unit, *rng.uniform(0.15, 0.3, size=2)
        paper = hsv(rng.random(), rng.uniform(0.1, 0.3), rng.uniform(0.75, 0.95))
        frame = (x, y, x + across * unit, y + high * unit)
        draw.rectangle(frame, fill=paper, outline=darker(wall, 0.75), width=3)
    draw.rectangle((0, edge, width, height), fill=floor)
    draw.rectangle((0, edge - 0.025 * unit, width, edge), fill=darker(wall, 0.86))
    for y in np.arange(edge, height, 0.05 * unit):
        draw.line((0, y, width, y), fill=darker(floor, 0.92), width=2)
    return picture


def draw_chair(
    picture: Image.Image,
    performance: Performance,
    *,
    person: Person,
    camera: Camera,
    origin: Pixel,
    rng: np.random.Generator,
) -> None:
    """Draw a random chair: under who sits, behind who squats, and somewhere behind all others."""
    yaw, place = performance.yaw, np.zeros(3)
    if performance.class_name == "squatting":
        place = face(np.array((0.0, 0.0, -rng.uniform(0.1, 0.25))), yaw=yaw)
    elif performance.class_name not in ("sitting_down", "standing_up"):
        yaw = rng.uniform(-1.4, 1.4)
        aside = choose((-1, 1), rng=rng) * rng.uniform(0.2, 0.55)
        place = np.array((aside, 0.0, -rng.uniform(0.25, 0.5)))
    colour = choose(WOOD, rng=rng)
    draw = ImageDraw.Draw(picture)
    faces: list[tuple[float, list[Pixel], Colour]] = []
    for box in _random_chair(person, rng=rng):
        points, nearness = camera.project(face(_corners(box), yaw=yaw) + place, origin=origin)
        for rows, light in _FACES:
            outline = [points[row] for row in rows]
            if _is_towards_viewer(outline):
                faces.append((float(nearness.mean()), outline, darker(colour, light)))
    for _, outline, shade in sorted(faces, key=lambda entry: entry[0]):
        draw.polygon(outline, fill=shade, outline=darker(colour, 0.5))


def _random_chair(person: Person, *, rng: np.random.Generator) -> list[Box]:
    """The boxes of a chair that faces z, its seat under the thighs of a sitting person."""
    body = person.body
    seat = body.ankle_height + body.shin - 0.05 * person.build
    back, front, leg = -body.thigh - 0.09, -0.075, 0.028
    half = body.half_hips + rng.uniform(0.065, 0.10)
    boxes: list[Box] = [(-half, seat - 0.032, back, half, seat, front)]
    for x in (-half, half - leg):
        boxes += [(x, 0.0, z, x + leg, seat - 0.03, z + leg) for z in (back, front - leg)]
    if rng.random() < 0.7:  # a chair with a back, or else a stool
        top = seat + rng.uniform(0.24, 0.36)
        boxes += [(x, seat, back, x + leg, top, back + leg) for x in (-half, half - leg)]
        slats = (seat + 0.08, top - 0.06)
        boxes += [(-half, y, back, half, y + 0.05, back + 0.02) for y in slats]
    return boxes


# Rows of `_corners` around each face as seen from outside, and how much light it gets.
_FACES = (
    ((2, 3, 7, 6), 1.0),  # top
    ((1, 5, 7, 3), 0.86),  # front
    ((0, 2, 6, 4), 0.7),  # back
    ((0, 1, 3, 2), 0.74),  # right of the sitter
    ((4, 6, 7, 5), 0.74),  # left of the sitter
)


def _corners(box: Box) -> Floats:
    x0, y0, z0, x1, y1, z1 = box
    return np.array([(x, y, z) for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)])


def _is_towards_viewer(points: list[Pixel]) -> bool:
    """Whether the points go counterclockwise on the picture (y points down)."""
    following = points[1:] + points[:1]
    return math.fsum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, following, strict=True)) < 0
