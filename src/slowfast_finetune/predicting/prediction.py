"""What is answered to a video: typed, and free of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slowfast_finetune.predicting.timeline import Segment

Doubt = Literal["unlike the training videos", "between classes"]


@dataclass(frozen=True)
class Prediction:
    """What a video shows."""

    path: Path  # of the video
    label: str  # the most probable class
    answer: str | None  # ``label``, or None ("none of these") for the reason in ``doubt``
    confidence: float  # the probability of ``label``
    # Of every class; those that evaluate gives for the same video. Of a video longer than the clip
    # store keeps, the mean over all of it.
    probabilities: dict[str, float]
    segments: tuple[Segment, ...]  # the answers in time, by probability alone
    duration_seconds: float  # as far as frames could be had
    # Distance from the training videos, as a multiple of what 95 % of the validation videos do not
    # exceed; None where the checkpoint cannot tell.
    novelty: float | None = None
    # Why there is no answer: "unlike the training videos" where novelty is too large, else "between
    # classes": less probable than the threshold.
    doubt: Doubt | None = None

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes, surest first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:count]


@dataclass(frozen=True)
class RefusedVideo:
    """A video that could not be read: ``reason`` is a code of docs/formats.md."""

    path: Path
    reason: str
    detail: str
