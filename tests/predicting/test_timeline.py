"""Windows of a long video to segments, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from slowfast_finetune.predicting.timeline import (
    Segment,
    blur,
    segments_of,
    smooth,
    window_spans,
)


def windows(*starts: int, length: int = 8) -> list[tuple[int, int]]:
    return [(start, start + length) for start in starts]


def test_a_cell_is_the_mean_of_the_windows_that_cover_it() -> None:
    # Windows 0-8, 4-12 and 5-13.
    probabilities = np.array([[1.0, 0.0], [0.4, 0.6], [0.1, 0.9]])
    cells, edges = smooth(probabilities, windows(0, 4, 5))
    assert edges == [0, 4, 5, 8, 12, 13], "where windows begin and end"
    expected = [1.0, (1.0 + 0.4) / 2, (1.0 + 0.4 + 0.1) / 3, (0.4 + 0.1) / 2, 0.1]
    np.testing.assert_allclose(cells[:, 0], expected)
    np.testing.assert_allclose(cells.sum(axis=1), 1)


def test_windows_that_only_touch_are_not_mixed() -> None:
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(smooth(probabilities, windows(0, 8))[0], probabilities)


def test_a_long_video_needs_no_table_of_windows_by_windows() -> None:
    import tracemalloc

    starts = list(range(0, 100_000, 16))
    probabilities = np.full((len(starts), 4), 0.25)
    tracemalloc.start()
    cells, _ = smooth(probabilities, windows(*starts, length=32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(cells, 0.25)
    assert peak < 20e6  # 6 000 windows; their square would be 40 MB of booleans alone


def test_windows_of_a_hold_become_a_few_spans() -> None:
    # Windows of 8 frames, 4 apart: the second touches the first, the third no more.
    spans, numbers = window_spans([(0, 1), (4, 100), (404, 1)], stride=4, window=8)
    assert spans == [(0, 8), (4, 12), (8, 16), (12, 400), (396, 404), (400, 408), (404, 412)]
    assert numbers == [0, 1, 1, 1, 1, 1, 2]
    assert window_spans([(0, 4)], stride=4, window=8)[0] == windows(0, 4, 8, 12)


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_spans_give_the_means_that_all_windows_give(stride: int) -> None:
    rng = np.random.default_rng(0)
    counts = [1, 40, 2, 1, 17, 30, 1]
    runs, start = [], 0
    for count in counts:
        runs.append((start, count))
        start += count * stride
    values = rng.random((len(counts), 3))
    every = [(first + step * stride, number) for number, (first, count) in enumerate(runs)
             for step in range(count)]  # fmt: skip
    cells, edges = smooth(values[[number for _, number in every]], windows(*(s for s, _ in every)))
    spans, numbers = window_spans(runs, stride=stride, window=8)
    few, few_edges = smooth(values[numbers], spans)
    assert len(few) < len(cells) - 20
    assert set(few_edges) <= set(edges)
    each = np.searchsorted(few_edges, edges[:-1], side="right") - 1
    np.testing.assert_allclose(few[each], cells, rtol=0, atol=1e-12)


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


def test_a_blurred_cell_is_the_mean_over_time_around_its_middle() -> None:
    cells = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    # Middles 1, 3 and 7 s; two seconds on both sides, of which the video has 0 to 10 s.
    blurred = blur(cells, [0.0, 2.0, 4.0, 10.0], seconds=4)
    np.testing.assert_allclose(blurred[:, 0], [2 / 3, 2 / 4, 4 / 4])
    np.testing.assert_allclose(blurred.sum(axis=1), 1)
    assert blur(cells, [0.0, 2.0, 4.0, 10.0], seconds=0) is cells


def test_the_shortest_segment_goes_first() -> None:
    #         0-4 s        4-5 s       5-7 s        7-8.5 s     8.5-9 s
    cells = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2], [0.2, 0.8], [0.5, 0.5]])
    edges = [0.0, 4.0, 5.0, 7.0, 8.5, 9.0]

    def spans(shortest: float) -> list[tuple[str | None, float, float]]:
        segments = segments_of(
            cells, edges, class_names=["a", "b"], threshold=0.6, shortest_seconds=shortest
        )
        return [(part.answer, part.start_seconds, part.end_seconds) for part in segments]

    whole = [("a", 0, 4), ("b", 4, 5), ("a", 5, 7), ("b", 7, 8.5), (None, 8.5, 9)]
    assert spans(0) == spans(0.5) == whole
    # First the 0.5 s without an answer, then the second of b between two of a.
    assert spans(0.6) == [*whole[:3], ("b", 7, 9)]
    assert spans(1.1) == [("a", 0, 7), ("b", 7, 9)]
    assert spans(3) == [("a", 0, 9)]
    assert spans(100) == [("a", 0, 9)], "the only segment may be shorter"


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([0.0, 4.0, 4.5, 6.5], [("a", 0, 4.5), ("b", 4.5, 6.5)]),
        ([0.0, 2.0, 2.5, 6.5], [("a", 0, 2), ("b", 2, 6.5)]),
    ],
)
def test_between_two_answers_the_short_segment_goes_to_the_longer(
    edges: list[float], expected: list[tuple[str, float, float]]
) -> None:
    cells = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    found = segments_of(cells, edges, class_names=["a", "b"], threshold=0.6, shortest_seconds=1.0)
    assert [(part.answer, part.start_seconds, part.end_seconds) for part in found] == expected


def test_the_confidence_of_a_segment_is_that_of_its_answer() -> None:
    cells = np.array([[0.9, 0.1], [0.3, 0.7]])
    (only,) = segments_of(
        cells, [0.0, 3.0, 4.0], class_names=["a", "b"], threshold=0.0, shortest_seconds=2
    )
    assert only == Segment("a", 0.0, 4.0, pytest.approx((0.9 * 3 + 0.3 * 1) / 4))
