"""Windows of a long video to segments, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from slowfast_finetune.predicting.timeline import (
    Segment,
    cell_edges,
    segments_of,
    smooth,
)


def test_edges_are_where_windows_begin_and_end() -> None:
    assert cell_edges([0, 4, 5], window=8) == [0, 4, 5, 8, 12, 13]


def test_a_cell_is_the_mean_of_the_windows_that_cover_it() -> None:
    # Windows 0-8, 4-12 and 5-13.
    probabilities = np.array([[1.0, 0.0], [0.4, 0.6], [0.1, 0.9]])
    cells = smooth(probabilities, [0, 4, 5], window=8)
    expected = [1.0, (1.0 + 0.4) / 2, (1.0 + 0.4 + 0.1) / 3, (0.4 + 0.1) / 2, 0.1]
    np.testing.assert_allclose(cells[:, 0], expected)
    np.testing.assert_allclose(cells.sum(axis=1), 1)


def test_windows_that_only_touch_are_not_mixed() -> None:
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(smooth(probabilities, [0, 8], window=8), probabilities)


def test_a_long_video_needs_no_table_of_windows_by_windows() -> None:
    import tracemalloc

    starts = list(range(0, 100_000, 16))
    probabilities = np.full((len(starts), 4), 0.25)
    tracemalloc.start()
    cells = smooth(probabilities, starts, window=32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(cells, 0.25)
    assert peak < 20e6  # 6 000 windows; their square would be 40 MB of booleans alone


def test_neighbours_with_one_answer_are_one_segment() -> None:
    cells = np.array([[0.9, 0.1], [0.7, 0.3], [0.55, 0.45], [0.2, 0.8]])
    segments = segments_of(cells, [0, 1, 4, 5, 6], class_names=["clap", "wave"], threshold=0.6)
    assert segments == [
        # Longer cells weigh more: (0.9 × 1 + 0.7 × 3) / 4.
        Segment("clap", 0, 4, pytest.approx(0.75)),
        Segment(None, 4, 5, pytest.approx(0.55)),
        Segment("wave", 5, 6, pytest.approx(0.8)),
    ]


def test_what_is_as_probable_as_the_threshold_is_an_answer() -> None:
    (segment,) = segments_of(np.array([[0.5, 0.5]]), [0, 1], class_names="ab", threshold=0.5)
    assert segment.answer == "a"


def test_unsure_cells_are_one_stretch_whatever_their_best_class() -> None:
    cells = np.array([[0.55, 0.45], [0.45, 0.55]])
    (segment,) = segments_of(cells, [0, 1, 2], class_names="ab", threshold=0.9)
    assert segment == Segment(None, 0, 2, pytest.approx(0.55))
