"""Where the camera stands in one video, how it moves and how the light falls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slowfast_finetune.demo.figure.drawing import SUPERSAMPLING
from slowfast_finetune.demo.figure.performance import Performance
from slowfast_finetune.demo.randomness import chance, choose
from slowfast_finetune.demo.scene.camera import Camera, Floats

SIZES: tuple[tuple[int, int], ...] = ((160, 120), (128, 128), (176, 144), (120, 160))
# How far before its feet the middle of a figure and its chair is, in body heights.
MIDDLE_AHEAD = {"sitting_down": -0.06, "standing_up": -0.06, "squatting": 0.08}
REACH = 1.13  # body heights from the floor to hands held up


@dataclass(frozen=True)
class Shot:
    """How one video is filmed.

    Origins and the camera count pixels of the large picture, `SUPERSAMPLING` times the size.
    """

    size: tuple[int, int]  # width and height of the finished video
    camera: Camera
    origins: NDArray[np.int64]  # (num_frames, 2): the pixel of the world's origin
    light: NDArray[np.float32]  # (H, W, 3): what to multiply the finished frames with
    grain: float  # standard deviation of the noise, of 255
    mirrored: bool
    crf: int  # how strongly to compress, as for x264

    @property
    def large_size(self) -> tuple[int, int]:
        """Width and height of the pictures that are drawn."""
        return self.size[0] * SUPERSAMPLING, self.size[1] * SUPERSAMPLING


def plan_shot(performance: Performance, *, rng: np.random.Generator) -> Shot:
    """A random way to film a performance that keeps the whole figure in the picture."""
    size = choose(SIZES, rng=rng)
    width, height = (side * SUPERSAMPLING for side in size)
    camera = Camera(
        pixels_per_height=min(rng.uniform(0.76, 0.84) * height, 0.95 * width),
        pitch_radians=math.radians(rng.uniform(3, 11)),
        roll_radians=math.radians(rng.uniform(-4, 4)),
    )
    still = _random_origin(performance, camera=camera, width=width, height=height, rng=rng)
    path = still + _follow(performance, camera=camera, width=width, rng=rng)
    path += _shake(performance, width=width, rng=rng)
    return Shot(
        size=size,
        camera=camera,
        # Whole pixels, so that figure and backdrop move by the very same amount.
        origins=path.round().astype(np.int64),
        light=_random_light(size, rng=rng),
        grain=rng.uniform(0.0, 3.0),
        mirrored=chance(0.5, rng=rng),
        crf=int(rng.integers(20, 27)),
    )


def _random_origin(
    performance: Performance,
    *,
    camera: Camera,
    width: int,
    height: int,
    rng: np.random.Generator,
) -> Floats:
    lowest = 0.96 * height
    highest = min(max(0.87 * height, REACH * camera.pixels_per_height), lowest)
    # The middle of all a figure does need not be over its feet.
    ahead = MIDDLE_AHEAD.get(performance.class_name, 0.0) * math.sin(performance.yaw_radians)
    x = width / 2 + rng.uniform(-0.05, 0.05) * width - ahead * camera.pixels_per_height
    return np.array((x, rng.uniform(highest, lowest)))


def _follow(
    performance: Performance, *, camera: Camera, width: int, rng: np.random.Generator
) -> Floats:
    """How the camera's movement shifts the world: (num_frames, 2).

    A walker crosses part of the picture; the camera follows for the rest of the way.
    """
    travel, _ = camera.project(performance.travel(), origin=(0.0, 0.0))
    room = max(0.8 * width - 0.5 * camera.pixels_per_height, 0.0)
    whole = float(np.abs(travel[-1, 0]))
    crossing = min(1.0, room / whole) * rng.uniform(0.4, 1.0) if whole > 0 else 0.0
    followed: Floats = (1 - crossing) * travel + crossing * travel[-1] / 2
    return -followed


def _shake(performance: Performance, *, width: int, rng: np.random.Generator) -> Floats:
    """A slow pan and the tremble of a hand: (num_frames, 2)."""
    seconds = np.arange(performance.num_frames) / float(performance.frame_rate)
    pan = np.linspace(-0.5, 0.5, performance.num_frames)[:, None]
    path = pan * rng.uniform((-0.05, -0.015), (0.05, 0.015)) * width
    for hertz in (0.7, 2.3):
        strength = rng.uniform(0.0, 0.004, size=2) * width
        turns = hertz * rng.uniform(0.8, 1.2, size=2) * seconds[:, None] + rng.random(2)
        path = path + strength * np.sin(2 * math.pi * turns)
    return path


def _random_light(size: tuple[int, int], *, rng: np.random.Generator) -> NDArray[np.float32]:
    """Brightness, tint and a fall-off to one side: float32 (H, W, 3)."""
    width, height = size
    towards = rng.uniform(0, 2 * math.pi)
    x = np.linspace(-0.5, 0.5, width)[None, :, None]
    y = np.linspace(-0.5, 0.5, height)[:, None, None]
    slope = rng.uniform(0.0, 0.3) * (x * math.cos(towards) + y * math.sin(towards))
    vignette = rng.uniform(0.0, 0.5) * (x * x + y * y)
    tint = rng.uniform(0.94, 1.06, size=3)
    return np.asarray(rng.uniform(0.85, 1.08) * tint * (1 + slope - vignette), dtype=np.float32)
