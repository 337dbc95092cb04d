"""Pure: from what was answered to windows of a long video to segments with one answer each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """A stretch of a video with one answer.

    Attributes:
        answer: a class name, or None for "none of these".
        start_seconds, end_seconds: from the first frame.
        confidence: mean probability of the answer over the stretch; of the most probable class
            where the answer is None.
    """

    answer: str | None
    start_seconds: float
    end_seconds: float
    confidence: float


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


def segments_of(
    cells: Probabilities,
    edges_seconds: Sequence[float],
    *,
    class_names: Sequence[str],
    threshold: float,
) -> list[Segment]:
    """Join neighbouring cells that have one answer.

    Args:
        cells: probabilities (cells, classes).
        edges_seconds: the times between which they lie, one more than cells [s].
    """
    labels = cells.argmax(axis=1)
    confidence = cells.max(axis=1)
    answers = [
        class_names[label] if sure >= threshold else None
        for label, sure in zip(labels, confidence, strict=True)
    ]
    lengths = np.diff(edges_seconds)
    segments = []
    for answer, run in itertools.groupby(range(len(cells)), key=lambda cell: answers[cell]):
        inside = list(run)
        segments.append(
            Segment(
                answer=answer,
                start_seconds=edges_seconds[inside[0]],
                end_seconds=edges_seconds[inside[-1] + 1],
                confidence=float(np.average(confidence[inside], weights=lengths[inside])),
            )
        )
    return segments
