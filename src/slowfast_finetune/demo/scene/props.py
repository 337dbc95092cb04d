"""The things in a backdrop: windows, plants, trees and the like. `x` is where, in pixels."""

from __future__ import annotations

import math

import numpy as np

from slowfast_finetune.demo.figure.casting import Colour, hsv, shade
from slowfast_finetune.demo.randomness import chance, choose
from slowfast_finetune.demo.scene.canvas import Box, Canvas, around


def paint_window(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    """A window with daylight or night behind it."""
    unit, draw = canvas.unit, canvas.draw
    wide, high = rng.uniform(0.16, 0.26) * unit, rng.uniform(0.3, 0.5) * unit
    bottom = canvas.horizon - rng.uniform(0.3, 0.5) * unit
    sky = hsv(rng.uniform(0.5, 0.65), rng.uniform(0.1, 0.5), choose((0.35, 0.9, 1.0), rng=rng))
    frame = choose(((245, 245, 240), (120, 84, 56), (70, 74, 84)), rng=rng)
    edge = 0.02 * unit
    box = (x - wide, bottom - high, x + wide, bottom)
    draw.rectangle(_grown(box, edge), fill=frame)
    draw.rectangle(box, fill=sky)
    draw.rectangle((x - wide, bottom - 0.3 * high, x + wide, bottom), fill=shade(sky, 0.8))
    draw.line((x, bottom - high, x, bottom), fill=frame, width=round(edge))
    draw.line(
        (x - wide, bottom - high / 2, x + wide, bottom - high / 2), fill=frame, width=round(edge)
    )


def paint_picture(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    """A framed picture on the wall."""
    unit, draw = canvas.unit, canvas.draw
    wide, high = rng.uniform(0.07, 0.15) * unit, rng.uniform(0.07, 0.15) * unit
    y = canvas.horizon - rng.uniform(0.55, 0.85) * unit
    box = (x - wide, y - high, x + wide, y + high)
    paper = hsv(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.6, 0.95))
    draw.rectangle(_grown(box, 0.02 * unit), fill=(70, 52, 40))
    draw.rectangle(box, fill=paper)
    draw.ellipse(around((x, y), 0.6 * min(wide, high)), fill=hsv(rng.random(), 0.5, 0.8))


def paint_shelf(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    """A shelf of books on the wall."""
    unit, draw = canvas.unit, canvas.draw
    wide, y = rng.uniform(0.15, 0.3) * unit, canvas.horizon - rng.uniform(0.55, 0.8) * unit
    left = x - wide
    while left < x + wide - 0.05 * unit:
        thick, high = rng.uniform(0.025, 0.06) * unit, rng.uniform(0.1, 0.18) * unit
        book = hsv(rng.random(), rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.85))
        draw.rectangle((left, y - high, left + thick, y), fill=book)
        left += thick + (0.04 * unit if chance(0.2, rng=rng) else 2)
    draw.rectangle((x - wide, y, x + wide, y + 0.025 * unit), fill=(110, 76, 50))


def paint_plant(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    """A plant in a pot at the wall."""
    unit, draw = canvas.unit, canvas.draw
    foot = canvas.horizon + 0.04 * unit
    green = hsv(rng.uniform(0.25, 0.42), rng.uniform(0.4, 0.7), rng.uniform(0.35, 0.65))
    high = rng.uniform(0.2, 0.45) * unit
    for turn in np.linspace(-0.9, 0.9, 7):
        tip = (x + high * math.sin(turn), foot - 0.14 * unit - high * math.cos(turn))
        draw.line((x, foot - 0.12 * unit, *tip), fill=green, width=round(0.02 * unit))
        draw.ellipse(around(tip, 0.045 * unit), fill=shade(green, 1.15))
    pot = [(x - 0.08, 0.15), (x + 0.08, 0.15), (x + 0.055, 0.0), (x - 0.055, 0.0)]
    corners = [(x + (px - x) * unit, foot - up * unit) for px, up in pot]
    draw.polygon(corners, fill=choose(((190, 98, 62), (230, 226, 216), (86, 96, 120)), rng=rng))


def paint_lamp(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    """A standing lamp at the wall."""
    unit, draw = canvas.unit, canvas.draw
    foot, top = canvas.horizon + 0.04 * unit, canvas.horizon - rng.uniform(0.7, 0.95) * unit
    draw.line((x, foot, x, top), fill=(60, 56, 60), width=round(0.018 * unit))
    draw.ellipse((x - 0.08 * unit, foot - 0.02 * unit, x + 0.08 * unit, foot), fill=(60, 56, 60))
    shape = [(x - 0.06 * unit, top - 0.14 * unit), (x + 0.06 * unit, top - 0.14 * unit)]
    shape += [(x + 0.12 * unit, top + 0.04 * unit), (x - 0.12 * unit, top + 0.04 * unit)]
    draw.polygon(shape, fill=hsv(rng.uniform(0.08, 0.16), rng.uniform(0.2, 0.6), 0.95))


def paint_ball(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    """A ball at the wall."""
    radius = rng.uniform(0.06, 0.11) * canvas.unit
    centre = (x, canvas.horizon + 0.05 * canvas.unit - radius)
    colour = hsv(rng.random(), rng.uniform(0.4, 0.8), rng.uniform(0.5, 0.95))
    canvas.draw.ellipse(around(centre, radius), fill=colour)
    shine = (centre[0] - 0.3 * radius, centre[1] - 0.3 * radius)
    canvas.draw.ellipse(around(shine, 0.3 * radius), fill=shade(colour, 1.8))


def paint_rug(canvas: Canvas, rng: np.random.Generator) -> None:
    """A rug under the figure."""
    x, y = rng.uniform(0.3, 0.7) * canvas.width, canvas.floor_y
    wide, high = rng.uniform(0.5, 0.8) * canvas.unit, rng.uniform(0.06, 0.1) * canvas.unit
    colour = hsv(rng.random(), rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.8))
    canvas.draw.ellipse((x - wide, y - high, x + wide, y + high), fill=colour)
    inner = (x - 0.85 * wide, y - 0.8 * high, x + 0.85 * wide, y + 0.8 * high)
    canvas.draw.ellipse(inner, outline=shade(colour, 1.5), width=4)


def paint_cloud(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    """A cloud of a few puffs."""
    y = canvas.horizon - rng.uniform(0.55, 1.0) * canvas.unit
    for _ in range(4):
        puff = (x + rng.normal(0, 0.1) * canvas.unit, y + rng.normal(0, 0.02) * canvas.unit)
        canvas.draw.ellipse(around(puff, rng.uniform(0.04, 0.09) * canvas.unit), fill="#f4f6f8")


def paint_tree(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    """A tree, round or pointed."""
    unit, draw = canvas.unit, canvas.draw
    foot, high = canvas.horizon + 0.03 * unit, rng.uniform(0.4, 0.8) * unit
    leaf = hsv(rng.uniform(0.2, 0.42), rng.uniform(0.4, 0.7), rng.uniform(0.3, 0.6))
    draw.line((x, foot, x, foot - high), fill=(104, 74, 50), width=round(0.05 * unit))
    if chance(0.4, rng=rng):
        for layer in (0.3, 0.55, 0.8):
            wide, low = (0.3 - 0.2 * layer) * unit, foot - layer * high
            draw.polygon(((x - wide, low), (x + wide, low), (x, low - 0.4 * high)), fill=leaf)
        return
    for _ in range(5):
        tuft = (x + rng.normal(0, 0.08) * unit, foot - high + rng.normal(0, 0.06) * unit)
        draw.ellipse(around(tuft, rng.uniform(0.1, 0.16) * unit), fill=leaf)


def paint_blob(canvas: Canvas, x: float, colour: Colour, rng: np.random.Generator) -> None:
    """A regular polygon or disc on the wall."""
    y, radius = rng.uniform(0, canvas.horizon), rng.uniform(0.05, 0.2) * canvas.unit
    ink = shade(colour, choose((0.8, 1.4), rng=rng))
    corners = int(rng.integers(3, 8))
    if corners == 7:
        canvas.draw.ellipse(around((x, y), radius), fill=ink)
    else:
        turn = rng.uniform(0, 360)
        canvas.draw.regular_polygon((x, y, radius), corners, rotation=turn, fill=ink)


def _grown(box: Box, edge: float) -> Box:
    return box[0] - edge, box[1] - edge, box[2] + edge, box[3] + edge
