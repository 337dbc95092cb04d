"""Pure: how far a number could be off, had other videos been taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slowfast_finetune.evaluation.metrics import Floats, Labels

NUM_RESAMPLES = 2000
COVERAGE = 0.95
_NORMAL_QUANTILE = 1.959964  # of (1 + COVERAGE) / 2
_ROWS_AT_ONCE = 500

Interval = tuple[float, float]


def units_of(groups: Sequence[str | None]) -> Labels:
    """The unit (N,) that each video belongs to, from 0: its group, or itself where it has none.

    Videos of a group (a person, a camera) are right or wrong together; to draw them one by one
    would make the interval too narrow.
    """
    # A tuple is no name of a group.
    names = [group if group is not None else (index,) for index, group in enumerate(groups)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def resampled(sums: Floats, *, count: int = NUM_RESAMPLES, seed: int = 0) -> Floats:
    """Totals (count, F) of units drawn with replacement, from sums (units, F) of each.

    The bootstrap over clusters: as many units as there are, each with all of its videos. The same
    seed draws the same units, whatever is summed, so that two scores can be subtracted.
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


def percentile_interval(values: Floats) -> Interval:
    """The middle 95 % of resampled values (B,); those that could not be computed (nan) left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return (float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def wilson_interval(share: float, count: int) -> Interval:
    """The 95 % interval of a share seen among ``count`` independent cases.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927. Unlike
    the bootstrap it is not empty where all cases agree.
    """
    if count == 0:
        return 0.0, 1.0
    z2 = _NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    spread = (
        _NORMAL_QUANTILE
        / (1 + z2 / count)
        * np.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    )
    return max(0.0, float(centre - spread)), min(1.0, float(centre + spread))


def interval_of_share(share: float, resampled: Floats, *, num_units: int) -> Interval:
    """The bootstrap's interval; where every resample says the same, Wilson's over the units.

    Three right answers of three do not show that the model is always right.
    """
    low, high = percentile_interval(resampled)
    if np.isnan(share):
        return share, share
    return (low, high) if low < high else wilson_interval(share, num_units)


def interval_of_subset(right: Floats, units: Labels) -> Interval:
    """The interval of the share of some videos that is right (N,), of the units (N,)."""
    _, units = np.unique(units, return_inverse=True)
    num_units = int(units.max()) + 1
    sums = np.zeros((num_units, 2))
    np.add.at(sums, units, np.stack([right, np.ones_like(right)], axis=1))
    totals = resampled(sums)
    return interval_of_share(float(right.mean()), totals[:, 0] / totals[:, 1], num_units=num_units)
