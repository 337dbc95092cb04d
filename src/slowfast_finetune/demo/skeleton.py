"""The jointed figure: all joints, from where its pelvis, feet and arms are.

Lengths are in body heights: the figure stands about 1 tall. The axes belong to the figure:
x points to its left, y up and z to where it faces; the floor is y = 0. Angles are radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]  # (3,)
Floats = NDArray[np.float64]

LEFT, RIGHT = 1.0, -1.0  # the sign of x on either side of the body
TOE_HEIGHT = 0.018


# Row of each joint in an array (17, 3). Each side is a block in the same order.
Joint = IntEnum(
    "Joint",
    "PELVIS NECK HEAD LEFT_SHOULDER LEFT_ELBOW LEFT_WRIST LEFT_HIP LEFT_KNEE LEFT_ANKLE LEFT_TOE "
    "RIGHT_SHOULDER RIGHT_ELBOW RIGHT_WRIST RIGHT_HIP RIGHT_KNEE RIGHT_ANKLE RIGHT_TOE",
    start=0,
)


@dataclass(frozen=True)
class Body:
    """Lengths of one person's bones, in body heights."""

    thigh: float = 0.235
    shin: float = 0.220
    foot: float = 0.115
    ankle_height: float = 0.045
    torso: float = 0.275
    neck: float = 0.125  # from between the shoulders to the middle of the head
    upper_arm: float = 0.165
    forearm: float = 0.150
    half_shoulders: float = 0.105
    half_hips: float = 0.060

    @property
    def leg(self) -> float:
        """Hip to ankle with a straight knee."""
        return self.thigh + self.shin


@dataclass(frozen=True)
class Side:
    """Where one foot is, and unit vectors along the arm, in the axes of the figure."""

    ankle: Vector
    upper_arm: Vector
    forearm: Vector


@dataclass(frozen=True)
class Posture:
    """Everything an action decides; the joints follow from it and the body."""

    pelvis: Vector
    left: Side
    right: Side
    lean: float = 0.0  # of the torso, forwards
    nod: float = 0.0  # of the head beyond the torso, forwards


def assemble(posture: Posture, *, body: Body) -> Floats:
    """Hang the limbs on pelvis and torso: float64 (17, 3). The body alone decides the lengths."""
    joints = np.empty((len(Joint), 3))
    up = _upwards(posture.lean)
    neck = posture.pelvis + body.torso * up
    head = neck + body.neck * _upwards(posture.lean + posture.nod)
    joints[[Joint.PELVIS, Joint.NECK, Joint.HEAD]] = posture.pelvis, neck, head
    for sign, side, first in (
        (LEFT, posture.left, Joint.LEFT_SHOULDER),
        (RIGHT, posture.right, Joint.RIGHT_SHOULDER),
    ):
        shoulder = neck + vector(sign * body.half_shoulders, 0.0, 0.0) - 0.02 * up
        elbow = shoulder + body.upper_arm * side.upper_arm
        joints[first : first + 3] = shoulder, elbow, elbow + body.forearm * side.forearm
        hip = posture.pelvis + vector(sign * body.half_hips, 0.0, 0.0)
        joints[first + 3 : first + 7] = _leg(hip, side.ankle, sign=sign, body=body)
    return joints


def face(points: Floats, *, yaw: float) -> Floats:
    """Floats (..., 3) of a figure that turns from the viewer towards the picture's right."""
    turn, side = math.cos(yaw), math.sin(yaw)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([x * turn + z * side, y, z * turn - x * side], axis=-1)


def vector(x: float, y: float, z: float) -> Vector:
    """The vector of three numbers."""
    return np.array((x, y, z))


def unit(vector: Vector) -> Vector:
    """The vector made 1 long."""
    return vector / math.sqrt(vector @ vector)


def _leg(hip: Vector, ankle: Vector, *, sign: float, body: Body) -> Floats:
    """Hip, knee, ankle and toe: the knee bends forwards so that the ankle is where it should be."""
    straight = unit(ankle - hip)
    # An ankle out of reach is pointed at: the bones keep their lengths.
    distance = min(float(np.linalg.norm(ankle - hip)), 0.9995 * body.leg)
    along = (body.thigh**2 - body.shin**2 + distance**2) / (2 * distance)
    ahead = unit(vector(0.2 * sign, 0.0, 1.0))
    bend = unit(ahead - (ahead @ straight) * straight)
    knee = hip + along * straight + math.sqrt(body.thigh**2 - along**2) * bend
    ankle = hip + distance * straight
    drop = body.ankle_height - TOE_HEIGHT
    toe = ankle + math.sqrt(body.foot**2 - drop**2) * ahead - vector(0.0, drop, 0.0)
    return np.stack([hip, knee, ankle, toe])


def _upwards(lean: float) -> Vector:
    return vector(0.0, math.cos(lean), math.sin(lean))
