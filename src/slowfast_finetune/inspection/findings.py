"""What the doctor has to say: one fault or remark, how grave, and the videos it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Level = Literal["problem", "warning", "note"]
# Of these a person sees in the pictures what is meant.
SEEN_IN_PICTURES = frozenset(
    {
        "alike-classes",
        "copies",
        "copies-across-classes",
        "copies-across-splits",
        "mislabelled",
        "near-copies",
        "near-copies-across-classes",
        "near-copies-across-splits",
        "seen-scenes",
    }
)
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        level: ``problem``: the measured accuracy would be wrong, or training fails; ``warning``:
            it may mislead, look; ``note``: worth knowing.
        code: a word for scripts, listed in docs/doctor.md.
        title: what is there, in one line.
        detail: what it means, and what to do.
        video_paths: which videos, the most telling first; empty where it is about all.
    """

    level: Level
    code: str
    title: str
    detail: str
    video_paths: tuple[str, ...] = ()


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Problems, then warnings, then notes; each in the order found."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def listed(names: Sequence[str], *, most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 video``, ``3 videos``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def rounded_percent(share: float, *, decimals: int = 0) -> str:
    """Format a share from 0 to 1 in percent; only exactly 0 and 1 become "0%" and "100%".

    Shares that would be rounded to them become "<1%" and ">99%", or "<0.1%" and ">99.9%" with one
    decimal.
    """
    text = f"{100 * share:.{decimals}f}"
    if share > 0 and float(text) == 0:
        return f"<{10.0**-decimals:g}%"
    if share < 1 and float(text) == 100:
        return f">{100 - 10.0**-decimals:g}%"
    return f"{text}%"
