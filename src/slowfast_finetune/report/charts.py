"""Small charts as inline SVG; colours and fonts come from the page, so both themes work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from slowfast_finetune.evaluation.result_tables import ReliabilityRow
from slowfast_finetune.inspection.readable import count, decimal, interval, percent

WIDTH, HEIGHT = 460, 250  # of a chart; it is scaled to its column [px]
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 24, 36  # room for axes [px]


@dataclass(frozen=True)
class Line:
    """A curve: its name, a CSS class for its look, and its points."""

    name: str
    look: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class _Axis:
    """Values from ``low`` to ``high`` at pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1)
        return round(self.start + share * (self.end - self.start), 1)


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers that cover ``low`` to ``high``, steps of 1, 2 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    raw = span / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def line_chart(
    title: str, lines: Sequence[Line], *, x_label: str, marked: float | None, mark_label: str
) -> Markup:
    """Curves over a common x; a dashed line stands at ``marked``."""
    ys = [y for line in lines for y in line.ys if math.isfinite(y)]
    xs = [x for line in lines for x in line.xs]
    y_ticks = ticks(min([0.0, *ys]), max(ys, default=1.0))
    x_ticks = [
        tick for tick in ticks(min(xs), max(xs)) if min(xs) <= tick <= max(xs) and tick == int(tick)
    ]
    x_axis = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_axis = _Axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [_grid(x_axis, y_axis, x_ticks, y_ticks, x_label)]
    if marked is not None:
        x = x_axis.at(marked)
        side = "end" if x > (LEFT + WIDTH) / 2 else "start"
        parts.append(
            f'<line class="mark" x1="{x}" x2="{x}" y1="{TOP - 4}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text class="marked" x="{x}" y="{TOP - 8}" text-anchor="{side}">'
            f"{escape(mark_label)}</text>"
        )
    for line in lines:
        points = [
            (x_axis.at(x), y_axis.at(y), x, y)
            for x, y in zip(line.xs, line.ys, strict=True)
            if math.isfinite(y)
        ]
        path = " ".join(f"{x},{y}" for x, y, _, _ in points)
        parts.append(f'<polyline class="line {line.look}" points="{path}"/>')
        parts += [
            f'<circle class="point {line.look}" cx="{x}" cy="{y}" r="5">'
            f"<title>{escape(line.name)}, {escape(x_label)} {real_x:g}: {decimal(real_y)}</title>"
            "</circle>"
            for x, y, real_x, real_y in points[:: max(1, len(points) // 200)]
        ]
    last = "; ".join(f"{line.name} {decimal(line.ys[-1])}" for line in lines)
    return _svg(title, f"Last values: {last}", parts)


def reliability_chart(rows: Sequence[ReliabilityRow]) -> Markup:
    """How often the model is right, over how sure it is; below it how many videos are so sure."""
    bars = 44  # room for the counts, below [px]
    height = HEIGHT + 70
    x_axis = _Axis(0, 1, LEFT, WIDTH - RIGHT)
    y_axis = _Axis(0, 1, height - BOTTOM - bars, TOP)
    marks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    bottom = height - BOTTOM
    most = max((row.num_videos for row in rows), default=1)
    parts = [
        _grid(x_axis, y_axis, marks, marks, "confidence", words=percent, bottom=bottom),
        f'<line class="ideal" x1="{x_axis.at(0)}" y1="{y_axis.at(0)}" '
        f'x2="{x_axis.at(1)}" y2="{y_axis.at(1)}"/>',
        f'<text class="marked" x="{x_axis.at(0.3)}" y="{y_axis.at(0.36)}" text-anchor="end">'
        "as sure as right</text>",
    ]
    for row in rows:
        x, y = x_axis.at(row.confidence), y_axis.at(row.accuracy)
        tall = max(2.0, (bars - 18) * row.num_videos / most)
        if row.low is not None and row.high is not None:
            parts.append(
                f'<line class="whisker" x1="{x}" x2="{x}" y1="{y_axis.at(row.low)}" '
                f'y2="{y_axis.at(row.high)}"/>'
            )
        parts.append(
            f'<rect class="count" x="{x - 8}" y="{round(bottom - tall, 1)}" width="16" '
            f'height="{round(tall, 1)}"/>'
            f'<text class="tick" x="{x}" y="{round(bottom - tall - 4, 1)}" text-anchor="middle">'
            f"{row.num_videos}</text>"
            f'<circle class="dot" cx="{x}" cy="{y}" r="5"><title>confidence {escape(row.bin)}: '
            f"right in {percent(row.accuracy)} ({interval(row.low, row.high)}) of "
            f"{count(row.num_videos, 'video')}</title></circle>"
        )
    return _svg(
        "How often it is right, over how sure it is",
        "; ".join(f"{row.bin}: {percent(row.accuracy)} of {row.num_videos}" for row in rows),
        parts,
        height=height,
    )


def _grid(
    x_axis: _Axis,
    y_axis: _Axis,
    xs: Sequence[float],
    ys: Sequence[float],
    x_label: str,
    *,
    words: Callable[[float], str] | None = None,
    bottom: float = HEIGHT - BOTTOM,
) -> str:
    words = words or _short
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_axis.at(y)}" '
        f'y2="{y_axis.at(y)}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{y_axis.at(y) + 4}" text-anchor="end">'
        f"{words(y)}</text>"
        for y in ys
    ]
    parts += [
        f'<text class="tick" x="{x_axis.at(x)}" y="{bottom + 16}" text-anchor="middle">'
        f"{words(x)}</text>"
        for x in xs
    ]
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    )
    parts.append(
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{bottom + 31}" text-anchor="end">'
        f"{escape(x_label)}</text>"
    )
    return "".join(parts)


def _short(value: float) -> str:
    return (
        f"{value:g}" if value == 0 or abs(value) >= 0.0001 else f"{value:.0e}".replace("e-0", "e-")
    )


def _svg(title: str, description: str, parts: Sequence[str], *, height: int = HEIGHT) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}. {escape(description)}">{"".join(parts)}</svg>'
    )
