"""A case of the label desk: a video, or a part of one, whose label a person is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slowfast_finetune.base.manifest_table import Split, case_name

# Why a case is shown.
Reason = Literal[
    "doubtful",  # held-out probabilities speak against its label, or least for it
    "confident mistake",  # the run's model is sure of another class
    "near copy",  # another label than a near copy of it has
    "unlabelled",  # has no label; uncertain, and unlike the others that are asked about
    "random",  # drawn at random, to estimate the share of wrong labels
]


@dataclass(frozen=True)
class Neighbour:
    """A labelled case that is like another."""

    video_path: str  # as in the manifest
    start_seconds: float | None
    end_seconds: float | None
    class_name: str
    similarity: float  # cosine of the angle between the features, at most 1

    @property
    def name(self) -> str:
        """The name of the case, see :func:`case_name`."""
        return case_name(self.video_path, self.start_seconds, self.end_seconds)


@dataclass(frozen=True)
class Case:
    """What the desk shows of a case."""

    video_path: str  # as in the manifest
    class_name: str | None  # its label; None if it has none
    split: Split | None  # None if it has no label
    reason: Reason
    score: float  # how much the case is worth looking at, among those of its reason; higher first
    # Classes and their probabilities, the most probable first; empty if nothing predicted it.
    guesses: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None

    @property
    def name(self) -> str:
        """The name of the case, see :func:`case_name`."""
        return case_name(self.video_path, self.start_seconds, self.end_seconds)
