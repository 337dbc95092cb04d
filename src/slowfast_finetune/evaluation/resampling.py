"""Compute confidence intervals of scores from groups of videos. Pure."""

from collections.abc import Sequence

import numpy as np

from slowfast_finetune.base.console import count as counted
from slowfast_finetune.scoring.metrics import Bools, Floats, Labels

NUM_RESAMPLES = 2000
COVERAGE = 0.95
# With fewer units, bootstrap intervals are too narrow: Cameron, Gelbach and Miller,
# "Bootstrap-based improvements for inference with clustered errors", 2008.
FEW_UNITS = 20
# With fewer still there is no bootstrap interval: it cannot leave the range of the units, in which
# the median lies with a probability of 1 - 2^(1 - units): 50 % of two, 94 % of five, 97 % of six.
FEWEST_UNITS = 6
NORMAL_QUANTILE = 1.959964  # of the standard normal distribution at (1 + COVERAGE) / 2
_ROWS_AT_ONCE = 100

Interval = tuple[float, float]


def units_of(names: Sequence[str]) -> Labels:
    """Number the units (N,) from 0, as they come: a unit is a group, or a video that has none.

    Predictions for videos of one group (a person, a camera) are correlated; resampling single
    videos would make confidence intervals too narrow.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def resampled(sums: Floats, *, count: int = NUM_RESAMPLES, seed: int = 0) -> Floats:
    """Draw units with replacement and add up their sums (units, F): (count, F).

    This is the cluster bootstrap: each resample has as many units as there are, each with all its
    videos. The same seed draws the same units for any sums, so that scores can be subtracted.
    """
    num_units = len(sums)
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, count, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, count - first)
        drawn = rng.integers(num_units, size=(rows, num_units))
        drawn += np.arange(rows)[:, None] * num_units
        counts = np.bincount(drawn.ravel(), minlength=rows * num_units)
        parts.append(counts.reshape(rows, num_units) @ sums)
    return np.concatenate(parts)


def few_units(num_units: int, noun: str, *, of_shares: bool = False) -> str:
    """Say that intervals from so few units are too narrow, or missing; empty if they are not.

    Args:
        of_shares: the intervals are those of shares, which are never missing.
    """
    if num_units >= FEW_UNITS:
        return ""
    said = f"with only {counted(num_units, noun)}, "
    if num_units < FEWEST_UNITS and not of_shares:
        return f"{said}there are no confidence intervals"
    return f"{said}confidence intervals are too narrow"


def bootstrap_interval(values: Floats, *, num_units: int) -> Interval:
    """Return the interval of a score by its resamples (B,); NaN if the units are too few."""
    if num_units < FEWEST_UNITS:
        return float("nan"), float("nan")
    return percentile_interval(values)


def percentile_interval(values: Floats) -> Interval:
    """Return the middle 95 % of resampled values (B,), without those that are NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return (float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def wilson_interval(share: float, count: float) -> Interval:
    """Compute the 95 % Wilson score interval of a share of ``count`` independent cases.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927. Unlike
    the bootstrap's, it has a width if all cases agree.
    """
    if count == 0:
        return 0.0, 1.0
    z2 = NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    spread = (
        NORMAL_QUANTILE
        / (1 + z2 / count)
        * np.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    )
    return max(0.0, float(centre - spread)), min(1.0, float(centre + spread))


def correlation_in_units(right: Bools, units: Labels) -> float:
    """Estimate the correlation of being right (N,) of two videos of a unit, from 0 to 1.

    By one-way analysis of variance, for units of any sizes: Donner, "A review of inference
    procedures for the intraclass correlation coefficient in the one-way random effects model",
    1986. If nothing varies (all right, all wrong, one unit), 1 is assumed: the videos of a unit are
    all right or all wrong.
    """
    count, num_units, share = len(right), int(units.max()) + 1, float(right.mean())
    if share in (0.0, 1.0) or num_units in (1, count):  # or no unit has two videos
        return 1.0
    right_in, videos_in = np.bincount(units, right), np.bincount(units)
    between = (videos_in * (right_in / videos_in - share) ** 2).sum() / (num_units - 1)
    within = (right_in * (1 - right_in / videos_in)).sum() / (count - num_units)
    size = (count - (videos_in**2).sum() / count) / (num_units - 1)
    return float(np.clip((between - within) / (between + (size - 1) * within), 0.0, 1.0))


def effective_count(
    units: Labels, *, correlation: float, weights: Floats | Bools | None = None
) -> float:
    """Count the independent videos whose mean varies as much as that of these (N,).

    For equal weights and units of m videos: N / (1 + (Σm²/N - 1) correlation), which is Kish,
    "Survey Sampling", 1965. For videos that are all independent: (Σw)² / Σw².
    """
    shares = np.ones(len(units)) if weights is None else weights.astype(np.float64)
    shares /= shares.sum()
    together, alone = (np.bincount(units, shares) ** 2).sum(), (shares**2).sum()
    return float(1 / (correlation * together + (1 - correlation) * alone))


def interval_of_part(right: Bools, units: Labels, *, correlation: float) -> Interval:
    """Compute the interval of the share right (N,) of some test videos, such as a class or a bin.

    Wilson's with the effective number of videos; some videos are often too few for the bootstrap,
    and often all right.

    Args:
        correlation: of all test videos, see :func:`correlation_in_units`.
    """
    return wilson_interval(float(right.mean()), effective_count(units, correlation=correlation))


def interval_of_share(share: float, resamples: Floats, *, count: float) -> Interval:
    """Compute the interval of a share of all test videos: the union of bootstrap's and Wilson's.

    With few units or few errors the bootstrap's is too narrow: resamples of three correct
    predictions are always correct. Wilson's, with the effective number of videos, is not.

    Args:
        count: see :func:`effective_count`.
    """
    ends = wilson_interval(share, count), percentile_interval(resamples)
    lows, highs = zip(*ends, strict=True)
    return min(lows), max(highs)


def interval_of_accuracy(right: Bools, units: Labels) -> Interval:
    """Compute the interval of the share right (N,) of all test videos."""
    sums = np.stack([np.bincount(units, right), np.bincount(units)], axis=1)
    totals = resampled(sums.astype(np.float64))
    return interval_of_share(
        float(right.mean()),
        totals[:, 0] / totals[:, 1],
        count=effective_count(units, correlation=correlation_in_units(right, units)),
    )
