"""Compare two models on the same test videos. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.comparing.sources import check_same_classes
from slowfast_finetune.evaluation import resampling
from slowfast_finetune.evaluation.resampling import COVERAGE, NORMAL_QUANTILE
from slowfast_finetune.evaluation.result_tables import Predictions, cases_of
from slowfast_finetune.scoring.metrics import Floats, Labels, label_sums, scores_of_sums
from slowfast_finetune.timelines.segment_scores import Timeline, draws, scores_of
from slowfast_finetune.timelines.timeline_tables import TimelineRow, timelines_of

NUM_RESAMPLES = 10_000
# Half of the last digit in predictions.csv: a probability written as 0 is at most this.
MIN_PROBABILITY = 5e-7
_WORDS = {
    "top1_accuracy": "top-1 accuracy", "macro_recall": "macro recall", "loss": "log loss",
    "frame_accuracy": "time right", "f1_10": "F1 at IoU 0.10", "f1_25": "F1 at IoU 0.25",
    "f1_50": "F1 at IoU 0.50", "map": "mAP",
}  # fmt: skip
# So far apart the ends of a video may be: each model counts whole frames of its own rate.
MAX_APART = 1.0  # [s]
POWER_QUANTILE = 0.841621  # of the standard normal distribution at 0.8


@dataclass(frozen=True)
class Difference:
    """A score of both models, and B minus A with its 95 % confidence interval, if it has one."""

    score: str
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None

    @property
    def interval(self) -> str:
        """The interval as text, in brackets; empty if there is none."""
        return "" if self.low is None else f"[{self.low:+.3f}, {self.high:+.3f}]"

    @property
    def is_apart(self) -> bool:
        """Tells whether the interval excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Comparison:
    """Two models on the same videos.

    The differences are those of top1_accuracy, macro_recall (mean over the classes in the test
    split) and loss (mean of -ln p(actual class); lower is better), in this order.
    """

    num_videos: int
    num_units: int  # resampled: groups, and videos without one
    differences: tuple[Difference, ...]
    only_a: int  # videos that only A classifies correctly
    only_b: int
    p_value: float  # of McNemar's exact test, which assumes independent videos
    noun: str = "video"  # what a case is called, of which there are num_videos
    unit_noun: str = "video"  # what a unit is called

    @property
    def is_significant(self) -> bool:
        """Tells whether McNemar's test has p < 0.05, too.

        If the models differ in few videos, the bootstrap alone is too optimistic.
        """
        return self.differences[0].is_apart and self.p_value < 1 - COVERAGE


def compare(a: Predictions, b: Predictions) -> Comparison:
    """Compare B with A by a paired bootstrap and McNemar's exact test.

    Each resample draws as many units as there are, with replacement, for both models (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993; for groups: Davison and Hinkley, Bootstrap
    Methods and their Application, 1997, section 3.8). Confidence intervals are the middle 95 % of
    the resampled differences.

    Raises:
        DataError: the videos, the classes, or the actual class or group of a video differ.
    """
    from scipy.stats import binomtest

    b = _aligned(a, b)
    right_a, right_b = a.predicted == a.actual, b.predicted == b.actual
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    units = a.units
    num_units = int(units.max()) + 1
    return Comparison(
        num_videos=len(a.frame),
        num_units=num_units,
        differences=differences(_scores(a, units), _scores(b, units), num_units=num_units),
        only_a=only_a,
        only_b=only_b,
        p_value=float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0,
        noun=a.noun,
        unit_noun=a.unit_noun,
    )


def _aligned(a: Predictions, b: Predictions) -> Predictions:
    """Sort B like A; refuse runs that cannot be compared."""
    import pandas as pd

    names = f"{a.source} and {b.source}"
    check_same_classes([a, b])
    cases = pd.DataFrame({"case": cases_of(a.frame)})
    both = cases.merge(b.frame.assign(case=cases_of(b.frame)), on="case")
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
        path, was, now = changed[["case", "was", "actual"]].iloc[0]
        raise DataError(
            f"{names} disagree on what {len(changed)} videos show: {path} is {was} and {now}"
        )
    return replace(b, frame=both)


def differences(
    a: Mapping[str, Floats], b: Mapping[str, Floats], *, num_units: int
) -> tuple[Difference, ...]:
    """Compare scores (1 + resamples,): of everything, then of the same resamples for A and B.

    Left out is a score that cannot be computed of everything (NaN).

    Args:
        num_units: which were resampled; very few give no interval.
    """
    found = []
    for name, of_a in a.items():
        drawn = b[name] - of_a
        if not np.isnan(drawn[0]):
            one, other, gain = (float(each[0]) for each in (of_a, b[name], drawn))
            low, high = resampling.bootstrap_interval(drawn[1:], num_units=num_units)
            known = (None, None) if math.isnan(low) else (low, high)
            found.append(Difference(name, one, other, gain, *known))
    return tuple(found)


