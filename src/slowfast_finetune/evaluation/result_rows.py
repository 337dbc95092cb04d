"""Compute the tables of scores from predicted probabilities. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slowfast_finetune.base.manifest_table import NONE_OF_THESE
from slowfast_finetune.base.tables import RowT
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation import resampling
from slowfast_finetune.evaluation import result_tables as tables
from slowfast_finetune.evaluation.metadata_baseline import predict_from_facts
from slowfast_finetune.evaluation.resampling import Interval, correlation_in_units, interval_of_part
from slowfast_finetune.scoring import metrics
from slowfast_finetune.scoring.metrics import NUM_BINS, Bools, Floats, Labels, Probabilities
from slowfast_finetune.scoring.novelty import FAMILIAR

DIGITS = 4  # decimals of a score
# The content of metrics.json: `dvc metrics show` and `dvc exp show` print a column for each.
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
    """The predictions for the N test videos ``rows``."""

    rows: Sequence[ClipRow]
    probabilities: Probabilities  # float64 (N, classes), calibrated, averaged over views
    train_rows: Sequence[ClipRow]  # usable videos of the training split
    threshold: float  # confidence below which the answer is "none of these"
    novelty: Floats | None = None  # (N,) above 1 the answer is that too; None: not measured

    @cached_property
    def true(self) -> Labels:
        """Actual labels (N,)."""
        return np.array([row.label for row in self.rows], dtype=np.int64)

    @cached_property
    def units(self) -> Labels:
        """Unit of each video (N,), see :func:`resampling.units_of`; copies share one."""
        return resampling.units_of([row.group or row.content_hash for row in self.rows])

    @property
    def num_units(self) -> int:
        """How many units there are."""
        return int(self.units.max()) + 1

    @cached_property
    def predicted(self) -> Labels:
        """Most probable label (N,), the lowest in a tie."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def confidence(self) -> Floats:
        """Probability of ``predicted`` (N,)."""
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def right(self) -> Bools:
        """Tells whether ``predicted`` is correct (N,)."""
        return np.equal(self.predicted, self.true)

    @cached_property
    def correlation(self) -> float:
        """How alike videos of a unit are, see :func:`resampling.correlation_in_units`."""
        return correlation_in_units(self.right, self.units)

    @cached_property
    def answered(self) -> Bools:
        """Tells whether a video is like the training videos and its confidence suffices (N,)."""
        sure = self.confidence >= self.threshold
        return sure if self.novelty is None else sure & (self.novelty <= FAMILIAR)


def score_rows(outcome: Outcome) -> list[tables.ScoreRow]:
    """Compute every score and baseline with its confidence interval.

    Shares have the union of the bootstrap's interval and Wilson's. So have macro averages: if all
    predictions are correct, so are all resamples, but a class of one video may still have any
    recall. In a macro average a video counts as 1 / (videos of its class). The calibration error
    has none: chance makes it too large, and that of resamples larger still, which is often above
    the value itself.
    """
    rows = []
    for name, values in _values(outcome).items():
        value, resamples = float(values[0]), values[1:]
        if name in ("loss", "above_metadata"):
            ends = resampling.bootstrap_interval(resamples, num_units=outcome.num_units)
        elif name == "calibration_error":
            ends = math.nan, math.nan
        elif name == "chance_baseline" or np.isnan(value):
            ends = value, value
        else:
            count = resampling.effective_count(
                outcome.units, correlation=outcome.correlation, weights=_weights(outcome, name)
            )
            ends = resampling.interval_of_share(value, resamples, count=count)
        rows.append(_rounded(tables.ScoreRow(name, value, *ends)))
    return rows


def _weights(outcome: Outcome, score: str) -> Floats:
    """How much each video counts in a score (N,)."""
    if score == "accuracy_when_answered":
        return outcome.answered.astype(np.float64)
    if score.startswith(("macro_", "balanced_")):
        return 1 / np.bincount(outcome.true)[outcome.true]
    return np.ones(len(outcome.true))


def _values(outcome: Outcome) -> dict[str, Floats]:
    """Compute every score (1 + NUM_RESAMPLES,): of all videos, then of each resample."""
    units, right = outcome.units, outcome.right
    num_classes = outcome.probabilities.shape[1]
    labels = metrics.label_sums(
        outcome.true, outcome.predicted, num_classes=num_classes, units=units
    )
    bins = metrics.bin_sums(outcome.confidence, right, units=units)
    # The most frequent training class, the lowest label in a tie.
    majority = np.bincount([row.label for row in outcome.train_rows]).argmax()
    metadata = predict_from_facts(outcome.train_rows, outcome.rows)
    columns = {
        "videos": np.ones(len(right)),
        "loss": metrics.negative_log_likelihood(outcome.true, outcome.probabilities),
        "answered": outcome.answered,
        "right_answers": outcome.answered & right,
        "top5": metrics.in_top(outcome.true, outcome.probabilities, k=5),
        "majority": outcome.true == majority,
        "metadata": outcome.true == metadata,
    }
    others = np.zeros((len(labels), len(columns)))
    np.add.at(others, units, np.stack(list(columns.values()), axis=1).astype(np.float64))
    sums = np.hstack([labels, bins, others])
    sums = np.concatenate([sums.sum(axis=0)[None], resampling.resampled(sums)])
    labels, bins, others = np.split(sums, [labels.shape[1], labels.shape[1] + bins.shape[1]], 1)
    total = dict(zip(columns, others.T, strict=True))
    num_videos = total["videos"]

    scores = metrics.scores_of_sums(labels)
    accuracy = scores.pop("accuracy")
    values = {"top1_accuracy": accuracy}
    if num_classes > 5:
        values["top5_accuracy"] = total["top5"] / num_videos
    # The mean accuracy of the classes, as the video literature calls it, is the same number.
    values["balanced_accuracy"] = scores["macro_recall"]
    values |= scores
    values["loss"] = total["loss"] / num_videos
    values["calibration_error"] = metrics.calibration_error(bins, num_videos)
    values["answered"] = total["answered"] / num_videos
    with np.errstate(invalid="ignore"):
        values["accuracy_when_answered"] = total["right_answers"] / total["answered"]
    values["chance_baseline"] = np.full_like(num_videos, 1 / num_classes)
    values["majority_baseline"] = total["majority"] / num_videos
    values["metadata_baseline"] = total["metadata"] / num_videos
    values["above_metadata"] = accuracy - values["metadata_baseline"]
    return values


