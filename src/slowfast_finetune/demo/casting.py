"""Who a person is: the lengths of their bones, their build, their clothes and colours."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from slowfast_finetune.demo.randomness import choose
from slowfast_finetune.demo.skeleton import Body

Colour = tuple[int, int, int]  # red, green, blue, each 0 to 255

SKIN_COLOURS: tuple[Colour, ...] = (
    (255, 219, 188),
    (240, 190, 148),
    (214, 155, 110),
    (170, 112, 75),
    (118, 76, 52),
)
HAIR_COLOURS: tuple[Colour, ...] = ((38, 30, 30), (112, 70, 38), (222, 178, 96), (206, 206, 204))


@dataclass(frozen=True)
class Person:
    """A body and what it looks like, in every video of the person."""

    body: Body
    build: float  # 1 is usual; thin is less, stout is more
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    long_sleeves: bool
    long_trousers: bool


def cast_person(*, rng: np.random.Generator) -> Person:
    """A random person."""
    skin = choose(SKIN_COLOURS, rng=rng)
    return Person(
        body=_random_body(rng),
        build=rng.uniform(0.85, 1.2),
        skin=skin,
        # Hair of the colour of the skin would leave no face to see.
        hair=choose([c for c in HAIR_COLOURS if abs(sum(c) - sum(skin)) > 75], rng=rng),
        shirt=hsv(rng.random(), rng.uniform(0.45, 0.75), rng.uniform(0.7, 0.95)),
        trousers=hsv(rng.random(), rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.65)),
        shoes=choose(((52, 52, 60), (236, 236, 236), (190, 70, 60)), rng=rng),
        long_sleeves=bool(rng.random() < 0.4),
        long_trousers=bool(rng.random() < 0.6),
    )


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue (whole turns, any number), saturation and value (0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def darker(colour: Colour, factor: float) -> Colour:
    """The colour with its brightness multiplied, from 0 (black) to 1 (as it is)."""
    red, green, blue = colour
    return round(factor * red), round(factor * green), round(factor * blue)


def _random_body(rng: np.random.Generator) -> Body:
    legs, arms = rng.uniform(0.92, 1.08, size=2)
    return Body(
        thigh=0.235 * legs,
        shin=0.220 * legs,
        torso=rng.uniform(0.255, 0.290),
        upper_arm=0.165 * arms,
        forearm=0.150 * arms,
        half_shoulders=rng.uniform(0.090, 0.120),
        half_hips=rng.uniform(0.052, 0.070),
    )
