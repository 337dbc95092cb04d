"""Film one video: cast the person, rehearse, set the scene, draw and encode the frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slowfast_finetune.demo.catalog import VideoName
from slowfast_finetune.demo.encoding import write_video
from slowfast_finetune.demo.figure.casting import Person, cast_person
from slowfast_finetune.demo.figure.drawing import Figure, draw_frame
from slowfast_finetune.demo.figure.performance import Performance, rehearse
from slowfast_finetune.demo.figure.skeleton import Joint
from slowfast_finetune.demo.randomness import named_generator
from slowfast_finetune.demo.scene.camera import Camera, Floats
from slowfast_finetune.demo.scene.framing import Shot, plan_shot
from slowfast_finetune.demo.scene.furniture import build_chair, draw_chair, place_chair
from slowfast_finetune.demo.scene.scenes import paint_scene

PAPER = (236, 233, 226)
FADING = 0.6  # of the backdrop towards the colour of paper, from 0 to 1

Pixels = NDArray[np.uint8]
Origin = tuple[float, float]


def film_video(name: VideoName, *, folder: Path, seed: int) -> None:
    """Write one video of the data set; the folder of its class must exist."""
    person = cast_person(rng=named_generator(seed, "person", name.person))
    rng = named_generator(seed, name.class_name, name.person, name.letter)
    performance = rehearse(name.class_name, rng=rng)
    shot = plan_shot(performance, rng=rng)
    write_video(
        folder / name.path,
        film(performance, shot, person=person, rng=rng),
        frame_rate=performance.frame_rate,
        size=shot.size,
        crf=shot.crf,
    )


def film(
    performance: Performance, shot: Shot, *, person: Person, rng: np.random.Generator
) -> Iterator[Pixels]:
    """The frames of a video, each uint8 (H, W, 3)."""
    backdrop, centre = _set_scene(performance, shot, person=person, rng=rng)
    noise = _random_noise(shot, rng=rng)
    joints = performance.joints(person.body) + performance.travel()[:, None, :]
    glance = rng.uniform(0.0, 0.5) * performance.yaw_radians
    width, height = shot.large_size
    for pose, origin in zip(joints, shot.origins, strict=True):
        left, top = centre[0] - int(origin[0]), centre[1] - int(origin[1])
        view = backdrop.crop((left, top, left + width, top + height))
        figure = _figure(pose, camera=shot.camera, origin=(origin[0], origin[1]), glance=glance)
        frame = draw_frame(view, figure, look=person.look)
        yield _exposed(frame, shot=shot, noise=noise, rng=rng)


def _set_scene(
    performance: Performance, shot: Shot, *, person: Person, rng: np.random.Generator
) -> tuple[Image.Image, tuple[int, int]]:
    """A backdrop that covers all that the camera sees, and the pixel of the world's origin."""
    roll = shot.camera.roll_radians
    width, height = (shot.large_size + np.ptp(shot.origins, axis=0)).tolist()
    # Room for the corners that turning the backdrop moves out of it.
    margin = math.ceil((abs(math.sin(roll)) + 1 - math.cos(roll)) * max(width, height)) + 2
    size = (width + 2 * margin, height + 2 * margin)
    highest_x, highest_y = shot.origins.max(axis=0).tolist()
    centre = (highest_x + margin, highest_y + margin)
    level = paint_scene(
        size,
        unit=shot.camera.pixels_per_height,
        floor_y=centre[1],
        pitch_radians=shot.camera.pitch_radians,
        rng=rng,
    )
    # Pale behind the figure, as in a picture book: in the few minutes that a demo may take, a
    # small model should learn the action, not the wallpaper.
    level = Image.blend(level, Image.new("RGB", level.size, PAPER), FADING)
    turned = level.rotate(math.degrees(roll), Image.Resampling.BILINEAR, center=centre)
    spot = place_chair(performance, rng=rng)
    chair = build_chair(person.body, person.look, rng=rng)
    if spot is not None:
        draw_chair(turned, chair, camera=shot.camera, origin=centre, spot=spot)
    return turned, centre


def _figure(pose: Floats, *, camera: Camera, origin: Origin, glance: float) -> Figure:
    """The figure of one pose (17, 3) in the world, on the picture."""
    points, nearness = camera.project(pose, origin=origin)
    axes, axes_nearness = camera.project(_head_axes(pose, glance=glance), origin=(0.0, 0.0))
    axes = np.column_stack([axes / camera.pixels_per_height, axes_nearness])
    feet = pose[[Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE]] * (1.0, 0.0, 1.0)
    soles, _ = camera.project(feet, origin=origin)
    return Figure(points, nearness, axes, soles, camera.pixels_per_height)


def _head_axes(pose: Floats, *, glance: float) -> Floats:
    """Left, up and ahead of a head that looks a little towards the viewer: (3, 3)."""
    up = pose[Joint.HEAD] - pose[Joint.NECK]
    up /= np.linalg.norm(up)
    left = pose[Joint.LEFT_SHOULDER] - pose[Joint.RIGHT_SHOULDER]
    left -= (left @ up) * up
    left /= np.linalg.norm(left)
    ahead = np.cross(left, up)
    turn, side = math.cos(glance), math.sin(glance)
    return np.stack([turn * left + side * ahead, up, turn * ahead - side * left])


def _random_noise(shot: Shot, *, rng: np.random.Generator) -> NDArray[np.float32]:
    """A sheet of grain larger than a frame; each frame cuts its own piece: (H+32, W+32, 1)."""
    width, height = shot.size
    return rng.normal(0, shot.grain, (height + 32, width + 32, 1)).astype(np.float32)


def _exposed(
    frame: Pixels, *, shot: Shot, noise: NDArray[np.float32], rng: np.random.Generator
) -> Pixels:
    """The frame under the light of the shot, with its grain, mirrored if the shot is."""
    top, left = rng.integers(0, 33, size=2)
    height, width = frame.shape[:2]
    lit = frame * shot.light + noise[top : top + height, left : left + width]
    if shot.mirrored:
        lit = lit[:, ::-1]
    return np.ascontiguousarray(lit.clip(0, 255).astype(np.uint8))
