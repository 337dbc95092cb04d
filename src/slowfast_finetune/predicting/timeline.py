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


def smooth(probabilities: Probabilities, starts: Sequence[int], *, window: int) -> Probabilities:
    """Probabilities (cells, classes) of each stretch between window edges.

    Every cell is the mean over the windows that cover it: where windows overlap, one that saw the
    action only at its edge does not decide alone. Cells are those of :func:`cell_edges`.
    """
    edges = cell_edges(starts, window=window)
    # The windows that cover a cell follow one another. Cells times windows would be a table of
    # the length's square.
    begin = np.array(starts)
    first = np.searchsorted(begin, np.array(edges[1:]) - window, side="left")
    end = np.searchsorted(begin, edges[:-1], side="right")
    return np.stack(
        [probabilities[low:high].mean(axis=0) for low, high in zip(first, end, strict=True)]
    )


def cell_edges(starts: Sequence[int], *, window: int) -> list[int]:
    """Frames at which a window begins or ends, in order: between two, no other set of windows."""
    return sorted({*starts, *(start + window for start in starts)})


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
