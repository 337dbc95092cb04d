"""What happens in one video, before any picture: how long, how fast, seen from where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from slowfast_finetune.demo.catalog import ClassName
from slowfast_finetune.demo.figure.poses import Manner, joint_positions, travel_distance
from slowfast_finetune.demo.figure.skeleton import Body
from slowfast_finetune.demo.randomness import chance, choose
from slowfast_finetune.demo.scene.camera import Floats, face

FRAME_RATES: tuple[Fraction, ...] = (
    Fraction(15),
    Fraction(24),
    Fraction(25),
    Fraction(30_000, 1001),
    Fraction(30),
    Fraction(50),
    Fraction(60),
)
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
    """One action, performed: a phase and a distance walked for each frame."""

    class_name: ClassName
    frame_rate: Fraction  # frames per second
    phases: tuple[float, ...]
    manner: Manner
    yaw_radians: float

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return len(self.phases)

    def joints(self, body: Body) -> Floats:
        """Joints in the world: float64 (num_frames, 17, 3), in body heights."""
        poses = [
            joint_positions(self.class_name, phase=phase, body=body, manner=self.manner)
            for phase in self.phases
        ]
        return face(np.stack(poses), yaw_radians=self.yaw_radians)

    def travel(self) -> Floats:
        """What to add to the joints of each frame for a walker: float64 (num_frames, 3)."""
        ahead = np.zeros((self.num_frames, 3))
        if self.class_name == "walking":
            ahead[:, 2] = [travel_distance(phase, manner=self.manner) for phase in self.phases]
            ahead[:, 2] -= ahead[0, 2]
        return face(ahead, yaw_radians=self.yaw_radians)


def rehearse(class_name: ClassName, *, rng: np.random.Generator) -> Performance:
    """A random performance of an action.

    Sitting down and standing up draw the same numbers, and standing up reverses them.
    """
    frame_rate = choose(FRAME_RATES, rng=rng)
    num_frames = round(_random_seconds(rng) * frame_rate)
    manner = _random_manner(rng)
    yaw = math.radians(rng.uniform(*YAW_DEGREES[class_name])) * choose((-1, 1), rng=rng)
    if class_name in CYCLE_SECONDS:
        phases = _cycling(class_name, num_frames=num_frames, frame_rate=frame_rate, rng=rng)
    else:
        phases = _moving_once(num_frames, rng=rng)
    if class_name == "standing_up":
        phases = [1.0 - phase for phase in reversed(phases)]
    return Performance(class_name, frame_rate, tuple(phases), manner, yaw)


def _random_seconds(rng: np.random.Generator) -> float:
    # A few are shorter than one clip of 16 frames at 12 frames per second.
    if chance(0.15, rng=rng):
        return float(rng.uniform(0.6, 1.25))
    return float(rng.triangular(1.3, 1.7, 3.2))


def _random_manner(rng: np.random.Generator) -> Manner:
    on_the_spot = chance(0.35, rng=rng)
    return Manner(
        effort=rng.uniform(0.85, 1.08),
        arms=choose(("hanging", "hanging", "forward", "folded"), rng=rng),
        waving_arms=choose(("left", "right", "both"), rng=rng),
        stride=0.0 if on_the_spot else rng.uniform(0.30, 0.40),
        step_height=rng.uniform(0.10, 0.15) if on_the_spot else rng.uniform(0.03, 0.06),
    )


def _cycling(
    class_name: ClassName,
    *,
    num_frames: int,
    frame_rate: Fraction,
    rng: np.random.Generator,
) -> list[float]:
    """Phases that go round and round, never quite evenly; even a short video shows a cycle."""
    seconds = num_frames / float(frame_rate)
    cycles_per_second = 1 / min(rng.uniform(*CYCLE_SECONDS[class_name]), seconds)
    start, wobble = rng.random(), rng.random()
    times = np.arange(num_frames) / float(frame_rate)
    uneven = 0.03 * np.sin(2 * math.pi * (0.6 * times + wobble))
    return [float(phase) for phase in start + cycles_per_second * times + uneven]


def _moving_once(num_frames: int, *, rng: np.random.Generator) -> list[float]:
    """Phases from 0 to 1, held before and after for times drawn alike.

    The holds are short, so that a clip cut from anywhere shows some of the movement.
    """
    before, after = rng.uniform(0.0, 0.1, size=2)
    progress = np.linspace(0.0, 1.0, num_frames)
    moving = (progress - before) / (1 - before - after)
    return [float(phase) for phase in np.clip(moving, 0.0, 1.0)]
