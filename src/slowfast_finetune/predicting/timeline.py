"""Pure: from what was answered to windows of a long video to segments with one answer each."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """A stretch of a video with one answer."""

    answer: str | None  # a class name, or None for "none of these"
    start_seconds: float  # from the first frame
    end_seconds: float
    confidence: float  # mean probability of the answer, or of the likeliest class if it is None


def window_spans(
    runs: Sequence[tuple[int, int]], *, stride: int, window: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """Spans (first frame, frame after the last) of a timeline's windows, and the run of each.

    Of many windows that hold the same frames only those that overlap another run's stand for
    themselves; the others, whose mean is that of any of them, become one long span. So a frame
    that is held for days is a few spans.

    Args:
        runs: (first frame, count) of windows of ``window`` frames, ``stride`` apart in a run.
    """
    spans, numbers = [], []
    overlap = -(-window // stride)  # windows after which one touches the first no more
    for number, (start, count) in enumerate(runs):
        steps = [*range(min(count, overlap)), *range(max(overlap, count - overlap), count)]
        each = [(start + step * stride, start + step * stride + window) for step in steps]
        if count > 2 * overlap:
            between = start + overlap * stride, start + (count - overlap - 1) * stride + window
            each.insert(overlap, between)
        spans += each
        numbers += [number] * len(each)
    return spans, numbers


def smooth(
    probabilities: Probabilities, spans: Sequence[tuple[int, int]]
) -> tuple[Probabilities, list[int]]:
    """Probabilities (cells, classes) of each stretch between span edges, and these edges.

    Every cell is the mean over the spans that cover it: where windows overlap, one that saw the
    action only at its edge does not decide alone.

    Args:
        probabilities: (spans, classes).
        spans: first frame, and the frame after the last; both increase.
    """
    starts, ends = (np.array(side) for side in zip(*spans, strict=True))
    edges = np.unique([starts, ends])
    # The spans that cover a cell follow one another. Cells times spans would be a table of
    # the length's square.
    first = np.searchsorted(ends, edges[1:], side="left")
    end = np.searchsorted(starts, edges[:-1], side="right")
    cells = [probabilities[low:high].mean(axis=0) for low, high in zip(first, end, strict=True)]
    return np.stack(cells), edges.tolist()


def blur(cells: Probabilities, edges_seconds: Sequence[float], *, seconds: float) -> Probabilities:
    """Means of cells (cells, classes) over ``seconds`` around the middle of each."""
    if seconds == 0:
        return cells
    edges = np.asarray(edges_seconds, dtype=np.float64)
    middles = (edges[:-1] + edges[1:]) / 2
    starts, ends = (np.clip(middles + side * seconds / 2, edges[0], edges[-1]) for side in (-1, 1))
    sums = np.vstack([np.zeros(cells.shape[1]), np.cumsum(cells * np.diff(edges)[:, None], axis=0)])
    return np.stack(
        [
            (np.interp(ends, edges, s) - np.interp(starts, edges, s)) / (ends - starts)
            for s in sums.T
        ],
        axis=1,
    )


def segments_of(
    cells: Probabilities,
    edges_seconds: Sequence[float],
    *,
    class_names: Sequence[str],
    threshold: float,
    shortest_seconds: float = 0.0,
) -> list[Segment]:
    """Join neighbouring cells that have one answer.

    Args:
        cells: probabilities (cells, classes).
        edges_seconds: the times between which they lie, one more than cells [s].
        threshold: an answer less probable is None.
        shortest_seconds: of what is shorter, the shortest first goes to its longer neighbour.
    """
    labels = np.where(cells.max(axis=1) >= threshold, cells.argmax(axis=1), -1)
    starts = np.flatnonzero(np.diff(labels, prepend=-2)).tolist()
    runs = [
        _Run(int(labels[start]), start, end)
        for start, end in itertools.pairwise([*starts, len(cells)])
    ]
    lengths = np.diff(edges_seconds)
    segments = []
    for label, start, end in _without_short(runs, edges_seconds, shortest_seconds):
        inside = cells[start:end]
        sure = inside.max(axis=1) if label == -1 else inside[:, label]
        segments.append(
            Segment(
                answer=None if label == -1 else class_names[label],
                start_seconds=edges_seconds[start],
                end_seconds=edges_seconds[end],
                confidence=float(np.average(sure, weights=lengths[start:end])),
            )
        )
    return segments


class _Run(NamedTuple):
    """Cells from ``start`` to before ``end`` with one label; -1 is "none of these"."""

    label: int
    start: int
    end: int


def _without_short(runs: list[_Run], edges: Sequence[float], shortest: float) -> list[_Run]:
    """Runs none of which is shorter than ``shortest`` seconds, unless it is the only one."""
    lengths = [edges[run.end] - edges[run.start] for run in runs]
    while len(runs) > 1 and min(lengths) < shortest:
        short = lengths.index(min(lengths))
        sides = [side for side in (short - 1, short + 1) if 0 <= side < len(runs)]
        label = runs[max(sides, key=lengths.__getitem__)].label
        # Where both neighbours have the label, all three are one.
        same = [short, *(side for side in sides if runs[side].label == label)]
        first, last = min(same), max(same)
        runs[first : last + 1] = [_Run(label, runs[first].start, runs[last].end)]
        lengths[first : last + 1] = [sum(lengths[first : last + 1])]
    return runs