def headline(scores: Sequence[tables.ScoreRow]) -> dict[str, float | None]:
    """Choose the scores for metrics.json."""
    by_name = {row.score: row for row in scores}
    values: dict[str, float | None] = {name: by_name[name].value for name in HEADLINES}
    top1 = by_name["top1_accuracy"]
    ends = {"top1_low": top1.low, "top1_high": top1.high}
    return {"top1_accuracy": values.pop("top1_accuracy"), **ends, **values}


def subset_rows(outcome: Outcome) -> list[tables.SubsetRow]:
    """Compute the accuracy on subsets that should not differ if the model uses the action alone."""
    padded = np.array([row.num_sampled < row.num_frames for row in outcome.rows])
    damaged = np.array([row.damaged for row in outcome.rows])
    subsets = {"padded": padded, "unpadded": ~padded, "damaged": damaged, "undamaged": ~damaged}
    return accuracy_of_subsets(outcome.right, outcome.units, subsets)


def accuracy_of_subsets(
    right: Bools, units: Labels, subsets: Mapping[str, Bools]
) -> list[tables.SubsetRow]:
    """Compute the accuracy of each subset that has some of the videos, not all.

    Args:
        right, units: correctness and unit of each video (N,).
        subsets: which videos belong to it (N,), by name.
    """
    correlation = correlation_in_units(right, units)
    rows = []
    for name, chosen in subsets.items():
        if chosen.any() and not chosen.all():
            ends = interval_of_part(right[chosen], units[chosen], correlation=correlation)
            row = tables.SubsetRow(name, int(chosen.sum()), float(right[chosen].mean()), *ends)
            rows.append(_rounded(row))
    return rows


def class_rows(outcome: Outcome, class_names: Sequence[str]) -> list[tables.ClassRow]:
    """Compute the scores of every class."""
    sums = metrics.label_sums(outcome.true, outcome.predicted, num_classes=len(class_names))
    scores = {name: values[0].tolist() for name, values in metrics.class_scores(sums).items()}
    rows = []
    for label, class_name in enumerate(class_names):
        own = outcome.true == label
        known = bool(own.any())
        low, high = _interval_within(outcome, own) if known else (None, None)
        row = tables.ClassRow(
            class_name=class_name,
            precision=scores["precision"][label],
            recall=scores["recall"][label] if known else None,
            recall_low=low,
            recall_high=high,
            f1=scores["f1"][label],
            num_videos=int(own.sum()),
        )
        rows.append(_rounded(row))
    return rows


def confusion_rows(outcome: Outcome, class_names: Sequence[str]) -> list[tables.ConfusionRow]:
    """Count every pair of actual and predicted class, including pairs without videos."""
    counts = np.zeros((len(class_names), len(class_names)), dtype=np.int64)
    np.add.at(counts, (outcome.true, outcome.predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        _rounded(tables.ConfusionRow(actual, predicted, int(counts[i, j]), float(shares[i, j])))
        for i, actual in enumerate(class_names)
        for j, predicted in enumerate(class_names)
    ]


def reliability_rows(outcome: Outcome) -> list[tables.ReliabilityRow]:
    """Compute mean confidence and accuracy of every bin of confidence that has videos."""
    bins = metrics.bin_of(outcome.confidence)
    rows = []
    for number in np.unique(bins).tolist():
        inside = bins == number
        low, high = _interval_within(outcome, inside)
        row = tables.ReliabilityRow(
            bin=f"{number / NUM_BINS:.1f}–{(number + 1) / NUM_BINS:.1f}",
            confidence=float(outcome.confidence[inside].mean()),
            accuracy=float(outcome.right[inside].mean()),
            low=low,
            high=high,
            num_videos=int(inside.sum()),
        )
        rows.append(_rounded(row))
    return rows


def prediction_rows(
    outcome: Outcome, class_names: Sequence[str], *, num_views: int
) -> list[tables.PredictionRow]:
    """Make the row of every test video in predictions.csv."""
    rows = []
    for i, row in enumerate(outcome.rows):
        predicted = class_names[outcome.predicted[i]]
        made = tables.PredictionRow(
            video_path=row.video_path,
            group=row.group,
            actual=row.class_name,
            predicted=predicted,
            answer=predicted if outcome.answered[i] else NONE_OF_THESE,
            confidence=float(outcome.confidence[i]),
            probability_of_actual=float(outcome.probabilities[i, row.label]),
            num_views=num_views,
            start_seconds=row.start_seconds,
            end_seconds=row.end_seconds,
            novelty=None if outcome.novelty is None else float(outcome.novelty[i]),
        )
        rows.append(_rounded(made))
    return rows


def _interval_within(outcome: Outcome, chosen: Bools) -> Interval:
    return interval_of_part(
        outcome.right[chosen], outcome.units[chosen], correlation=outcome.correlation
    )


def _rounded(row: RowT) -> RowT:
    """Round the floats of a row to DIGITS decimals; NaN becomes None."""
    return row._make(
        (None if math.isnan(value) else round(value, DIGITS)) if isinstance(value, float) else value
        for value in row
    )
