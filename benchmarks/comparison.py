"""Pure but for the clock: contenders in turn, and what their times say of each other.

The machine is shared and its speed drifts. Whatever is compared runs in turn within one run, and
a ratio is the median over the turns, each of which saw the same weather.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

# Runs once and says how long what counts of it took [s].
Contender = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """How many times faster one side is than the other, in the middle and at the extremes."""

    median: float
    lowest: float
    highest: float


class Stopwatch:
    """``seconds`` of a block; see :func:`timed`."""

    seconds: float = 0.0


@contextmanager
def timed() -> Iterator[Stopwatch]:
    """Measure a block: ``with timed() as watch: …`` and then ``watch.seconds``."""
    watch = Stopwatch()
    start = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - start


def in_turn(
    contenders: Mapping[str, Contender], *, rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each contender in each round.

    Every second round runs backwards, so that none always profits from what ran before it. The
    warm-up round is not counted: it fills the page cache.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    if warm_up:
        for run in contenders.values():
            run()
    for turn in range(rounds):
        names = list(contenders)[:: -1 if turn % 2 else 1]
        for name in names:
            seconds[name].append(contenders[name]())
    return seconds


def speed_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """How many times faster we are, given seconds for the same work in the same rounds."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Seconds that one more of ``sizes`` costs: the line of least squares."""
    return statistics.linear_regression(sizes, seconds).slope
