"""Who a person is: the lengths of their bones, their colours and their clothes."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from slowfast_finetune.demo.figure.skeleton import Body
from slowfast_finetune.demo.randomness import chance, choose

Colour = tuple[int, int, int]  # red, green, blue, each 0 to 255
Hair = Literal["short", "bun", "long", "ponytail", "curly", "cap", "bald"]
Sleeves = Literal["none", "short", "long"]
Legwear = Literal["trousers", "shorts", "skirt"]

HAIR: tuple[Hair, ...] = ("short", "short", "bun", "long", "ponytail", "curly", "cap", "bald")
BEARDED: tuple[Hair, ...] = ("short", "cap", "bald")

SKIN_COLOURS: tuple[Colour, ...] = (
    (255, 219, 188),
    (246, 200, 160),
    (232, 180, 136),
    (214, 155, 110),
    (186, 124, 82),
    (154, 102, 68),
    (130, 84, 56),
    (112, 72, 50),
)
HAIR_COLOURS: tuple[Colour, ...] = (
    (38, 30, 30),
    (66, 44, 32),
    (112, 70, 38),
    (168, 84, 40),
    (222, 178, 96),
    (176, 172, 170),
    (236, 232, 226),
)
DYED_COLOURS: tuple[Colour, ...] = ((206, 74, 110), (66, 110, 190), (70, 160, 120))


@dataclass(frozen=True)
class Look:
    """What a person looks like in every video; radii are in body heights."""

    skin: Colour
    hair_colour: Colour
    shirt: Colour
    trim: Colour  # of the stripes and the cap
    legwear_colour: Colour
    shoes: Colour
    hair: Hair
    sleeves: Sleeves
    legwear: Legwear
    stripes: int
    bearded: bool
    head_radius: float
    torso_radius: float
    arm_radius: float
    leg_radius: float


@dataclass(frozen=True)
class Person:
    """A body and its look."""

    body: Body
    look: Look


def cast_person(*, rng: np.random.Generator) -> Person:
    """A random person."""
    return Person(_random_body(rng), _random_look(rng))


def _random_body(rng: np.random.Generator) -> Body:
    legs, arms = rng.uniform(0.92, 1.08), rng.uniform(0.92, 1.08)
    return Body(
        thigh=0.235 * legs * rng.uniform(0.97, 1.03),
        shin=0.220 * legs * rng.uniform(0.97, 1.03),
        foot=rng.uniform(0.105, 0.125),
        torso=rng.uniform(0.255, 0.290),
        neck=rng.uniform(0.120, 0.135),
        upper_arm=0.165 * arms,
        forearm=0.150 * arms,
        half_shoulders=rng.uniform(0.090, 0.120),
        half_hips=rng.uniform(0.052, 0.070),
    )


def _random_look(rng: np.random.Generator) -> Look:
    build = rng.uniform(0.82, 1.25)  # from thin to stout
    shirt_hue, legwear_hue = rng.random(), rng.random()
    skin = choose(SKIN_COLOURS, rng=rng)
    # Hair as dark as the skin would leave no face to see.
    natural = [colour for colour in HAIR_COLOURS if abs(sum(colour) - sum(skin)) > 75]
    dyed = chance(0.2, rng=rng)
    hair = choose(HAIR, rng=rng)
    return Look(
        skin=skin,
        hair_colour=choose(DYED_COLOURS if dyed else natural, rng=rng),
        shirt=hsv(shirt_hue, rng.uniform(0.55, 0.9), rng.uniform(0.7, 0.98)),
        trim=choose(((250, 248, 240), hsv(shirt_hue + 0.5, 0.7, 0.9), (44, 48, 66)), rng=rng),
        legwear_colour=hsv(legwear_hue, rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.7)),
        shoes=choose(((40, 40, 48), (236, 236, 236), (190, 50, 50), (250, 190, 60)), rng=rng),
        hair=hair,
        sleeves=choose(("none", "short", "short", "long"), rng=rng),
        legwear=choose(("trousers", "trousers", "shorts", "skirt"), rng=rng),
        stripes=choose((0, 0, 1, 2, 3), rng=rng),
        bearded=hair in BEARDED and not dyed and chance(0.4, rng=rng),
        head_radius=rng.uniform(0.080, 0.096),
        torso_radius=0.056 * build,
        arm_radius=0.027 * build,
        leg_radius=0.039 * build,
    )


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue (whole turns, any number), saturation and value (0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (below 1) or lighter (above 1, towards white)."""
    if factor <= 1:
        return _rounded(factor * channel for channel in colour)
    return _rounded(255 - (255 - channel) / factor for channel in colour)


def _rounded(channels: Iterable[float]) -> Colour:
    red, green, blue = channels
    return round(red), round(green), round(blue)
