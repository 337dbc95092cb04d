"""Pure: which of two models is better, judged on the same videos."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.comparing.sources import check_same_classes
from slowfast_finetune.evaluation.predictions_table import Predictions
from slowfast_finetune.evaluation.resampling import (
    COVERAGE,
    Interval,
    interval_of_accuracy,
    percentile_interval,
    resampled,
)
from slowfast_finetune.scoring.metrics import Floats, Labels, label_sums, scores_of_sums

NUM_RESAMPLES = 10_000
# With fewer, too few different resamples exist, and intervals come out too narrow (Cameron,
# Gelbach and Miller, "Bootstrap-based improvements for inference with clustered errors", 2008).
FEW_UNITS = 20
# Half of the last digit that predictions.csv keeps: what is written as 0 is at most this.
MIN_PROBABILITY = 5e-7
Z_BOTH_SIDES = 1.959964  # standard normal quantile of 1 - (1 - COVERAGE) / 2
Z_POWER = 0.841621  # of 0.8: four times of five


@dataclass(frozen=True)
class Difference:
    """One score of both models, and B minus A with its 95 % interval."""

    score: str
    a: float
    b: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same videos.

    Attributes:
        num_units: what was resampled: groups, and videos without one.
        differences: of top1_accuracy, macro_recall (mean over the classes that are tested) and
            loss (mean of -ln p(actual class); less is better), in this order.
        only_a, only_b: videos that one alone has right.
        p_value: of McNemar's exact test, which takes videos for independent.
    """

    num_videos: int
    num_units: int
    differences: tuple[Difference, ...]
    only_a: int
    only_b: int
    p_value: float


def compare(a: Predictions, b: Predictions, *, seed: int = 0) -> Comparison:
    """B against A: differences with a paired bootstrap, and McNemar's exact test.

    Each resample draws as many units as there are, with replacement, and judges both models on
    the same draw (Efron and Tibshirani, An Introduction to the Bootstrap, 1993; of whole groups:
    Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). Intervals are
    the middle 95 % of the resampled differences.

    Raises:
        DataError: other videos, other classes, or a video whose actual class has changed.
    """
    from scipy.stats import binomtest

    b = _aligned(a, b)
    right_a, right_b = a.predicted == a.actual, b.predicted == b.actual
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    units = a.units
    values, drawn = _scores(a, b, units=units, seed=seed)
    return Comparison(
        num_videos=len(a.frame),
        num_units=int(units.max()) + 1,
        differences=tuple(_difference(name, *values[name], drawn=drawn[name]) for name in values),
        only_a=only_a,
        only_b=only_b,
        p_value=float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0,
    )


def _aligned(a: Predictions, b: Predictions) -> Predictions:
    """B in the order of A's videos; refused where the two cannot be compared."""
    names = f"{a.source} and {b.source}"
    check_same_classes([a, b])
    both = a.frame[["video_path"]].merge(b.frame, on="video_path")
    if len(both) < max(len(a.frame), len(b.frame)):
        raise DataError(
            f"{names} were tested on different videos: {len(a.frame)} and {len(b.frame)}, "
            f"{len(both)} of them shared; test both on the same"
        )
    differing = int((a.frame["group"].fillna("") != both["group"].fillna("")).sum())
    if differing:
        raise DataError(
            f"{names} disagree on the group of {differing} videos; measure both with the "
            "same groups"
        )
    changed = both.assign(was=a.frame["actual"])[a.frame["actual"] != both["actual"]]
    if len(changed):
        path, was, now = changed[["video_path", "was", "actual"]].iloc[0]
        raise DataError(
            f"{names} disagree on what {len(changed)} videos show: {path} is {was} and {now}"
        )
    return replace(b, frame=both)


def _scores(
    a: Predictions, b: Predictions, *, units: Labels, seed: int
) -> tuple[dict[str, tuple[float, float]], dict[str, Floats]]:
    """Each score of A and B, and its difference (NUM_RESAMPLES,) in each resample."""
    sums_a, sums_b = _unit_sums(a, units), _unit_sums(b, units)
    whole_a, whole_b = (_scores_of_sums(sums.sum(axis=0)[None]) for sums in (sums_a, sums_b))
    # The same seed draws the same units for both.
    drawn_a, drawn_b = (
        _scores_of_sums(resampled(sums, count=NUM_RESAMPLES, seed=seed))
        for sums in (sums_a, sums_b)
    )
    values = {name: (float(whole_a[name][0]), float(whole_b[name][0])) for name in whole_a}
    return values, {name: drawn_b[name] - drawn_a[name] for name in whole_a}


