"""The tables of results that evaluate writes, except predictions.csv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from slowfast_finetune.base import manifest_table as columns
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.tables import SHARE, Column, Table
from slowfast_finetune.evaluation.resampling import units_of
from slowfast_finetune.scoring.metrics import Floats, Labels

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY_DIGITS = 6


class ViewRow(NamedTuple):
    """One view of a test video."""

    video_path: columns.VideoPath
    start: Annotated[int, "the first frame of the view, counted from the clip's first"]
    top: Annotated[int, "upper edge of its square", "pixels"]
    left: Annotated[int, "left edge of its square", "pixels"]
    start_seconds: columns.StartSeconds = None
    end_seconds: columns.EndSeconds = None


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


class PredictionRow(NamedTuple):
    """One test video."""

    video_path: columns.VideoPath
    group: columns.Group
    actual: Annotated[str, "the class it shows"]
    predicted: Annotated[str, "its most probable class"]
    answer: Annotated[
        str,
        "as `predicted`, or `none of these` where `novelty` is above 1 (unlike the training "
        "videos) or `confidence` below the checkpoint's `threshold` (between two classes)",
    ]
    confidence: Annotated[float, "the probability of `predicted`", SHARE]
    probability_of_actual: Annotated[float, "the probability of `actual`", SHARE]
    num_views: Annotated[int, "how many views its probabilities are averaged over"]
    start_seconds: columns.StartSeconds = None
    end_seconds: columns.EndSeconds = None
    novelty: Annotated[
        float | None,
        "distance of the mean features of the views from the nearest class of the training videos, "
        "over the checkpoint's `limit`; none: not measured",
    ] = None

    @property
    def case(self) -> str:
        """The name of the case, see :func:`manifest_table.case_name`."""
        return columns.case_name(self.video_path, self.start_seconds, self.end_seconds)


PREDICTIONS = Table(
    "metrics/predictions.csv",
    PredictionRow,
    version=3,
    per_class=Column(
        "p",
        float,
        "the probability of the class: the mean over the views of the softmax of logits / "
        "`temperature`",
        SHARE,
    ),
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one run for N different test videos."""

    source: str  # the file or revision, as the user named it
    class_names: tuple[str, ...]  # by label
    frame: pd.DataFrame  # the columns of PREDICTIONS, (N rows)

    @classmethod
    def of(cls, frame: pd.DataFrame, *, source: str) -> Predictions:
        """Check a frame that PREDICTIONS has read.

        Raises:
            DataError: there is no video, one is there twice, or a class has no probabilities.
        """
        if frame.empty:
            raise DataError(f"{source}: holds no video")
        cases = cases_of(frame)
        if cases.duplicated().any():
            raise DataError(f"{source}: {cases[cases.duplicated()].iloc[0]!r} is there twice")
        names = tuple(name[2:-1] for name in frame.columns if name.startswith("p("))
        found = cls(source, names, frame)
        if strange := {*frame["actual"], *frame["predicted"]} - set(found.class_names):
            raise DataError(f"{source}: column p({min(strange)}) is missing; run `dvc repro`")
        return found

    @property
    def actual(self) -> Labels:
        """Actual labels (N,)."""
        return self._labels("actual")

    @property
    def predicted(self) -> Labels:
        """Predicted labels (N,)."""
        return self._labels("predicted")

    def _labels(self, column: str) -> Labels:
        label_of = {name: label for label, name in enumerate(self.class_names)}
        return np.array([label_of[name] for name in self.frame[column]], np.int64)

    @property
    def noun(self) -> str:
        """What people call the cases: "part" if one is a part of a video, else "video"."""
        starts = self.frame.get("start_seconds")
        return "video" if starts is None or starts.isna().all() else "part"

    @property
    def unit_noun(self) -> str:
        """What people call a unit of resampling: "group" if one case has a group, else "video"."""
        return "group" if self.frame["group"].notna().any() else "video"

    @property
    def probabilities(self) -> Floats:
        """Probabilities of the classes, float64 (N, classes)."""
        return self.frame[[f"p({name})" for name in self.class_names]].to_numpy()

    @property
    def units(self) -> Labels:
        """Unit of each case (N,), see :func:`resampling.units_of`: its group, else its video."""
        return units_of(self.frame["group"].fillna(self.frame["video_path"]).tolist())


def cases_of(frame: pd.DataFrame) -> pd.Series:
    """The name of the case of each row; a table of an older version has no parts of videos."""
    import pandas as pd

    if "start_seconds" not in frame.columns:
        return frame["video_path"]
    times = frame[["start_seconds", "end_seconds"]].astype(object)
    times = times.where(times.notna(), None)
    names = map(
        columns.case_name, frame["video_path"], times["start_seconds"], times["end_seconds"]
    )
    return pd.Series([*names], index=frame.index, dtype=object)
