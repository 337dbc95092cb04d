"""The six actions: from a phase to the joints of a figure, without randomness or pictures.

Lengths, axes and angles are those of `skeleton.py`; a figure stands over the origin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from slowfast_finetune.demo.catalog import ClassName
from slowfast_finetune.demo.skeleton import (
    LEFT,
    RIGHT,
    Body,
    Floats,
    Posture,
    Side,
    Vector,
    assemble,
    unit,
    vector,
)

STANCE = 0.6  # the part of a walking cycle that a foot spends on the floor


@dataclass(frozen=True)
class Manner:
    """How a person performs an action; each action reads what concerns it."""

    effort: float = 1.0  # scales how far the limbs travel
    arms: Literal["hanging", "forward"] = "hanging"  # while sitting down, standing up, squatting
    waving_arms: Literal["left", "right", "both"] = "right"
    stride: float = 0.36  # floor covered by one foot while it stands; 0 marches on the spot
    step_height: float = 0.05


def joint_positions(class_name: ClassName, *, phase: float, body: Body, manner: Manner) -> Floats:
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
    spread = _smooth((1 - math.cos(angle)) / 2)
    hop = math.sin(angle) ** 2  # in the air half-way out and half-way in
    aside = 0.17 * manner.effort * spread
    reach = _height_over(aside, leg=body.leg) - 0.03 * (1 - hop)
    floor = body.ankle_height + 0.055 * manner.effort * hop

    def side(sign: float) -> Side:
        raised = math.radians(12 + 148 * manner.effort * spread)
        bent = math.radians(6 + 16 * math.sin(math.pi * spread)) * spread
        return Side(
            ankle=vector(sign * (body.half_hips + aside), floor, 0.0),
            upper_arm=_direction(sign, forward=0.12, outward=raised),
            forearm=_direction(sign, forward=0.12, outward=raised + bent),
        )

    pelvis = vector(0.0, floor + reach, -0.01)
    return Posture(pelvis, side(LEFT), side(RIGHT), lean=0.05 + 0.06 * (1 - hop))


def _sitting_down(phase: float, body: Body, manner: Manner) -> Posture:
    done = min(max(phase, 0.0), 1.0)
    # Half-way to a constant speed: a clip of the first moments already shows movement.
    progress = _mix(done, _smooth(done), 0.6)
    bow = math.sin(math.pi * progress)
    lean = math.radians(_mix(3, -3, progress) + 38 * manner.effort * bow)
    reach = 0.9 * bow if manner.arms == "forward" else 0.0

    def side(sign: float) -> Side:
        upper = _blend(_hanging(sign), _direction(sign, forward=0.5, outward=0.12), progress)
        lower = _blend(_hanging(sign, bent=0.25), vector(-0.15 * sign, -0.35, 1.0), progress)
        ahead = _direction(sign, forward=1.35, outward=0.1)
        return Side(
            ankle=vector(sign * body.half_hips * 1.15, body.ankle_height, 0.0),
            upper_arm=_blend(upper, ahead, reach),
            forearm=_blend(lower, ahead, reach),
        )

    pelvis = _pelvis_over_feet(
        body, thigh=_mix(6, 87, progress), shin=_mix(6, 1, progress) + 15 * bow
    )
    return Posture(pelvis, side(LEFT), side(RIGHT), lean=lean, nod=-0.35 * lean)


def _squatting(phase: float, body: Body, manner: Manner) -> Posture:
    depth = (1 - math.cos(2 * math.pi * phase)) / 2
    lean = math.radians(_mix(3, 40, depth))
    raised = (1.0 if manner.arms == "forward" else 0.35) * _smooth(depth)

    def side(sign: float) -> Side:
        ahead = _direction(sign, forward=1.5, outward=0.08)
        return Side(
            ankle=vector(sign * body.half_hips * 1.5, body.ankle_height, 0.0),
            upper_arm=_blend(_hanging(sign), ahead, raised),
            forearm=_blend(_hanging(sign, bent=0.25), ahead, raised),
        )

    deepest = 88 * min(manner.effort, 1.05)
    pelvis = _pelvis_over_feet(body, thigh=_mix(6, deepest, depth), shin=_mix(6, 33, depth))
    return Posture(pelvis, side(LEFT), side(RIGHT), lean=lean, nod=-0.6 * lean)


def _walking(phase: float, body: Body, manner: Manner) -> Posture:
    # Lowest as the feet pass the floor from one to the other, highest over a straight leg.
    bob = -0.035 * manner.stride * math.cos(4 * math.pi * phase - 0.6)
    height = body.ankle_height + _height_over(manner.stride * 0.33, leg=body.leg) - 0.002
    swing = manner.effort * (0.35 + 0.6 * manner.stride)

    def side(sign: float, leg_phase: float) -> Side:
        forward, lift = _step(leg_phase % 1.0, manner=manner)
        arm = -swing * math.cos(2 * math.pi * leg_phase)
        return Side(
            ankle=vector(sign * body.half_hips * 0.8, body.ankle_height + lift, forward),
            upper_arm=_direction(sign, forward=arm, outward=0.12),
            forearm=_direction(sign, forward=arm + 0.3 + 0.35 * max(arm, 0.0), outward=0.05),
        )

    pelvis = vector(0.0, height + bob, 0.0)
    return Posture(pelvis, side(LEFT, phase), side(RIGHT, phase + 0.5), lean=0.06, nod=-0.03)


def _waving(phase: float, body: Body, manner: Manner) -> Posture:
    wave = math.sin(2 * math.pi * phase)

    def side(sign: float) -> Side:
        ankle = vector(sign * body.half_hips * 1.2, body.ankle_height, 0.0)
        if manner.waving_arms == ("right" if sign == LEFT else "left"):
            return Side(ankle, _hanging(sign), _hanging(sign, bent=0.2))
        swing = wave * (sign if manner.waving_arms == "both" else 1.0)
        upper = math.radians(118 + 7 * swing)
        lower = math.radians(164 + 42 * manner.effort * swing)
        return Side(
            ankle,
            _direction(sign, forward=-0.15, outward=upper),
            _direction(sign, forward=-0.15, outward=lower),
        )

    pelvis = vector(0.0, body.ankle_height + 0.988 * body.leg, 0.0)
    return Posture(pelvis, side(LEFT), side(RIGHT), lean=0.02)


_POSTURES: dict[ClassName, Callable[[float, Body, Manner], Posture]] = {
    "jumping_jacks": _jumping_jacks,
    "sitting_down": _sitting_down,
    "squatting": _squatting,
    "walking": _walking,
    "waving": _waving,
}


def _pelvis_over_feet(body: Body, *, thigh: float, shin: float) -> Vector:
    """Pelvis above feet that stay on the floor, from how far thighs and shins lean, in degrees."""
    thigh, shin = math.radians(thigh), math.radians(shin)
    height = body.ankle_height + body.shin * math.cos(shin) + body.thigh * math.cos(thigh)
    return vector(0.0, height, body.shin * math.sin(shin) - body.thigh * math.sin(thigh))


def _step(leg_phase: float, *, manner: Manner) -> tuple[float, float]:
    """Where a walking foot is: forwards of the pelvis, and above where it stands."""
    if leg_phase < STANCE:
        return manner.stride * (0.5 - leg_phase / STANCE), 0.0
    done = (leg_phase - STANCE) / (1 - STANCE)
    return manner.stride * (_smooth(done) - 0.5), manner.step_height * math.sin(math.pi * done)


def _direction(sign: float, *, forward: float, outward: float) -> Vector:
    """Unit vector from straight down, swung forwards and lifted away from the body."""
    level = math.cos(outward)
    return vector(sign * math.sin(outward), -level * math.cos(forward), level * math.sin(forward))


def _hanging(sign: float, *, bent: float = 0.0) -> Vector:
    return _direction(sign, forward=0.05 + bent, outward=0.14)


def _height_over(sideways: float, *, leg: float) -> float:
    """How high a nearly straight leg holds the hip above an ankle this far aside."""
    return math.sqrt((0.995 * leg) ** 2 - sideways**2)


def _blend(first: Vector, second: Vector, weight: float) -> Vector:
    """Unit vector part of the way from one direction to another, which must not be opposite."""
    return unit((1 - weight) * first + weight * unit(second))


def _mix(first: float, second: float, weight: float) -> float:
    """The number part of the way from one to another."""
    return first + (second - first) * weight


def _smooth(progress: float) -> float:
    """From 0 to 1 as progress goes from 0 to 1, slow at both ends."""
    return progress * progress * (3 - 2 * progress)
