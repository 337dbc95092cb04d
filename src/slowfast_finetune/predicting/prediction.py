"""What is answered to a video: typed, and free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slowfast_finetune.predicting.timeline import Segment


@dataclass(frozen=True)
class Prediction:
    """What a video shows.

    Attributes:
        path: of the video.
        label: the most probable class.
        answer: ``label``, or None ("none of these") where it is less probable than the threshold.
        confidence: the probability of ``label``.
        probabilities: of every class; those that evaluate gives for the same video. Of a video
            longer than the clip store keeps, the mean over all of it.
        segments: the answers in time.
        duration_seconds: as far as frames could be had.
    """

    path: Path
    label: str
    answer: str | None
    confidence: float
    probabilities: dict[str, float]
    segments: tuple[Segment, ...]
    duration_seconds: float

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