def _scores(run: Predictions, units: Labels) -> dict[str, Floats]:
    """Compute each score of all videos, then of each resample (1 + NUM_RESAMPLES,).

    Classes without videos are left out. The resamples are the same for any run.
    """
    by_unit = _unit_sums(run, units)
    sums = np.vstack([by_unit.sum(axis=0), resampling.resampled(by_unit, count=NUM_RESAMPLES)])
    labels, losses = sums[:, :-1], sums[:, -1]
    num_videos = labels[:, : labels.shape[1] // 3].sum(axis=1)
    scores = scores_of_sums(labels)
    return {
        "top1_accuracy": scores["accuracy"],
        "macro_recall": scores["macro_recall"],
        "loss": losses / num_videos,
    }


def _unit_sums(run: Predictions, units: Labels) -> Floats:
    """Compute label_sums and the sum of losses of each unit: (units, 3 classes + 1)."""
    actual = run.actual
    labels = label_sums(actual, run.predicted, num_classes=len(run.class_names), units=units)
    probability = run.probabilities[np.arange(len(actual)), actual]
    losses = np.bincount(units, -np.log(np.maximum(probability, MIN_PROBABILITY)))
    return np.hstack([labels, losses[:, None]])


def verdict(comparison: Comparison) -> str:
    """State in one sentence which model has the higher top-1 accuracy, or that this is unclear."""
    top1 = comparison.differences[0]
    shown = f"top-1 {top1.difference:+.3f} {top1.interval}".rstrip()
    if comparison.is_significant:
        return f"{'B' if top1.difference > 0 else 'A'} is better: {shown}"
    reason = ""
    if top1.is_apart:
        differing = comparison.only_a + comparison.only_b
        reason = f"; the models differ in only {differing} {comparison.noun}s"
    elif top1.difference and comparison.num_units == comparison.num_videos:
        needed = videos_needed(comparison)
        reason = (
            f"; to detect this difference with a power of 0.8, about {needed:,} test videos are "
            "needed"
        )
    return f"no significant difference: {shown}{reason}"


def videos_needed(comparison: Comparison) -> int:
    """Compute the independent videos at which McNemar's test (two-sided, 5 %) has a power of 0.8.

    (z₁ √d + z₂ √(d - e²))² / e², where a share d of the videos is classified correctly by one model
    alone and e ≠ 0 is the difference in accuracy, both as observed. Connor, "Sample size for
    testing differences in proportions for the paired-sample design", Biometrics 43 (1987), 207-211.
    """
    count = comparison.num_videos
    apart = (comparison.only_a + comparison.only_b) / count
    difference = (comparison.only_b - comparison.only_a) / count
    root = NORMAL_QUANTILE * math.sqrt(apart) + POWER_QUANTILE * math.sqrt(apart - difference**2)
    return math.ceil((root / difference) ** 2)


def table_of(differences: Sequence[Difference]) -> list[str]:
    """Format differences, a line for each, below a line of titles."""
    return [
        f"{'':15} {'A':>6} {'B':>7} {'B - A':>8}   95 % confidence interval",
        *(
            f"{_WORDS.get(row.score, row.score):15} {row.a:6.3f} {row.b:7.3f} "
            f"{row.difference:+8.3f}   {row.interval or '–'}"
            for row in differences
        ),
    ]


def describe(comparison: Comparison, *, a: str, b: str) -> str:
    """Format the comparison as a table and sentences, the verdict last."""
    lines = [f"A: {a}", f"B: {b}", "", *table_of(comparison.differences)]
    grouped = comparison.num_units < comparison.num_videos
    unit = comparison.unit_noun
    by = f" in {count(comparison.num_units, unit)}, resampled by {unit}" if grouped else ""
    cases = f"{comparison.noun}s"
    few = resampling.few_units(comparison.num_units, unit)
    lines += [
        "",
        f"{comparison.num_videos} {cases}{by}; only A correct: {comparison.only_a}, only B "
        f"correct: {comparison.only_b}; exact McNemar p = {comparison.p_value:.2g}"
        + (f" (assumes independent {cases})" if grouped else ""),
        *([few] if few else []),
        verdict(comparison),
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class TimelineComparison:
    """Differences of the scores of timelines, with intervals by a paired bootstrap over units."""

    num_videos: int  # that both have timelines of, labelled alike
    num_left_out: int  # that only one has, or that are labelled otherwise
    num_units: int  # of resampling: groups, and videos without one
    differences: tuple[Difference, ...]


def compare_timelines(
    a: Sequence[TimelineRow], b: Sequence[TimelineRow], groups: Mapping[str, str]
) -> TimelineComparison | None:
    """Compare the timelines of B with those of A; None where fewer than two units are shared.

    Args:
        groups: of videos that are in one.
    """
    names = sorted({row.class_name for row in (*a, *b) if row.class_name is not None})
    of_a, of_b = timelines_of(a, names), timelines_of(b, names)
    shared = {}
    for path in filter(of_b.__contains__, of_a):
        lines = of_a[path], of_b[path]
        shorter, longer = sorted(line.seconds for line in lines)
        one, other = (_shortened(line, shorter) for line in lines)
        if longer - shorter <= MAX_APART and one.true == other.true:
            shared[path] = one, other
    units = [groups.get(path, path) for path in shared]
    if len({*units}) < 2:
        return None
    weights = draws(units)
    scores_a, scores_b = (scores_of(lines, weights) for lines in zip(*shared.values(), strict=True))
    num_left_out = len(of_a.keys() | of_b.keys()) - len(shared)
    num_units = len({*units})
    found = differences(scores_a, scores_b, num_units=num_units)
    return TimelineComparison(len(shared), num_left_out, num_units, found)


def _shortened(line: Timeline, seconds: float) -> Timeline:
    """A timeline without what is later."""
    true, predicted = (
        [part._replace(end=min(part.end, seconds)) for part in lane if part.start < seconds]
        for lane in (line.true, line.predicted)
    )
    return Timeline(true, predicted, seconds)


def describe_timelines(found: TimelineComparison) -> str:
    """Format the comparison as a table and a sentence."""
    unit = "video" if found.num_units == found.num_videos else "group"
    said = f"timelines of {found.num_videos} videos, resampled by {unit}"
    if found.num_left_out:
        said += f"; {found.num_left_out} more have none in A or B, or other labels there"
    few = resampling.few_units(found.num_units, unit)
    return "\n".join(["", *table_of(found.differences), "", said, *([few] if few else [])])
