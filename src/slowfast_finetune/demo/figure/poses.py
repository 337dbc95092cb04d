"""From an action and a phase to the joints of a figure. Pure: no randomness, no pictures.

Lengths, axes and angles are those of `skeleton.py`; a figure stands over the origin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from slowfast_finetune.demo.catalog import ClassName
from slowfast_finetune.demo.figure.skeleton import (
    LEFT,
    RIGHT,
    Body,
    Joints,
    Posture,
    Side,
    assemble,
)
from slowfast_finetune.demo.figure.vectors import (
    Vector,
    blend,
    direction,
    mix,
    smooth,
    unit,
    vector,
)

Arms = Literal["hanging", "forward", "folded"]
WavingArms = Literal["left", "right", "both"]

STANCE = 0.6  # the part of a walking cycle that a foot spends on the floor


@dataclass(frozen=True)
class Manner:
    """How a person performs an action; each action reads what concerns it."""

    effort: float = 1.0  # scales how far the limbs travel
    arms: Arms = "hanging"  # while sitting down, standing up and squatting
    waving_arms: WavingArms = "right"
    stride: float = 0.36  # floor covered by one foot in its stance; 0 marches on the spot
    step_height: float = 0.05


def joint_positions(class_name: ClassName, *, phase: float, body: Body, manner: Manner) -> Joints:
    """Joints of a figure: float64 (17, 3), in body heights.

    The phase counts cycles for the actions that repeat. Sitting down and standing up run
    from 0 to 1 once and hold still outside of it.
    """
    if class_name == "standing_up":
        # Played backwards rather than described a second time, so that nothing but the
        # order of the frames can tell the two apart.
        return joint_positions("sitting_down", phase=1.0 - phase, body=body, manner=manner)
    return assemble(_POSTURES[class_name](phase, body, manner), body=body)


def travel_distance(phase: float, *, manner: Manner) -> float:
    """How far a walker has come by this phase, in body heights: the standing foot stays put."""
    return phase * manner.stride / STANCE


def _jumping_jacks(phase: float, body: Body, manner: Manner) -> Posture:
    angle = 2 * math.pi * phase
    spread = smooth((1 - math.cos(angle)) / 2)
    hop = math.sin(angle) ** 2  # in the air half-way out and half-way in
    crouch = 0.03 * (1 - hop)
    ankle_x = body.half_hips + (0.17 * manner.effort) * spread
    reach = _height_over(ankle_x - body.half_hips, leg=body.leg) - crouch
    floor = body.ankle_height + 0.055 * manner.effort * hop

    def side(sign: float) -> Side:
        raised = math.radians(12 + (148 * manner.effort) * spread)
        bent = math.radians(6 + 16 * math.sin(math.pi * spread))
        return Side(
            ankle=vector(sign * ankle_x, floor, 0.0),
            upper_arm=direction(sign, forward=0.12, outward=raised),
            forearm=direction(sign, forward=0.12, outward=raised + bent * spread),
            foot_pitch=-0.7 * hop,
            toes_out=0.3,
            knee_out=0.35,
        )

    pelvis = vector(0.0, floor + reach, -0.01)
    return Posture(pelvis, side(LEFT), side(RIGHT), lean=0.05 + 0.06 * (1 - hop))


def _sitting_down(phase: float, body: Body, manner: Manner) -> Posture:
    progress = _ease(min(max(phase, 0.0), 1.0))
    bow = math.sin(math.pi * progress)
    thigh = math.radians(mix(6, 87, progress))
    shin = math.radians(mix(6, 1, progress) + 15 * bow)
    lean = math.radians(mix(3, -3, progress) + 38 * manner.effort * bow)
    reach = {"hanging": 0.0, "forward": 0.9, "folded": 0.35}[manner.arms] * bow

    def side(sign: float) -> Side:
        upper = blend(_hanging(sign), direction(sign, forward=0.5, outward=0.12), progress)
        lower = blend(_hanging(sign, bent=0.25), vector(-0.15 * sign, -0.35, 1.0), progress)
        ahead = direction(sign, forward=1.35, outward=0.1)
        return Side(
            ankle=vector(sign * body.half_hips * 1.15, body.ankle_height, 0.0),
            upper_arm=blend(upper, ahead, reach),
            forearm=blend(lower, ahead, reach),
        )

    pelvis = _pelvis_over_feet(thigh=thigh, shin=shin, body=body)
    return Posture(pelvis, side(LEFT), side(RIGHT), lean=lean, nod=-0.35 * lean)


def _squatting(phase: float, body: Body, manner: Manner) -> Posture:
    depth = (1 - math.cos(2 * math.pi * phase)) / 2
    thigh = math.radians(mix(6, 88 * min(manner.effort, 1.05), depth))
    shin = math.radians(mix(6, 33, depth))
    lean = math.radians(mix(3, 40, depth))
    raised = {"hanging": 0.35, "forward": 1.0, "folded": 1.0}[manner.arms] * smooth(depth)

    def side(sign: float) -> Side:
        upper, lower = _squat_arm(sign, manner.arms)
        return Side(
            ankle=vector(sign * body.half_hips * 1.5, body.ankle_height, 0.0),
            upper_arm=blend(_hanging(sign), upper, raised),
            forearm=blend(_hanging(sign, bent=0.25), lower, raised),
            toes_out=0.4,
            knee_out=0.35,
        )

    pelvis = _pelvis_over_feet(thigh=thigh, shin=shin, body=body)
    return Posture(pelvis, side(LEFT), side(RIGHT), lean=lean, nod=-0.6 * lean)


def _walking(phase: float, body: Body, manner: Manner) -> Posture:
    angle = 2 * math.pi * phase
    # Lowest as the feet pass the floor from one to the other, highest over a straight leg.
    bob = -0.035 * manner.stride * math.cos(2 * (angle - 0.3))
    height = body.ankle_height + _height_over(manner.stride * 0.33, leg=body.leg) - 0.002
    swing = 0.35 + 0.6 * manner.stride

    def side(sign: float, leg_phase: float) -> Side:
        forward, lift, pitch = _step(leg_phase % 1.0, manner=manner)
        arm = -swing * manner.effort * math.cos(2 * math.pi * leg_phase)
        return Side(
            ankle=vector(sign * body.half_hips * 0.8, body.ankle_height + lift, forward),
            upper_arm=direction(sign, forward=arm, outward=0.12),
            forearm=direction(sign, forward=arm + 0.3 + 0.35 * max(arm, 0.0), outward=0.05),
            foot_pitch=pitch,
            toes_out=0.08,
            knee_out=0.03,
        )

    pelvis = vector(0.008 * math.sin(angle), height + bob, 0.0)
    left, right = side(LEFT, phase), side(RIGHT, phase + 0.5)
    return Posture(pelvis, left, right, lean=0.06, twist=0.16 * math.cos(angle), nod=-0.03)


def _waving(phase: float, body: Body, manner: Manner) -> Posture:
    wave = math.sin(2 * math.pi * phase)
    sway = {"left": -1.0, "right": 1.0, "both": 0.4 * wave}[manner.waving_arms]
    pelvis = vector(0.012 * sway, body.ankle_height + 0.988 * body.leg, 0.0)

    def side(sign: float) -> Side:
        ankle = vector(sign * body.half_hips * 1.2, body.ankle_height, 0.0)
        if manner.waving_arms == ("right" if sign == LEFT else "left"):
            rest = _hanging(sign, bent=0.2)
            return Side(ankle=ankle, upper_arm=_hanging(sign), forearm=rest)
        swing = wave * (sign if manner.waving_arms == "both" else 1.0)
        return Side(
            ankle=ankle,
            upper_arm=direction(sign, forward=-0.15, outward=math.radians(118 + 7 * swing)),
            forearm=direction(
                sign, forward=-0.15, outward=math.radians(164 + 42 * manner.effort * swing)
            ),
        )

    tilt = 0.03 * sway + 0.012 * wave
    return Posture(pelvis, side(LEFT), side(RIGHT), lean=0.02, tilt=tilt)


_POSTURES: dict[ClassName, Callable[[float, Body, Manner], Posture]] = {
    "jumping_jacks": _jumping_jacks,
    "sitting_down": _sitting_down,
    "squatting": _squatting,
    "walking": _walking,
    "waving": _waving,
}


def _pelvis_over_feet(*, thigh: float, shin: float, body: Body) -> Vector:
    """Pelvis above feet that stay on the floor, from how far shins and thighs lean."""
    height = body.ankle_height + body.shin * math.cos(shin) + body.thigh * math.cos(thigh)
    return vector(0.0, height, body.shin * math.sin(shin) - body.thigh * math.sin(thigh))


def _step(leg_phase: float, *, manner: Manner) -> tuple[float, float, float]:
    """Where a walking foot is: forwards of the pelvis, above the floor, and its pitch."""
    briskness = manner.stride / 0.36
    strike, push = 0.3 * briskness, -0.25 - 0.4 * briskness
    heel = 0.012 + 0.035 * briskness  # how high the heel has come when the foot leaves
    if leg_phase < STANCE:
        done = leg_phase / STANCE
        leaving = smooth(max(done - 0.65, 0.0) / 0.35)
        landing = 1 - min(done / 0.2, 1.0)
        return manner.stride * (0.5 - done), heel * leaving, strike * landing + push * leaving
    done = (leg_phase - STANCE) / (1 - STANCE)
    lift = manner.step_height * math.sin(math.pi * done) + heel * (1 - smooth(done))
    return manner.stride * (smooth(done) - 0.5), lift, mix(push, strike, smooth(done))


def _squat_arm(sign: float, arms: Arms) -> tuple[Vector, Vector]:
    """Where upper arm and forearm point at the bottom of a squat."""
    if arms == "folded":  # hands together before the chest
        return direction(sign, forward=0.9, outward=0.25), unit(vector(-0.6 * sign, 0.6, 0.5))
    ahead = direction(sign, forward=1.5, outward=0.08)
    return ahead, ahead


def _hanging(sign: float, *, bent: float = 0.0) -> Vector:
    return direction(sign, forward=0.05 + bent, outward=0.14)


def _height_over(sideways: float, *, leg: float) -> float:
    """How high a nearly straight leg holds the hip above an ankle this far aside."""
    return math.sqrt((0.995 * leg) ** 2 - sideways**2)


def _ease(progress: float) -> float:
    # Half-way to a constant speed: a clip of the first moments already shows movement.
    return mix(progress, smooth(progress), 0.6)
