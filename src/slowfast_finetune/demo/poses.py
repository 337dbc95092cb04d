"""The actions as postures of a jointed figure: no randomness, no pictures.

Lengths are in body heights, angles in radians. The figure's axes: x points to its left, y up
and z to where it faces; it stands over the origin of the floor y = 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WavingArms = Literal["left", "right", "both"]
WAVING_ARMS: tuple[WavingArms, ...] = get_args(WavingArms)

# Row of each joint in an array (17, 3). Each side is a block in the same order.
Joint = IntEnum(
    "Joint",
    "PELVIS NECK HEAD LEFT_SHOULDER LEFT_ELBOW LEFT_WRIST LEFT_HIP LEFT_KNEE LEFT_ANKLE LEFT_TOE "
    "RIGHT_SHOULDER RIGHT_ELBOW RIGHT_WRIST RIGHT_HIP RIGHT_KNEE RIGHT_ANKLE RIGHT_TOE",
    start=0,
)
ANKLE_HEIGHT = 0.045
STANCE = 0.6  # the part of a walking cycle that a foot spends on the floor


@dataclass(frozen=True)
class Body:
    """Lengths of one person's bones."""

    thigh: float = 0.235
    shin: float = 0.220
    torso: float = 0.275
    upper_arm: float = 0.165
    forearm: float = 0.150
    half_shoulders: float = 0.105
    half_hips: float = 0.060


@dataclass(frozen=True)
class Manner:
    """How a person performs an action; each action reads what concerns it."""

    effort: float = 1.0  # scales how far the limbs travel
    arms_forward: bool = False  # while sitting down and squatting; otherwise they hang
    waving_arms: WavingArms = "right"
    stride: float = 0.36  # floor covered by one foot while it stands


class Side(NamedTuple):
    """One foot and one arm. Arm bones are swung forwards from straight down, then outwards."""

    ankle: tuple[float, float, float]  # outwards, up, ahead
    upper_arm: tuple[float, float]  # forwards, outwards
    forearm: tuple[float, float]


class Posture(NamedTuple):
    """All that an action decides; the joints follow from it and the body."""

    pelvis: tuple[float, float]  # up, ahead
    lean: float  # of the torso, forwards
    left: Side
    right: Side


def joint_positions(action: str, *, phase: float, body: Body, manner: Manner) -> Floats:
    """Joints of a figure: float64 (17, 3).

    The phase counts cycles of the actions that repeat, and a walker moves ahead with it.
    Sitting down runs from 0 to 1 once and holds still outside of it.
    """
    posture = _POSTURES[action](phase, body, manner)
    pelvis = np.array((0.0, *posture.pelvis))
    up = np.array((0.0, math.cos(posture.lean), math.sin(posture.lean)))
    joints = [pelvis, pelvis + body.torso * up, pelvis + (body.torso + 0.125) * up]
    for sign, side in ((1.0, posture.left), (-1.0, posture.right)):
        aside = np.array((sign, 0.0, 0.0))
        shoulder = joints[Joint.NECK] + body.half_shoulders * aside - 0.02 * up
        elbow = shoulder + body.upper_arm * _direction(sign, *side.upper_arm)
        joints += [shoulder, elbow, elbow + body.forearm * _direction(sign, *side.forearm)]
        ankle = np.array(side.ankle) * (sign, 1.0, 1.0)
        joints += _leg(pelvis + body.half_hips * aside, ankle, sign=sign, body=body)
    return np.stack(joints)


def _leg(hip: Floats, ankle: Floats, *, sign: float, body: Body) -> list[Floats]:
    """Hip, knee, ankle and toe: the knee bends forwards so that the ankle is where it should be."""
    distance = math.dist(hip, ankle)
    straight = (ankle - hip) / distance
    # An ankle out of reach is pointed at: the bones keep their lengths.
    distance = min(distance, 0.9995 * (body.thigh + body.shin))
    along = (body.thigh**2 - body.shin**2 + distance**2) / (2 * distance)
    ahead = np.array((0.2 * sign, 0.0, 1.0))
    bend = ahead - (ahead @ straight) * straight
    knee = hip + along * straight + math.sqrt((body.thigh**2 - along**2) / (bend @ bend)) * bend
    ankle = hip + distance * straight
    toe = ankle + np.array((0.02 * sign, -0.027, 0.11))
    return [hip, knee, ankle, toe]


def _jumping_jacks(phase: float, body: Body, manner: Manner) -> Posture:
    angle = 2 * math.pi * phase
    spread = _smooth((1 - math.cos(angle)) / 2)
    hop = math.sin(angle) ** 2  # in the air half-way out and half-way in
    aside = 0.17 * manner.effort * spread
    floor = ANKLE_HEIGHT + 0.055 * manner.effort * hop
    raised = math.radians(12 + 148 * manner.effort * spread)
    side = Side(
        ankle=(body.half_hips + aside, floor, 0.0),
        upper_arm=(0.12, raised),
        forearm=(0.12, raised + 0.2 * spread),
    )
    pelvis = floor + _height_over(aside, body) - 0.03 * (1 - hop)
    return Posture((pelvis, -0.01), 0.11 - 0.06 * hop, side, side)


