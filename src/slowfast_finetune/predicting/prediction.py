"""What is answered to a video: typed, and free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slowfast_finetune.predicting.timeline import Segment

Doubt = Literal["unlike the training videos", "between classes"]


@dataclass(frozen=True)
class Prediction:
    """What a video shows.

    Attributes:
        path: of the video.
        label: the most probable class.
        answer: ``label``, or None ("none of these") for the reason in ``doubt``.
        confidence: the probability of ``label``.
        probabilities: of every class; those that evaluate gives for the same video. Of a video
            longer than the clip store keeps, the mean over all of it.
        segments: the answers in time, by probability alone.
        duration_seconds: as far as frames could be had.
        novelty: distance from the training videos, as a multiple of what 95 % of the validation
            videos do not exceed; None where the checkpoint cannot tell.
        doubt: why there is no answer: "unlike the training videos" where novelty is too large,
            else "between classes": less probable than the threshold.
    """

    path: Path
    label: str
    answer: str | None
    confidence: float
    probabilities: dict[str, float]
    segments: tuple[Segment, ...]
    duration_seconds: float
    novelty: float | None = None
    doubt: Doubt | None = None

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes, surest first."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return ranked[:count]


@dataclass(frozen=True)
class RefusedVideo:
    """A video that could not be read: ``reason`` is a code of docs/formats.md."""

    path: Path
    reason: str
    detail: str
