"""Format numbers, shares, durations and lists for people."""

import math
from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from slowfast_finetune.base.console import count

MISSING = "–"


def percent(value: float | None) -> str:
    """Format a share from 0 to 1 as "97.9 %", or "–" for None and NaN.

    Only exactly 0 and 1 are written as "0 %" and "100 %"; a share close to them becomes "<0.1 %" or
    "99.9 %".
    """
    if value is None or math.isnan(value):
        return MISSING
    text = f"{100 * value:.1f}".removesuffix(".0")
    if text in ("100", "-100") and abs(value) < 1:
        text = text.replace("100", "99.9")
    if text in ("0", "-0"):
        text = "0" if value == 0 else "<0.1" if value > 0 else "-0.1"
    return f"{text.replace('-', '−')}\u202f%"


def points(*differences: float | None) -> str:
    """Format differences of shares: "−5 percentage points", "1.5 to 8 percentage points"."""
    if None in differences:
        return MISSING
    numbers = " to ".join(percent(value).removesuffix("\u202f%") for value in differences)
    return f"{numbers} percentage points"


def part(number: int, total: int, noun: str) -> str:
    """Format a part of a whole: "2 of 731 videos (0.3 %)"."""
    share = percent(number / total)
    return f"{number:,} of ".replace(",", "\u202f") + f"{count(total, noun)} ({share})"


def are(number: int) -> str:
    """The verb for a number of things: "is" for 1."""
    return "is" if number == 1 else "are"


def interval(low: float | None, high: float | None) -> str:
    """Format an interval of shares: "94.8 % to 100 %", or "–" if a limit is missing."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return MISSING
    return f"{percent(low)} to {percent(high)}"


def decimal(value: float | None, *, digits: int = 3) -> str:
    """Format a number that is no share: "0.972", "0.0015", "1.25e-05", "–" for None.

    It has ``digits`` decimals, or, below 0.1, as many significant digits.
    """
    if value is None or math.isnan(value):
        return MISSING
    if value and abs(value) < 10**-digits:
        return f"{value:.2e}"
    kind = "f" if value == 0 or abs(value) >= 0.1 else "g"
    return f"{value:.{digits}{kind}}".replace("-", "−")


def listed(names: Sequence[str], *, limit: int = 4) -> str:
    """Join names: "a, b and c"; if there are more than ``limit``, "a, b, c and 5 more"."""
    shown = list(names[:limit] if len(names) <= limit else names[: limit - 1])
    rest = len(names) - len(shown)
    parts = [*shown, f"{rest} more"] if rest else shown
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def duration(seconds: float) -> str:
    """Format a time span: "0.4 s", "43 s", "12 min", "3 h 05 min", "5 days"."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds / 86_400:.0f} days"


def shortened(text: str, *, limit: int = 160) -> str:
    """Shorten a long path by replacing its middle with "…"."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2 - 1]}…{text[-(limit // 2) :]}"


@cache
def template_environment(room: str, *, autoescape: bool) -> Environment:
    """Make the Jinja environment of a room's templates, in which the functions above are known."""
    made = Environment(
        loader=PackageLoader("slowfast_finetune", room),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = percent, points, part, are, interval, decimal, count, listed, duration, shortened
    for function in functions:
        made.globals[function.__name__] = function
    return made
