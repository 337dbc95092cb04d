"""What the report points at: plain data, whoever found it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Level = Literal["problem", "warning", "note"]
LEVELS: tuple[Level, ...] = ("problem", "warning", "note")  # the gravest first


class Finding(Protocol):
    """What the page shows of a finding; those of the inspection have these fields too."""

    @property
    def level(self) -> Level: ...
    @property
    def code(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def video_paths(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Pointer:
    """A finding of the report itself.

    Attributes:
        level: a problem makes the number worthless, a warning may; a note is good to know.
        code: names the kind of finding.
        title: one line in plain words.
        detail: what it means and what to do.
        video_paths: which videos it is about, the clearest first.
    """

    level: Level
    code: str
    title: str
    detail: str
    video_paths: tuple[str, ...] = ()


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Problems, then warnings, then notes; within a level as they came."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
