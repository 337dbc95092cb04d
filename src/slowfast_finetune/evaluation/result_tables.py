"""The tables of results that evaluate writes, except predictions.csv."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from slowfast_finetune.base.manifest_table import EndSeconds, StartSeconds, VideoPath
from slowfast_finetune.base.tables import SHARE, Column, Table


class ViewRow(NamedTuple):
    """One view of a test video."""

    video_path: VideoPath
    start: Annotated[int, "the first frame of the view, counted from the clip's first"]
    top: Annotated[int, "upper edge of its square", "pixels"]
    left: Annotated[int, "left edge of its square", "pixels"]
    start_seconds: StartSeconds = None
    end_seconds: EndSeconds = None


class ScoreRow(NamedTuple):
    """One score; empty where it cannot be computed."""

    score: Annotated[str, "which score, of the list below"]
    value: Annotated[float | None, "its value on the test videos"]
    low: Annotated[float | None, "lower limit of its 95 % confidence interval"]
    high: Annotated[float | None, "upper limit of its 95 % confidence interval"]


class SubsetRow(NamedTuple):
    """Accuracy on some of the test videos."""

    subset: Annotated[str, "which videos, of the list above"]
    num_videos: Annotated[int, "test videos in the subset"]
    accuracy: Annotated[float, "share of them that is classified correctly", SHARE]
    low: Annotated[float, "lower limit of its 95 % confidence interval", SHARE]
    high: Annotated[float, "upper limit of its 95 % confidence interval", SHARE]


class ClassRow(NamedTuple):
    """The scores of one class; without test videos it has no recall."""

    class_name: Annotated[str, "the name of the class"]
    precision: Annotated[float, "share of the videos predicted as the class that show it", SHARE]
    recall: Annotated[float | None, "share of its videos that are predicted correctly", SHARE]
    recall_low: Annotated[
        float | None, "lower limit of the 95 % confidence interval of `recall`", SHARE
    ]
    recall_high: Annotated[
        float | None, "upper limit of the 95 % confidence interval of `recall`", SHARE
    ]
    f1: Annotated[float, "harmonic mean of `precision` and `recall`", SHARE]
    num_videos: Annotated[int, "its test videos"]


class ConfusionRow(NamedTuple):
    """The number of videos of one class that are predicted as another."""

    actual: Annotated[str, "the class that the videos show"]
    predicted: Annotated[str, "what they are predicted as"]
    count: Annotated[int, "how many videos"]  # type: ignore[assignment]  # hides tuple.count
    share: Annotated[float, "`count` as a share of the videos of the actual class", SHARE]


class ReliabilityRow(NamedTuple):
    """The test videos in one bin of confidence."""

    bin: Annotated[str, "the limits of the bin; the upper one belongs to it"]
    confidence: Annotated[float, "mean confidence of its videos", SHARE]
    accuracy: Annotated[float, "share of its videos that is classified correctly", SHARE]
    low: Annotated[float, "lower limit of the 95 % confidence interval of `accuracy`", SHARE]
    high: Annotated[float, "upper limit of the 95 % confidence interval of `accuracy`", SHARE]
    num_videos: Annotated[int, "its test videos"]


VIEWS = Table(
    "metrics/views.csv",
    ViewRow,
    version=2,
    per_class=Column("logit", float, "the model's answer for the class, exact as float32"),
)
SCORES = Table("metrics/scores.csv", ScoreRow, version=1)
SUBSETS = Table("metrics/subsets.csv", SubsetRow, version=2)
CLASSES = Table("metrics/plots/per_class.csv", ClassRow, version=1)
CONFUSION = Table("metrics/plots/confusion.csv", ConfusionRow, version=1)
RELIABILITY = Table("metrics/plots/reliability.csv", ReliabilityRow, version=1)
