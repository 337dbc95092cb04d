"""How one video is filmed: where the camera stands, how it moves, and the light.

World axes: x to the right of the picture, y up, z towards the viewer; the floor is y = 0.
Lengths are in body heights. Pictures are drawn `SUPERSAMPLING` times too large and then
reduced, which smooths the edges; origins and the camera count pixels of the large picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slowfast_finetune.demo.performance import Performance
from slowfast_finetune.demo.randomness import choose
from slowfast_finetune.demo.skeleton import Floats

Pixel = tuple[float, float]  # x to the right and y down

SUPERSAMPLING = 2
SIZES = ((160, 120), (128, 128), (176, 144), (120, 160))  # width and height of the videos
REACH = 1.13  # from the floor to hands held up


@dataclass(frozen=True)
class Camera:
    """A camera far away that looks slightly down; it keeps no perspective."""

    pixels_per_height: float
    pitch: float  # radians; looking down is positive

    def project(self, points: Floats, *, origin: Pixel) -> tuple[list[Pixel], NDArray[np.float64]]:
        """Pixels and nearness (N,), larger nearer to the viewer, of points (N, 3).

        The origin is the pixel at which the world's origin lies.
        """
        level, slope = math.cos(self.pitch), math.sin(self.pitch)
        x = origin[0] + self.pixels_per_height * points[:, 0]
        y = origin[1] - self.pixels_per_height * (points[:, 1] * level - points[:, 2] * slope)
        nearness = points[:, 2] * level + points[:, 1] * slope
        return list(zip(x.tolist(), y.tolist(), strict=True)), nearness


@dataclass(frozen=True)
class Shot:
    """How one video is filmed."""

    size: tuple[int, int]  # width and height of the finished video
    camera: Camera
    origins: NDArray[np.int64]  # (num_frames, 2): the pixel of the world's origin
    light: NDArray[np.float32]  # (H, W, 3): what to multiply the finished frames with
    crf: int  # how strongly to compress, as for x264


def plan_shot(performance: Performance, *, rng: np.random.Generator) -> Shot:
    """A random way to film a performance that keeps the whole figure in the picture."""
    size = choose(SIZES, rng=rng)
    width, height = (side * SUPERSAMPLING for side in size)
    unit = min(rng.uniform(0.76, 0.84) * height, 0.95 * width)
    lowest = 0.96 * height
    highest = min(max(0.87 * height, REACH * unit), lowest)
    start = ((0.5 + rng.uniform(-0.05, 0.05)) * width, rng.uniform(highest, lowest))
    # A slow pan. A walker crosses part of the picture, followed for the rest of the way.
    pan = np.linspace(-0.5, 0.5, len(performance.phases))[:, None]
    path = start + pan * rng.uniform((-0.06, -0.02), (0.06, 0.02)) * width
    travel = performance.travel()[:, 0] * unit
    whole = abs(travel[-1])
    room = max(0.8 * width - 0.5 * unit, 0.0)
    crossing = min(1.0, room / whole) * rng.uniform(0.4, 1.0) if whole > 0 else 0.0
    path[:, 0] -= (1 - crossing) * travel + crossing * travel[-1] / 2
    return Shot(
        size=size,
        camera=Camera(unit, pitch=math.radians(rng.uniform(3, 11))),
        # Whole pixels, so that figure and room move by the very same amount.
        origins=path.round().astype(np.int64),
        light=_random_light(size, rng=rng),
        crf=int(rng.integers(20, 27)),
    )


def _random_light(size: tuple[int, int], *, rng: np.random.Generator) -> NDArray[np.float32]:
    """Brightness, tint and a fall-off to one side: float32 (H, W, 3)."""
    towards = rng.uniform(0, 2 * math.pi)
    x = np.linspace(-0.5, 0.5, size[0])[None, :, None]
    y = np.linspace(-0.5, 0.5, size[1])[:, None, None]
    slope = rng.uniform(0.0, 0.3) * (x * math.cos(towards) + y * math.sin(towards))
    tint = rng.uniform(0.95, 1.05, size=3)
    return np.asarray(rng.uniform(0.85, 1.02) * tint * (1 + slope), dtype=np.float32)
