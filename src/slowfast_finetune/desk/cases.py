"""A case of the label desk: a video, or a part of one, whose label a person is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slowfast_finetune.clips.clip_tables import ClipRow

# Why a case is shown.
Reason = Literal[
    "doubtful",  # held-out probabilities speak against its label, or least for it
    "confident mistake",  # the run's model is sure of another class
    "near copy",  # another label than a near copy of it has
    "unlabelled",  # has no label; uncertain, and unlike the others that are asked about
    "random",  # drawn at random, to estimate the share of wrong labels
]


Neighbour = tuple[ClipRow, float]  # a labelled case, and the cosine of the angle to its features


@dataclass(frozen=True)
class Case:
    """What the desk shows of a case."""

    row: ClipRow  # without a label its class is "", and its split train, which it would join
    reason: Reason
    score: float  # how much the case is worth looking at, among those of its reason; higher first
    # Classes and their probabilities, the most probable first; empty if nothing predicted it.
    guesses: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def name(self) -> str:
        """The name of the case, see :func:`manifest_table.case_name`."""
        return self.row.case
