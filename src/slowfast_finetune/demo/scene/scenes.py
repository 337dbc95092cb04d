"""Backdrops: rooms, gardens and studios, painted once for each video."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from slowfast_finetune.demo.figure.casting import Colour, hsv, shade
from slowfast_finetune.demo.randomness import chance, choose
from slowfast_finetune.demo.scene.canvas import Canvas, around, paint_gradient, places
from slowfast_finetune.demo.scene.props import (
    paint_ball,
    paint_blob,
    paint_cloud,
    paint_lamp,
    paint_picture,
    paint_plant,
    paint_rug,
    paint_shelf,
    paint_tree,
    paint_window,
)


def paint_scene(
    size: tuple[int, int],
    *,
    unit: float,
    floor_y: float,
    pitch_radians: float,
    rng: np.random.Generator,
) -> Image.Image:
    """A random backdrop of a size (width, height) in pixels, seen level."""
    picture = Image.new("RGB", size)
    depth = rng.uniform(0.6, 1.6) * unit  # of the floor behind the figure
    horizon = floor_y - depth * math.sin(pitch_radians)
    canvas = Canvas(picture, ImageDraw.Draw(picture), unit, horizon, floor_y)
    paint = choose((_paint_room, _paint_room, _paint_garden, _paint_studio), rng=rng)
    paint(canvas, rng)
    return _textured(picture, rng=rng)


def _paint_room(canvas: Canvas, rng: np.random.Generator) -> None:
    wall = hsv(rng.random(), rng.uniform(0.08, 0.4), choose((0.35, 0.6, 0.75, 0.9, 0.95), rng=rng))
    paint_gradient(canvas, (0, canvas.horizon), shade(wall, 1.15), shade(wall, 0.9))
    _paint_wallpaper(canvas, wall, rng)
    for place in places(canvas, apart=0.85, rng=rng):
        item = choose((paint_window, paint_picture, paint_shelf, None), rng=rng)
        if item is not None:
            item(canvas, place, rng)
    _paint_floor(canvas, rng)
    canvas.draw.rectangle(
        (0, canvas.horizon - 0.03 * canvas.unit, canvas.width, canvas.horizon),
        fill=shade(wall, choose((0.6, 1.5), rng=rng)),
    )
    for place in places(canvas, apart=1.1, rng=rng):
        item = choose((paint_plant, paint_lamp, paint_ball, None, None), rng=rng)
        if item is not None:
            item(canvas, place, rng)
    if chance(0.35, rng=rng):
        paint_rug(canvas, rng)


def _paint_garden(canvas: Canvas, rng: np.random.Generator) -> None:
    sky = hsv(rng.uniform(0.52, 0.62), rng.uniform(0.15, 0.5), rng.uniform(0.75, 1.0))
    dusk = choose((sky, shade(sky, 1.8), (255, 214, 170)), rng=rng)
    paint_gradient(canvas, (0, canvas.horizon), sky, dusk)
    unit, draw = canvas.unit, canvas.draw
    if chance(0.5, rng=rng):
        sun = (rng.uniform(0, canvas.width), canvas.horizon - rng.uniform(0.5, 0.9) * unit)
        draw.ellipse(around(sun, 0.09 * unit), fill=(255, 240, 170))
    for place in places(canvas, apart=0.7, rng=rng):
        paint_cloud(canvas, place, rng)
    hills = hsv(rng.uniform(0.2, 0.45), rng.uniform(0.2, 0.45), rng.uniform(0.5, 0.75))
    for place in places(canvas, apart=0.6, rng=rng):
        wide, high = rng.uniform(0.4, 0.9) * unit, rng.uniform(0.1, 0.35) * unit
        low = canvas.horizon
        draw.ellipse((place - wide, low - high, place + wide, low + high), fill=hills)
    for place in places(canvas, apart=0.8, rng=rng):
        if chance(0.6, rng=rng):
            paint_tree(canvas, place, rng)
    grass = hsv(rng.uniform(0.2, 0.36), rng.uniform(0.35, 0.6), rng.uniform(0.5, 0.8))
    below = (canvas.horizon, canvas.height)
    paint_gradient(canvas, below, shade(grass, 0.85), shade(grass, 1.1))


def _paint_studio(canvas: Canvas, rng: np.random.Generator) -> None:
    hue, strength = rng.random(), rng.uniform(0.1, 0.45)
    light = choose((0.3, 0.5, 0.75, 0.9), rng=rng)
    upper, lower = hsv(hue, strength, light), hsv(hue + 0.08, strength, min(light + 0.2, 1.0))
    middle = canvas.horizon
    paint_gradient(canvas, (0, middle), upper, lower)
    paint_gradient(canvas, (middle, canvas.height), lower, shade(lower, 0.8))
    for place in places(canvas, apart=0.45, rng=rng):
        if chance(0.55, rng=rng):
            paint_blob(canvas, place, hsv(hue + rng.uniform(-0.2, 0.2), strength, light), rng)


def _paint_wallpaper(canvas: Canvas, wall: Colour, rng: np.random.Generator) -> None:
    style = choose(("plain", "plain", "stripes", "dots", "bricks", "panels"), rng=rng)
    ink = shade(wall, choose((0.88, 1.3), rng=rng))
    step = rng.uniform(0.08, 0.2) * canvas.unit
    bottom = canvas.horizon
    if style == "stripes":
        for x in np.arange(0, canvas.width, 2 * step):
            canvas.draw.rectangle((x, 0, x + step, bottom), fill=ink)
    elif style == "panels":
        for x in np.arange(0, canvas.width, 3 * step):
            canvas.draw.line((x, 0, x, bottom), fill=ink, width=4)
    elif style == "dots":
        for row, y in enumerate(np.arange(0, bottom, step)):
            for x in np.arange((row % 2) * step, canvas.width, 2 * step):
                canvas.draw.ellipse(around((x, y), 0.16 * step), fill=ink)
    elif style == "bricks":
        for row, y in enumerate(np.arange(0, bottom, step * 0.6)):
            canvas.draw.line((0, y, canvas.width, y), fill=ink, width=2)
            for x in np.arange((row % 2) * 0.75 * step, canvas.width, 1.5 * step):
                canvas.draw.line((x, y, x, y + step * 0.6), fill=ink, width=2)


def _paint_floor(canvas: Canvas, rng: np.random.Generator) -> None:
    wood = hsv(rng.uniform(0.04, 0.12), rng.uniform(0.25, 0.6), rng.uniform(0.4, 0.8))
    tile = hsv(rng.random(), rng.uniform(0.02, 0.2), rng.uniform(0.45, 0.85))
    style = choose(("planks", "plain", "tiles"), rng=rng)
    floor = wood if style == "planks" else tile
    paint_gradient(canvas, (canvas.horizon, canvas.height), shade(floor, 0.86), shade(floor, 1.1))
    ink = shade(floor, 0.78)
    heights = np.arange(canvas.horizon, canvas.height, 0.055 * canvas.unit)
    if style == "plain":
        return
    for row, y in enumerate(heights):
        canvas.draw.line((0, y, canvas.width, y), fill=ink, width=2)
        gap = (0.8 if style == "planks" else 0.3) * canvas.unit
        for x in np.arange((row * 0.37 % 1.0 if style == "planks" else 0) * gap, canvas.width, gap):
            canvas.draw.line((x, y, x, y + 0.055 * canvas.unit), fill=ink, width=2)


def _textured(picture: Image.Image, *, rng: np.random.Generator) -> Image.Image:
    """The picture with soft patches of light and a little grain."""
    width, height = picture.size
    change = np.zeros((height, width), dtype=np.float32)
    for pixels, strongest, smoothing in (
        (60, 10.0, Image.Resampling.BICUBIC),
        (3, 7.0, Image.Resampling.NEAREST),
    ):
        few = rng.normal(0, rng.uniform(0, strongest), (height // pixels + 2, width // pixels + 2))
        change += np.asarray(
            Image.fromarray(few.astype(np.float32)).resize((width, height), smoothing)
        )
    changed = np.asarray(picture, dtype=np.float32) + change[..., None]
    return Image.fromarray(changed.clip(0, 255).astype(np.uint8))
