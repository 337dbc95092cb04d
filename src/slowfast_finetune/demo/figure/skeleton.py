"""From a posture (where pelvis, feet and arms are) to all joints of a figure.

Lengths are in body heights: the figure stands about 1 tall. The axes belong to the figure:
x points to its left, y up and z to where it faces; the floor is y = 0. Angles are radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from slowfast_finetune.demo.figure.vectors import Vector, unit, vector

Joints = NDArray[np.float64]  # (17, 3), one row for each Joint

LEFT, RIGHT = 1.0, -1.0  # the sign of x on either side of the body
TOE_HEIGHT = 0.018


class Joint(IntEnum):
    """Row of each joint in a `Joints` array. Each side is a block in the same order."""

    PELVIS = 0
    NECK = 1
    HEAD = 2
    LEFT_SHOULDER = 3
    LEFT_ELBOW = 4
    LEFT_WRIST = 5
    LEFT_HIP = 6
    LEFT_KNEE = 7
    LEFT_ANKLE = 8
    LEFT_TOE = 9
    RIGHT_SHOULDER = 10
    RIGHT_ELBOW = 11
    RIGHT_WRIST = 12
    RIGHT_HIP = 13
    RIGHT_KNEE = 14
    RIGHT_ANKLE = 15
    RIGHT_TOE = 16


BONES: tuple[tuple[Joint, Joint], ...] = (
    (Joint.PELVIS, Joint.NECK),
    (Joint.NECK, Joint.HEAD),
    (Joint.NECK, Joint.LEFT_SHOULDER),
    (Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW),
    (Joint.LEFT_ELBOW, Joint.LEFT_WRIST),
    (Joint.PELVIS, Joint.LEFT_HIP),
    (Joint.LEFT_HIP, Joint.LEFT_KNEE),
    (Joint.LEFT_KNEE, Joint.LEFT_ANKLE),
    (Joint.LEFT_ANKLE, Joint.LEFT_TOE),
    (Joint.NECK, Joint.RIGHT_SHOULDER),
    (Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW),
    (Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST),
    (Joint.PELVIS, Joint.RIGHT_HIP),
    (Joint.RIGHT_HIP, Joint.RIGHT_KNEE),
    (Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE),
    (Joint.RIGHT_ANKLE, Joint.RIGHT_TOE),
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
    """One arm and one leg. The arm is two unit vectors in the axes of the figure."""

    ankle: Vector
    upper_arm: Vector
    forearm: Vector
    foot_pitch: float = 0.0  # toes up is positive, 0 is flat on the floor
    toes_out: float = 0.2
    knee_out: float = 0.15


@dataclass(frozen=True)
class Posture:
    """Everything an action decides; the joints follow from it and the body."""

    pelvis: Vector
    left: Side
    right: Side
    lean: float = 0.0  # of the torso, forwards
    tilt: float = 0.0  # of the torso, to the left
    twist: float = 0.0  # left shoulder backwards
    nod: float = 0.0  # of the head beyond the torso, forwards


def assemble(posture: Posture, *, body: Body) -> Joints:
    """Hang the limbs on the pelvis and torso; bone lengths come from the body alone."""
    joints = np.empty((len(Joint), 3))
    up = _upwards(lean=posture.lean, tilt=posture.tilt)
    neck = posture.pelvis + body.torso * up
    head_up = _upwards(lean=posture.lean + posture.nod, tilt=1.6 * posture.tilt)
    joints[Joint.PELVIS] = posture.pelvis
    joints[Joint.NECK] = neck
    joints[Joint.HEAD] = neck + body.neck * head_up

    twist = posture.twist
    across = vector(math.cos(twist), 0.0, -math.sin(twist))
    across = unit(across - (across @ up) * up)
    hips = vector(math.cos(twist / 2), 0.0, math.sin(twist / 2))
    for sign, side, first in (
        (LEFT, posture.left, Joint.LEFT_SHOULDER),
        (RIGHT, posture.right, Joint.RIGHT_SHOULDER),
    ):
        shoulder = neck + sign * body.half_shoulders * across - 0.02 * up
        hip = posture.pelvis + sign * body.half_hips * hips
        joints[first : first + 3] = _arm(shoulder, side=side, body=body)
        joints[first + 3 : first + 7] = _leg(hip, side=side, sign=sign, body=body)
    return joints


def _arm(shoulder: Vector, *, side: Side, body: Body) -> NDArray[np.float64]:
    elbow = shoulder + body.upper_arm * side.upper_arm
    return np.stack([shoulder, elbow, elbow + body.forearm * side.forearm])


def _leg(hip: Vector, *, side: Side, sign: float, body: Body) -> NDArray[np.float64]:
    ahead = vector(sign * side.knee_out, 0.0, 1.0)
    knee, ankle = _reach(hip, side.ankle, upper=body.thigh, lower=body.shin, bend=ahead)
    pitch = side.foot_pitch - math.asin((body.ankle_height - TOE_HEIGHT) / body.foot)
    level = math.cos(pitch)
    out = side.toes_out
    pointing = vector(sign * math.sin(out) * level, math.sin(pitch), math.cos(out) * level)
    return np.stack([hip, knee, ankle, ankle + body.foot * pointing])


def _reach(
    root: Vector, target: Vector, *, upper: float, lower: float, bend: Vector
) -> tuple[Vector, Vector]:
    """Middle and end of a two-bone limb that bends towards `bend` to put its end on target."""
    offset = target - root
    distance = math.sqrt(offset @ offset)
    straight = offset / distance
    # A target out of reach is pointed at: the bones keep their lengths.
    distance = min(distance, 0.9995 * (upper + lower))
    along = (upper**2 - lower**2 + distance**2) / (2 * distance)
    aside = unit(bend - (bend @ straight) * straight)
    middle = root + along * straight + math.sqrt(upper**2 - along**2) * aside
    return middle, root + distance * straight


def _upwards(*, lean: float, tilt: float) -> Vector:
    level = math.cos(tilt)
    return vector(math.sin(tilt), level * math.cos(lean), level * math.sin(lean))
