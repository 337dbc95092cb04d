"""What happens in one video, before any picture: how long, how fast, seen from where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from slowfast_finetune.demo.actions import Manner, joint_positions, travel_distance
from slowfast_finetune.demo.catalog import ClassName
from slowfast_finetune.demo.randomness import choose
from slowfast_finetune.demo.skeleton import Body, Floats, face

FRAME_RATES = tuple(Fraction(rate) for rate in (12, 15, 24, 25, Fraction(30_000, 1001), 50))
# Seconds that one cycle of a repeated action takes, from brisk to leisurely.
CYCLE_SECONDS: dict[ClassName, tuple[float, float]] = {
    "jumping_jacks": (0.8, 1.25),
    "squatting": (1.0, 1.8),
    "walking": (0.9, 1.3),
    "waving": (0.45, 0.85),
}
# How far the figure turns away from the viewer, in degrees: the view that tells most.
YAW_DEGREES: dict[ClassName, tuple[float, float]] = {
    "jumping_jacks": (0, 25),
    "sitting_down": (42, 78),
    "squatting": (35, 78),
    "standing_up": (42, 78),
    "walking": (70, 90),
    "waving": (0, 30),
}


@dataclass(frozen=True)
class Performance:
    """One action, performed: one phase for each frame."""

    class_name: ClassName
    frame_rate: Fraction  # frames per second
    phases: tuple[float, ...]
    manner: Manner
    yaw: float  # radians that the figure turns away from the viewer

    def joints(self, body: Body) -> Floats:
        """Joints of a figure that stays over the origin: float64 (num_frames, 17, 3)."""
        poses = [
            joint_positions(self.class_name, phase=phase, body=body, manner=self.manner)
            for phase in self.phases
        ]
        return face(np.stack(poses), yaw=self.yaw)

    def travel(self) -> Floats:
        """What a walker has walked by each frame: float64 (num_frames, 3), otherwise zeros."""
        ahead = np.zeros((len(self.phases), 3))
        if self.class_name == "walking":
            ahead[:, 2] = [travel_distance(phase, manner=self.manner) for phase in self.phases]
        return face(ahead - ahead[0], yaw=self.yaw)


def rehearse(class_name: ClassName, *, rng: np.random.Generator) -> Performance:
    """A random performance of an action.

    Sitting down and standing up draw the same numbers, and standing up reverses them.
    """
    frame_rate = choose(FRAME_RATES, rng=rng)
    # A few videos are shorter than one clip of 16 frames at 10 frames per second.
    short = bool(rng.random() < 0.15)
    seconds = rng.uniform(0.6, 1.25) if short else rng.triangular(1.3, 1.7, 3.2)
    num_frames = round(seconds * frame_rate)
    manner = _random_manner(rng)
    yaw = math.radians(rng.uniform(*YAW_DEGREES[class_name])) * choose((-1, 1), rng=rng)
    if class_name in CYCLE_SECONDS:
        cycle_seconds = min(rng.uniform(*CYCLE_SECONDS[class_name]), seconds)
        phases = _cycling(np.arange(num_frames) / float(frame_rate), cycle_seconds, rng=rng)
    else:
        phases = _moving_once(num_frames, rng=rng)
    if class_name == "standing_up":
        phases = 1.0 - phases[::-1]
    return Performance(class_name, frame_rate, tuple(phases.tolist()), manner, yaw)


def _random_manner(rng: np.random.Generator) -> Manner:
    on_the_spot = bool(rng.random() < 0.35)
    return Manner(
        effort=rng.uniform(0.85, 1.08),
        arms=choose(("hanging", "forward"), rng=rng),
        waving_arms=choose(("left", "right", "both"), rng=rng),
        stride=0.0 if on_the_spot else rng.uniform(0.30, 0.40),
        step_height=rng.uniform(0.10, 0.15) if on_the_spot else rng.uniform(0.03, 0.06),
    )


def _cycling(times: Floats, cycle_seconds: float, *, rng: np.random.Generator) -> Floats:
    """Phases that go round and round, never quite evenly; even a short video shows a cycle."""
    start, wobble = rng.random(size=2)
    uneven = 0.03 * np.sin(2 * math.pi * (0.6 * times + wobble))
    phases: Floats = start + times / cycle_seconds + uneven
    return phases


def _moving_once(num_frames: int, *, rng: np.random.Generator) -> Floats:
    """Phases from 0 to 1, held before and after for times drawn alike.

    The holds are short, so that a clip cut from anywhere shows some of the movement.
    """
    before, after = rng.uniform(0.0, 0.1, size=2)
    progress = np.linspace(0.0, 1.0, num_frames)
    phases: Floats = np.clip((progress - before) / (1 - before - after), 0.0, 1.0)
    return phases
