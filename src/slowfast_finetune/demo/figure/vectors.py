"""Small three-dimensional vectors and the blends between them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]  # (3,)


def direction(sign: float, *, forward: float, outward: float) -> Vector:
    """Unit vector from straight down, swung forwards and lifted away from the body."""
    level = math.cos(outward)
    return vector(sign * math.sin(outward), -level * math.cos(forward), level * math.sin(forward))


def vector(x: float, y: float, z: float) -> Vector:
    """The vector of three numbers."""
    return np.array((x, y, z))


def unit(vector: Vector) -> Vector:
    """The vector made 1 long."""
    return vector / math.sqrt(vector @ vector)


def blend(first: Vector, second: Vector, weight: float) -> Vector:
    """Unit vector part of the way from one direction to another, which must not be opposite."""
    return unit((1 - weight) * first + weight * unit(second))


def mix(first: float, second: float, weight: float) -> float:
    """The number part of the way from one to another."""
    return first + (second - first) * weight


def smooth(progress: float) -> float:
    """From 0 to 1 as progress goes from 0 to 1, slow at both ends."""
    return progress * progress * (3 - 2 * progress)
