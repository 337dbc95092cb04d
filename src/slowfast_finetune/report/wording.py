"""Pure: numbers as people read them."""

from __future__ import annotations

import math

MISSING = "–"


def percent(value: float | None) -> str:
    """A share from 0 to 1 as "97.9 %"; whole numbers without decimals; "–" for none."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{100 * value:.1f}".removesuffix(".0")
    # Only what is all or nothing may look so.
    if text in ("100", "-100") and abs(value) < 1:
        text = text.replace("100", "99.9")
    if text in ("0", "-0"):
        text = "0" if value == 0 else "<0.1" if value > 0 else "-0.1"
    return f"{text.replace('-', '−')}\u202f%"


def interval(low: float | None, high: float | None) -> str:
    """ "94.8 % to 100 %", or "–" where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return MISSING
    return f"{percent(low)} to {percent(high)}"


def plain(value: float | None, *, digits: int = 3) -> str:
    """A number that is no share: "0.097", "1.25e-05" where it is small; "–" for none."""
    if value is None or math.isnan(value):
        return MISSING
    if value and abs(value) < 10**-digits:
        return f"{value:.2e}"
    return f"{value:.{digits}f}".replace("-", "−")


def count(number: int, noun: str, plural: str = "") -> str:
    """ "1 video", "12 videos"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}".replace(",", "\u202f")


def listed(names: list[str], *, limit: int = 4) -> str:
    """ "a, b and c"; from ``limit`` on "a, b, c and 5 more"."""
    shown = names[:limit] if len(names) <= limit else names[: limit - 1]
    rest = len(names) - len(shown)
    parts = [*shown, f"{rest} more"] if rest else shown
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def minutes(seconds: float) -> str:
    """ "43 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 90 else f"{whole // 60} h {whole % 60:02d} min"


def shortened(text: str, *, limit: int = 160) -> str:
    """A long path without its middle."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2 - 1]}…{text[-(limit // 2) :]}"
