"""From a world in body heights to points on the picture.

World axes: x to the right of the picture, y up, z towards the viewer; the floor is y = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A camera far away that looks slightly down; it keeps no perspective."""

    pixels_per_height: float
    pitch_radians: float  # looking down is positive
    roll_radians: float  # the picture turned counterclockwise is positive

    def project(self, points: Floats, *, origin: tuple[float, float]) -> tuple[Floats, Floats]:
        """Pixels (..., 2) as x right and y down, and nearness (...) of points (..., 3).

        The origin is the pixel at which the world's origin lies.
        """
        level, slope = math.cos(self.pitch_radians), math.sin(self.pitch_radians)
        x = points[..., 0]
        up = points[..., 1] * level - points[..., 2] * slope
        nearness = points[..., 2] * level + points[..., 1] * slope
        turn, lift = math.cos(self.roll_radians), math.sin(self.roll_radians)
        right = origin[0] + self.pixels_per_height * (x * turn - up * lift)
        down = origin[1] - self.pixels_per_height * (x * lift + up * turn)
        return np.stack([right, down], axis=-1), nearness


def face(points: Floats, *, yaw_radians: float) -> Floats:
    """Points (..., 3) of a figure that turns from the viewer towards the picture's right."""
    turn, side = math.cos(yaw_radians), math.sin(yaw_radians)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([x * turn + z * side, y, z * turn - x * side], axis=-1)
