"""Pure: how far a number could be off, had other videos been taken."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from slowfast_finetune.scoring.metrics import Floats, Labels

NUM_RESAMPLES = 2000
COVERAGE = 0.95
_NORMAL_QUANTILE = 1.959964  # of (1 + COVERAGE) / 2
_ROWS_AT_ONCE = 500

Interval = tuple[float, float]


def units_of(groups: Iterable[object]) -> Labels:
    """The unit (N,) that each video belongs to, from 0: its group, or itself where it has none.

    Videos of a group (a person, a camera) are right or wrong together; to draw them one by one
    would make the interval too narrow.
    """
    # A number is no name of a group; what is missing is None, or NaN from a table.
    names = [name if isinstance(name, str) else index for index, name in enumerate(groups)]
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


def wilson_interval(share: float, count: float) -> Interval:
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


def design_effect(right: npt.NDArray[np.bool_], units: Labels) -> float:
    """How many test videos tell as much as one that is independent of all others; at least 1.

    The variance of the share right (N,) over units, as a ratio estimate, divided by that of N
    independent videos: Kish, "Survey Sampling", 1965. Where nothing varies (all right, all wrong,
    one unit) the worst is taken: a unit is right or wrong as a whole.
    """
    count, num_units = len(right), int(units.max()) + 1
    share = float(right.mean())
    worst = count / num_units
    if share in (0.0, 1.0) or num_units == 1:
        return worst
    right_in, videos_in = np.bincount(units, right), np.bincount(units)
    variance = num_units / (num_units - 1) * ((right_in - share * videos_in) ** 2).sum() / count**2
    return float(np.clip(variance / (share * (1 - share) / count), 1.0, worst))


def interval_of_part(
    right: npt.NDArray[np.bool_], units: Labels, *, design_effect: float
) -> Interval:
    """The interval of the share right (N,) in a part of the test videos: one class, one bin.

    Wilson's with as many cases as the videos are worth, at least one a unit. A part is often too
    small for the bootstrap, and often all right.
    """
    worth = max(len(right) / design_effect, len(np.unique(units)))
    return wilson_interval(float(right.mean()), worth)


def interval_of_share(
    share: float, resamples: Floats, *, num_units: int, num_videos: int, design_effect: float
) -> Interval:
    """The interval of a share of all test videos: the bootstrap's, and no less than Wilson's.

    With few units, or few mistakes, the bootstrap promises too much: three right of three, drawn
    again, are always right. Wilson's, with as many cases as the videos are worth, does not.
    """
    if np.isnan(share):
        return share, share
    low, high = wilson_interval(share, max(num_videos / design_effect, num_units))
    if num_units > 1:
        drawn = percentile_interval(resamples)
        low, high = min(low, drawn[0]), max(high, drawn[1])
    return low, high


def interval_of_accuracy(right: npt.NDArray[np.bool_], units: Labels) -> Interval:
    """The bootstrap's interval of the share right (N,)."""
    sums = np.stack([np.bincount(units, right), np.bincount(units)], axis=1)
    totals = resampled(sums.astype(np.float64))
    return interval_of_share(
        float(right.mean()),
        totals[:, 0] / totals[:, 1],
        num_units=len(sums),
        num_videos=len(right),
        design_effect=design_effect(right, units),
    )
