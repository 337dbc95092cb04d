"""Pure: from what the model answered to the tables that say how good it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.manifest_table import NONE_OF_THESE
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation.metadata import predict_from_facts
from slowfast_finetune.evaluation.predictions_table import PredictionRow
from slowfast_finetune.evaluation.resampling import (
    Interval,
    design_effect,
    interval_of_part,
    interval_of_share,
    percentile_interval,
    resampled,
    units_of,
)
from slowfast_finetune.evaluation.result_tables import (
    ClassRow,
    ConfusionRow,
    ReliabilityRow,
    ScoreRow,
    SubsetRow,
)
from slowfast_finetune.scoring.metrics import (
    NUM_BINS,
    Floats,
    Labels,
    Probabilities,
    bin_of,
    bin_sums,
    calibration_error,
    in_top,
    label_sums,
    majority_class,
    negative_log_likelihood,
    score_classes,
    scores_of_sums,
)

DIGITS = 4  # of a score; more would be noise
# What metrics.json holds: `dvc metrics show` and `dvc exp show` print a column for each.
HEADLINES = (
    "top1_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "loss",
    "calibration_error",
    "majority_baseline",
    "metadata_baseline",
)


@dataclass(frozen=True)
class Outcome:
    """What was answered to N test videos.

    Attributes:
        true: labels (N,).
        probabilities: float64 (N, classes), calibrated, averaged over views.
        units: (N,) which videos go together; see :func:`resampling.units_of`.
        threshold: an answer less probable is "none of these".
        train_rows, rows: usable videos of the training and the test split.
    """

    true: Labels
    probabilities: Probabilities
    units: Labels
    threshold: float
    train_rows: Sequence[ClipRow]
    rows: Sequence[ClipRow]

    @classmethod
    def of(
        cls,
        rows: Sequence[ClipRow],
        probabilities: Probabilities,
        *,
        train_rows: Sequence[ClipRow],
        threshold: float,
    ) -> Outcome:
        """Collect; copies of one video go together like videos of one group."""
        return cls(
            true=np.array([row.label for row in rows], dtype=np.int64),
            probabilities=probabilities,
            units=units_of([row.group or row.content_hash for row in rows]),
            threshold=threshold,
            train_rows=train_rows,
            rows=rows,
        )

    @property
    def predicted(self) -> Labels:
        """The most probable class (N,), the lowest label of several."""
        labels: Labels = self.probabilities.argmax(axis=1)
        return labels

    @property
    def confidence(self) -> Floats:
        """The probability of ``predicted`` (N,)."""
        highest: Floats = self.probabilities.max(axis=1)
        return highest

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether ``predicted`` is true (N,)."""
        is_right: npt.NDArray[np.bool_] = self.predicted == self.true
        return is_right

    @property
    def design_effect(self) -> float:
        """How many videos tell as much as an independent one."""
        return design_effect(self.right, self.units)

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Whether the confidence reaches the threshold (N,)."""
        return self.confidence >= self.threshold


def score_rows(outcome: Outcome) -> list[ScoreRow]:
    """Every score with its interval, and what guessing reaches on the same videos."""
    num_units = int(outcome.units.max()) + 1
    rows = []
    for name, values in _values(outcome).items():
        value, resamples = float(values[0]), values[1:]
        if name in ("loss", "calibration_error", "above_metadata"):
            # One group, drawn again, is always the same: nothing is known of others.
            low, high = percentile_interval(resamples) if num_units > 1 else (math.nan, math.nan)
        elif name == "chance_baseline":
            low, high = value, value
        else:
            low, high = interval_of_share(
                value,
                resamples,
                num_units=num_units,
                num_videos=len(outcome.true),
                design_effect=outcome.design_effect,
            )
        rows.append(
            ScoreRow(score=name, value=_rounded(value), low=_rounded(low), high=_rounded(high))
        )
    return rows


def _values(outcome: Outcome) -> dict[str, Floats]:
    """Every score (1 + NUM_RESAMPLES,): of the videos as they are, then of each resample."""
    units, right = outcome.units, outcome.right
    num_classes = outcome.probabilities.shape[1]
    labels = label_sums(outcome.true, outcome.predicted, num_classes=num_classes, units=units)
    bins = bin_sums(outcome.confidence, right, units=units)
    majority, metadata = _baseline_labels(outcome)
    columns = {
        "videos": np.ones(len(right)),
        "loss": negative_log_likelihood(outcome.true, outcome.probabilities),
        "answered": outcome.answered,
        "right_answers": outcome.answered & right,
        "top5": in_top(outcome.true, outcome.probabilities, k=5),
        "majority": outcome.true == majority,
        "metadata": outcome.true == metadata,
    }
    others = np.zeros((len(labels), len(columns)))
    np.add.at(others, units, np.stack(list(columns.values()), axis=1).astype(np.float64))
    sums = np.hstack([labels, bins, others])
    sums = np.concatenate([sums.sum(axis=0)[None], resampled(sums)])
    labels, bins, others = np.split(sums, [labels.shape[1], labels.shape[1] + bins.shape[1]], 1)
    total = dict(zip(columns, others.T, strict=True))
    num_videos = total["videos"]

    scores = scores_of_sums(labels)
    accuracy = scores.pop("accuracy")
    values = {"top1_accuracy": accuracy}
    if num_classes > 5:
        values["top5_accuracy"] = total["top5"] / num_videos
    # The mean accuracy of the classes, as the video literature calls it, is the same number.
    values["balanced_accuracy"] = scores["macro_recall"]
    values |= scores
    values["loss"] = total["loss"] / num_videos
    values["calibration_error"] = calibration_error(bins, num_videos)
    values["answered"] = total["answered"] / num_videos
    with np.errstate(invalid="ignore"):
        values["accuracy_when_answered"] = total["right_answers"] / total["answered"]
    values["chance_baseline"] = np.full_like(num_videos, 1 / num_classes)
    values["majority_baseline"] = total["majority"] / num_videos
    values["metadata_baseline"] = total["metadata"] / num_videos
    values["above_metadata"] = accuracy - values["metadata_baseline"]
    return values


def _baseline_labels(outcome: Outcome) -> tuple[int, Labels]:
    train = np.array([row.label for row in outcome.train_rows], dtype=np.int64)
    return majority_class(train), predict_from_facts(outcome.train_rows, outcome.rows)


def headline(scores: Sequence[ScoreRow]) -> dict[str, float | None]:
    """The handful of scalars for metrics.json."""
    by_name = {row.score: row for row in scores}
    values: dict[str, float | None] = {name: by_name[name].value for name in HEADLINES}
    top1 = by_name["top1_accuracy"]
    ends = {"top1_low": top1.low, "top1_high": top1.high}
    return {"top1_accuracy": values.pop("top1_accuracy"), **ends, **values}


def subset_rows(outcome: Outcome) -> list[SubsetRow]:
    """Accuracy where a difference would mean that the model sees something beside the action."""
    padded = np.array([row.num_sampled < row.num_frames for row in outcome.rows])
    damaged = np.array([row.damaged for row in outcome.rows])
    subsets = {"padded": padded, "unpadded": ~padded, "damaged": damaged, "sound": ~damaged}
    return [
        subset_row(
            name,
            outcome.right[chosen],
            outcome.units[chosen],
            design_effect=outcome.design_effect,
        )
        for name, chosen in subsets.items()
        if chosen.any()
    ]


def subset_row(
    name: str, right: npt.NDArray[np.bool_], units: Labels, *, design_effect: float
) -> SubsetRow:
    """Accuracy of some videos: whether each was right (N,), and its unit (N,); N ≥ 1."""
    low, high = interval_of_part(right, units, design_effect=design_effect)
    return SubsetRow(
        subset=name,
        num_videos=len(right),
        accuracy=round(float(right.mean()), DIGITS),
        low=round(low, DIGITS),
        high=round(high, DIGITS),
    )


def class_rows(outcome: Outcome, class_names: Sequence[str]) -> list[ClassRow]:
    """Every class, the dead one not hidden in an average."""
    rows = []
    for label, scores in enumerate(score_classes(outcome.true, outcome.predicted, class_names)):
        own = outcome.true == label
        low, high = _interval_within(outcome, own) if own.any() else (None, None)
        rows.append(
            ClassRow(
                class_name=scores["class_name"],
                precision=round(scores["precision"], DIGITS),
                recall=_rounded(scores["recall"]) if own.any() else None,
                recall_low=_rounded(low),
                recall_high=_rounded(high),
                f1=round(scores["f1"], DIGITS),
                num_videos=scores["num_videos"],
            )
        )
    return rows


def confusion_rows(outcome: Outcome, class_names: Sequence[str]) -> list[ConfusionRow]:
    """Every pair of classes, zeros included, by label of the actual and of the predicted."""
    counts = np.zeros((len(class_names), len(class_names)), dtype=np.int64)
    np.add.at(counts, (outcome.true, outcome.predicted), 1)
    totals = np.maximum(counts.sum(axis=1), 1)
    return [
        ConfusionRow(
            actual=actual,
            predicted=predicted,
            count=int(counts[i, j]),
            share=round(float(counts[i, j] / totals[i]), DIGITS),
        )
        for i, actual in enumerate(class_names)
        for j, predicted in enumerate(class_names)
    ]


def reliability_rows(outcome: Outcome) -> list[ReliabilityRow]:
    """Every bin of confidence that has videos, from the least sure to the surest."""
    bins = bin_of(outcome.confidence)
    rows = []
    for number in np.unique(bins).tolist():
        inside = bins == number
        low, high = _interval_within(outcome, inside)
        rows.append(
            ReliabilityRow(
                bin=f"{number / NUM_BINS:.1f}–{(number + 1) / NUM_BINS:.1f}",
                confidence=round(float(outcome.confidence[inside].mean()), DIGITS),
                accuracy=round(float(outcome.right[inside].mean()), DIGITS),
                low=round(low, DIGITS),
                high=round(high, DIGITS),
                num_videos=int(inside.sum()),
            )
        )
    return rows


def prediction_rows(
    outcome: Outcome, class_names: Sequence[str], *, num_views: int
) -> list[PredictionRow]:
    """Every test video."""
    return [
        PredictionRow(
            video_path=row.video_path,
            group=row.group,
            actual=row.class_name,
            predicted=class_names[predicted],
            answer=class_names[predicted] if answered else NONE_OF_THESE,
            confidence=round(confidence, DIGITS),
            probability_of_actual=round(float(values[row.label]), DIGITS),
            num_views=num_views,
        )
        for row, values, predicted, confidence, answered in zip(
            outcome.rows,
            outcome.probabilities,
            outcome.predicted.tolist(),
            outcome.confidence.tolist(),
            outcome.answered.tolist(),
            strict=True,
        )
    ]


def _interval_within(outcome: Outcome, chosen: npt.NDArray[np.bool_]) -> Interval:
    return interval_of_part(
        outcome.right[chosen], outcome.units[chosen], design_effect=outcome.design_effect
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(value, DIGITS)