def _unit_sums(run: Predictions, units: Labels) -> Floats:
    """Of each unit (units, 3 classes + 1): what label_sums counts, and the loss of its videos."""
    actual = run.actual
    labels = label_sums(actual, run.predicted, num_classes=len(run.class_names), units=units)
    probability = run.probabilities[np.arange(len(actual)), actual]
    losses = np.bincount(units, -np.log(np.maximum(probability, MIN_PROBABILITY)))
    return np.hstack([labels, losses[:, None]])


def _scores_of_sums(sums: Floats) -> dict[str, Floats]:
    """Scores (R,) of sums (R, 3 classes + 1); a class that was not drawn takes no part."""
    labels, losses = sums[:, :-1], sums[:, -1]
    num_videos = labels[:, : labels.shape[1] // 3].sum(axis=1)
    scores = scores_of_sums(labels)
    return {
        "top1_accuracy": scores["accuracy"],
        "macro_recall": scores["macro_recall"],
        "loss": losses / num_videos,
    }


def _difference(name: str, a: float, b: float, *, drawn: Floats) -> Difference:
    return Difference(name, a, b, b - a, *percentile_interval(drawn))


def accuracy_interval(run: Predictions) -> Interval:
    """The 95 % interval of one model's top-1 accuracy, over groups (videos without one)."""
    return interval_of_accuracy(run.actual == run.predicted, run.units)


def verdict(comparison: Comparison) -> str:
    """One sentence: which is better by top-1 accuracy, or that the videos do not tell.

    A model is called better where the interval leaves out 0 and McNemar's test says p < 0.05: with
    few videos between the two, the bootstrap alone promises too much.
    """
    top1 = comparison.differences[0]
    shown = f"top-1 {top1.difference:+.3f} [{top1.low:+.3f}, {top1.high:+.3f}]"
    apart = top1.low > 0 or top1.high < 0
    if apart and comparison.p_value < 1 - COVERAGE:
        return f"{'B' if top1.difference > 0 else 'A'} is better: {shown}"
    reason = ""
    if apart:
        reason = f"; only {comparison.only_a + comparison.only_b} videos are between them"
    elif top1.difference and comparison.num_units == comparison.num_videos:
        needed = videos_needed(comparison)
        reason = (
            f"; were this the true difference, about {needed:,} test videos would show it "
            "four times of five"
        )
    return f"not distinguishable: {shown}{reason}"


def videos_needed(comparison: Comparison) -> int:
    """Independent videos with which McNemar's test (two-sided, 5 %) has a power of about 0.8.

    Taking the shares seen here for the true ones: d of the videos are right in one model alone,
    and the models differ by e: (z₁ √d + z₂ √(d - e²))² / e². Connor, "Sample size for testing
    differences in proportions for the paired-sample design", Biometrics 43 (1987), 207-211. Asks
    for a difference that is not 0.
    """
    count = comparison.num_videos
    apart = (comparison.only_a + comparison.only_b) / count
    difference = (comparison.only_b - comparison.only_a) / count
    root = Z_BOTH_SIDES * math.sqrt(apart) + Z_POWER * math.sqrt(apart - difference**2)
    return math.ceil((root / difference) ** 2)


def describe(comparison: Comparison, *, a: str, b: str) -> str:
    """The comparison in a few lines, the verdict last."""
    words = {"top1_accuracy": "top-1 accuracy", "macro_recall": "macro recall", "loss": "log loss"}
    lines = [f"A: {a}", f"B: {b}", "", f"{'':15} {'A':>6} {'B':>7} {'B - A':>8}   95 % interval"]
    lines += [
        f"{words[row.score]:15} {row.a:6.3f} {row.b:7.3f} {row.difference:+8.3f}   "
        f"[{row.low:+.3f}, {row.high:+.3f}]"
        for row in comparison.differences
    ]
    grouped = comparison.num_units < comparison.num_videos
    units = "groups" if grouped else "videos"
    few = f"{comparison.num_units} {units} are few: the intervals are rough"
    by = f" in {comparison.num_units} groups, resampled by group" if grouped else ""
    lines += [
        "",
        f"{comparison.num_videos} videos{by}; only A right: {comparison.only_a}, only B right: "
        f"{comparison.only_b}; exact McNemar p = {comparison.p_value:.2g}"
        + (" (takes videos for independent)" if grouped else ""),
        *([few] if comparison.num_units < FEW_UNITS else []),
        verdict(comparison),
    ]
    return "\n".join(lines)
