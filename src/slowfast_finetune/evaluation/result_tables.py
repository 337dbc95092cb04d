"""The tables of results that evaluate writes, but for the predictions."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from slowfast_finetune.base.manifest_table import VideoPath
from slowfast_finetune.base.tables import SHARE, Column, Table


class ViewRow(NamedTuple):
    """One view of a test video."""

    video_path: VideoPath
    start: Annotated[int, "the first frame of the view"]
    top: Annotated[int, "upper edge of its square", "pixels"]
    left: Annotated[int, "left edge of its square", "pixels"]


class ScoreRow(NamedTuple):
    """One score; empty where it cannot be computed."""

    score: Annotated[str, "which score, of the list below"]
    value: Annotated[float | None, "its value on the test videos"]
    low: Annotated[float | None, "lower end of its 95 % interval"]
    high: Annotated[float | None, "upper end of its 95 % interval"]


class SubsetRow(NamedTuple):
    """Accuracy on some of the test videos."""

    subset: Annotated[str, "which videos, of the list above"]
    num_videos: Annotated[int, "test videos in the subset"]
    accuracy: Annotated[float, "share of them classified right", SHARE]
    low: Annotated[float, "lower end of its 95 % interval", SHARE]
    high: Annotated[float, "upper end of its 95 % interval", SHARE]


class ClassRow(NamedTuple):
    """One class on the test split; a class without test videos has no recall."""

    class_name: Annotated[str, "the name of the class"]
    precision: Annotated[float, "share of the videos taken for it that are it", SHARE]
    recall: Annotated[float | None, "share of its videos that were recognised", SHARE]
    recall_low: Annotated[float | None, "lower end of the 95 % interval of `recall`", SHARE]
    recall_high: Annotated[float | None, "upper end of the 95 % interval of `recall`", SHARE]
    f1: Annotated[float, "harmonic mean of `precision` and `recall`", SHARE]
    num_videos: Annotated[int, "its test videos"]


class ConfusionRow(NamedTuple):
    """How many videos of one class were taken for another."""

    actual: Annotated[str, "what the videos show"]
    predicted: Annotated[str, "what they were taken for"]
    count: Annotated[int, "how many videos"]  # type: ignore[assignment]  # hides tuple.count
    share: Annotated[float, "`count` as a share of the videos of the actual class", SHARE]


class ReliabilityRow(NamedTuple):
    """Test videos whose confidence lies in one bin."""

    bin: Annotated[str, "the two ends of the bin; the upper one belongs to it"]
    confidence: Annotated[float, "mean confidence of its videos", SHARE]
    accuracy: Annotated[float, "share of its videos classified right", SHARE]
    low: Annotated[float, "lower end of the 95 % interval of `accuracy`", SHARE]
    high: Annotated[float, "upper end of the 95 % interval of `accuracy`", SHARE]
    num_videos: Annotated[int, "its test videos"]


VIEWS = Table(
    "metrics/views.csv",
    ViewRow,
    version=1,
    per_class=Column("logit", float, "the model's answer for the class, exact as float32"),
)
SCORES = Table("metrics/scores.csv", ScoreRow, version=1)
SUBSETS = Table("metrics/subsets.csv", SubsetRow, version=1)
CLASSES = Table("metrics/plots/per_class.csv", ClassRow, version=1)
CONFUSION = Table("metrics/plots/confusion.csv", ConfusionRow, version=1)
RELIABILITY = Table("metrics/plots/reliability.csv", ReliabilityRow, version=1)