def _sitting_down(phase: float, body: Body, manner: Manner) -> Posture:
    done = min(max(phase, 0.0), 1.0)
    # Half-way to a constant speed: a clip of the first moments already shows movement.
    progress = _mix(done, _smooth(done), 0.6)
    bow = math.sin(math.pi * progress)
    reach = 0.9 * bow * manner.arms_forward
    side = Side(
        ankle=(1.15 * body.half_hips, ANKLE_HEIGHT, 0.0),
        upper_arm=(_mix(_mix(0.05, 0.5, progress), 1.35, reach), 0.13),
        forearm=(_mix(_mix(0.3, 1.2, progress), 1.35, reach), 0.05),
    )
    pelvis = _pelvis_over_feet(
        body, thigh=_mix(6, 87, progress), shin=_mix(6, 1, progress) + 15 * bow
    )
    lean = math.radians(_mix(3, -3, progress) + 38 * manner.effort * bow)
    return Posture(pelvis, lean, side, side)


def _squatting(phase: float, body: Body, manner: Manner) -> Posture:
    depth = (1 - math.cos(2 * math.pi * phase)) / 2
    raised = (1.0 if manner.arms_forward else 0.35) * _smooth(depth)
    side = Side(
        ankle=(1.5 * body.half_hips, ANKLE_HEIGHT, 0.0),
        upper_arm=(_mix(0.05, 1.5, raised), 0.12),
        forearm=(_mix(0.3, 1.5, raised), 0.12),
    )
    deepest = 88 * min(manner.effort, 1.05)
    pelvis = _pelvis_over_feet(body, thigh=_mix(6, deepest, depth), shin=_mix(6, 33, depth))
    return Posture(pelvis, math.radians(_mix(3, 40, depth)), side, side)


def _walking(phase: float, body: Body, manner: Manner) -> Posture:
    travelled = phase * manner.stride / STANCE  # so that the standing foot stays in its place
    # Lowest as the feet pass the floor from one to the other, highest over a straight leg.
    bob = -0.035 * manner.stride * math.cos(4 * math.pi * phase - 0.6)
    height = ANKLE_HEIGHT + _height_over(manner.stride * 0.33, body) - 0.002 + bob

    def side(leg_phase: float) -> Side:
        swung = max(leg_phase % 1.0 - STANCE, 0.0) / (1 - STANCE)
        stood = min(leg_phase % 1.0, STANCE) / STANCE
        ahead = manner.stride * (0.5 - stood + _smooth(swung))
        lift = 0.05 * math.sin(math.pi * swung)
        arm = -manner.effort * (0.35 + 0.6 * manner.stride) * math.cos(2 * math.pi * leg_phase)
        return Side(
            ankle=(0.8 * body.half_hips, ANKLE_HEIGHT + lift, travelled + ahead),
            upper_arm=(arm, 0.12),
            forearm=(arm + 0.3 + 0.35 * max(arm, 0.0), 0.05),
        )

    return Posture((height, travelled), 0.06, side(phase), side(phase + 0.5))


def _waving(phase: float, body: Body, manner: Manner) -> Posture:
    ankle = (1.2 * body.half_hips, ANKLE_HEIGHT, 0.0)
    swing = math.sin(2 * math.pi * phase)
    waving = Side(
        ankle,
        upper_arm=(-0.15, math.radians(118 + 7 * swing)),
        forearm=(-0.15, math.radians(164 + 42 * manner.effort * swing)),
    )
    hanging = Side(ankle, upper_arm=(0.05, 0.14), forearm=(0.25, 0.14))
    left = hanging if manner.waving_arms == "right" else waving
    right = hanging if manner.waving_arms == "left" else waving
    return Posture((ANKLE_HEIGHT + 0.988 * (body.thigh + body.shin), 0.0), 0.02, left, right)


# Standing up has no posture of its own: it is a sitting down whose frames are reversed, so that
# nothing but the order of the frames can tell the two apart.
_POSTURES: dict[str, Callable[[float, Body, Manner], Posture]] = {
    "jumping_jacks": _jumping_jacks,
    "sitting_down": _sitting_down,
    "squatting": _squatting,
    "walking": _walking,
    "waving": _waving,
}


def _pelvis_over_feet(body: Body, *, thigh: float, shin: float) -> tuple[float, float]:
    """Pelvis above feet that stay on the floor, from how far thighs and shins lean, in degrees."""
    thigh, shin = math.radians(thigh), math.radians(shin)
    height = ANKLE_HEIGHT + body.shin * math.cos(shin) + body.thigh * math.cos(thigh)
    return height, body.shin * math.sin(shin) - body.thigh * math.sin(thigh)


def _height_over(sideways: float, body: Body) -> float:
    """How high a nearly straight leg holds the hip above an ankle this far aside."""
    return math.sqrt((0.995 * (body.thigh + body.shin)) ** 2 - sideways**2)


def _direction(sign: float, forwards: float, outwards: float) -> Floats:
    """Unit vector (3,) from straight down, swung forwards and then away from the body."""
    level = math.cos(outwards)
    return np.array(
        (sign * math.sin(outwards), -level * math.cos(forwards), level * math.sin(forwards))
    )


def _mix(first: float, second: float, weight: float) -> float:
    """The number part of the way from one to another."""
    return first + (second - first) * weight


def _smooth(progress: float) -> float:
    """From 0 to 1 as progress goes from 0 to 1, slow at both ends."""
    return progress * progress * (3 - 2 * progress)
