"""Scores of timelines: worked out by hand, and as public evaluators give them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from slowfast_finetune.timelines.segment_scores import (
    BACKGROUND,
    F1_OVERLAPS,
    Stretch,
    Timeline,
    disagreements,
    f1_of_counts,
    frame_counts,
    frame_labels,
    joined,
    mean_average_precision,
    segment_counts,
)

ONCE = np.ones((1, 1))


def test_labels_are_those_at_the_middles_of_tenths_of_a_second() -> None:
    # The middles 0.05, 0.15, 0.25, 0.35 and 0.45; the second part begins on one, the first ends
    # on one.
    labels = frame_labels([Stretch(0, 0.0, 0.15), Stretch(1, 0.25, 0.4)], 0.5)
    assert labels.tolist() == [0, BACKGROUND, 1, 1, BACKGROUND]


def test_frame_accuracy_counts_background() -> None:
    # 10 s; wrong are 2-3 s (missed) and 8-9 s (invented).
    line = Timeline([Stretch(0, 2, 6)], [Stretch(0, 3, 6), Stretch(1, 8, 9)], 10.0)
    assert frame_counts([line]).tolist() == [[80, 100]]


def test_f1_by_hand() -> None:
    true = [Stretch(0, 0, 10), Stretch(1, 20, 30), Stretch(0, 40, 50)]
    # IoUs with the true segment of the label: 8/10; 2/10; 4/10 and then 5/10 of the same one, of
    # which only the first can be a hit.
    predicted = [Stretch(0, 0, 8), Stretch(1, 20, 22), Stretch(0, 40, 44), Stretch(0, 45, 50)]
    line = Timeline(true, predicted, 60.0)
    assert segment_counts([line], overlap=0.10).tolist() == [[3, 4, 3]]
    assert segment_counts([line], overlap=0.25).tolist() == [[2, 4, 3]]
    # At 0.5 the last is the hit: the one before it was none.
    assert segment_counts([line], overlap=0.50).tolist() == [[2, 4, 3]]
    assert f1_of_counts(np.array([2.0, 4, 3])) == pytest.approx(4 / 7)
    assert np.isnan(f1_of_counts(np.zeros(3)))


def test_an_overlap_that_only_just_reaches_counts_at_any_time() -> None:
    # The first 10 of 20 tenths of a second: IoU 0.5, which rounding makes less at 22 of these.
    pairs = [
        (Stretch(0, 0.1 * start, 0.1 * (start + 20)), Stretch(0, 0.1 * start, 0.1 * (start + 10)))
        for start in range(300)
    ]
    lines = [Timeline([true], [predicted], 40.0) for true, predicted in pairs]
    assert segment_counts(lines, overlap=0.5)[:, 0].tolist() == [1] * 300
    # Over tIoU 0.3, 0.4 and 0.5 of five.
    assert [mean_average_precision([line], ONCE).item() for line in lines] == [0.6] * 300


def test_another_label_is_no_hit_however_well_it_lies() -> None:
    line = Timeline([Stretch(0, 0, 10)], [Stretch(1, 0, 10)], 10.0)
    assert segment_counts([line], overlap=0.10).tolist() == [[0, 1, 1]]


def test_segments_that_touch_are_one_for_f1() -> None:
    parts = [Stretch(0, 0, 5), Stretch(0, 5, 10), Stretch(1, 10, 11), Stretch(BACKGROUND, 11, 12)]
    assert joined(parts) == [Stretch(0, 0, 10), Stretch(1, 10, 11)]


def test_average_precision_by_hand() -> None:
    # Ranked by score: hit (IoU 1), wrong, hit (IoU 0.5). Precision 1, 1/2, 2/3 at recall 1/3, 1/3
    # and 2/3: up to 0.5 it is (1 + 2/3) / 3, above it 1/3.
    true = [Stretch(0, 0, 10), Stretch(0, 20, 30), Stretch(0, 40, 50)]
    predicted = [Stretch(0, 0, 10, 0.9), Stretch(0, 20, 25, 0.5), Stretch(0, 60, 70, 0.7)]
    value = mean_average_precision([Timeline(true, predicted, 80.0)], ONCE)
    assert value == pytest.approx([(3 * (5 / 9) + 2 * (1 / 3)) / 5])


def test_a_class_that_is_never_predicted_counts_and_one_without_truth_does_not() -> None:
    true = [Stretch(0, 0, 10), Stretch(1, 20, 30)]
    predicted = [Stretch(0, 0, 10, 0.9), Stretch(2, 20, 30, 0.9)]
    assert mean_average_precision([Timeline(true, predicted, 40.0)], ONCE) == pytest.approx([0.5])


def test_what_differs_is_given_as_stretches() -> None:
    line = Timeline([Stretch(0, 2, 6)], [Stretch(0, 3, 5), Stretch(1, 5, 9)], 10.0)
    assert disagreements(line) == [
        (0, Stretch(BACKGROUND, 2, 3)),
        (0, Stretch(1, 5, 6)),
        (BACKGROUND, Stretch(1, 6, 9)),
    ]


# What public evaluators give for random_timelines(seed). From eval.py of the repository
# github.com/yabufarha/ms-tcn at commit 33ed91c0: hits, false positives and misses at each of
# F1_OVERLAPS, F1, and the share of right frames. From Evaluation/eval_detection.py of
# github.com/activitynet/ActivityNet at commit 82304fa9: the mean of AP over MAP_OVERLAPS and
# classes, also with each video copied as often as COPIES says.
COPIES = (2, 2, 1, 0, 0, 1, 1, 0, 0, 5, 0, 0)
EVALUATED: dict[int, dict[str, Any]] = {
    0: {
        "counts": [[107, 79, 12], [99, 87, 20], [81, 105, 38]],
        "f1": [0.7016393442622951, 0.6491803278688524, 0.5311475409836065],
        "frames": 0.7686111111111111,
        "map": 0.3560661084198893,
        "map_of_copies": 0.3513569142211292,
    },
    1: {
        "counts": [[106, 91, 7], [102, 95, 11], [81, 116, 32]],
        "f1": [0.6838709677419355, 0.6580645161290323, 0.5225806451612903],
        "frames": 0.7555555555555555,
        "map": 0.41103926248416167,
        "map_of_copies": 0.39562508150411757,
    },
}


@pytest.mark.parametrize("seed", EVALUATED)
def test_scores_are_those_of_public_evaluators(seed: int) -> None:
    timelines, expected = random_timelines(seed), EVALUATED[seed]
    for overlap, counts, f1 in zip(F1_OVERLAPS, expected["counts"], expected["f1"], strict=True):
        hits, predicted, true = segment_counts(timelines, overlap=overlap).sum(axis=0)
        assert [hits, predicted - hits, true - hits] == counts
        assert f1_of_counts(np.array([hits, predicted, true])) == pytest.approx(f1, abs=1e-12)
    # One frame of the evaluator is one point of our grid.
    right, frames = frame_counts([_shrunk(line) for line in timelines]).sum(axis=0)
    assert right / frames == pytest.approx(expected["frames"], abs=1e-12)
    weights = np.array([np.ones(len(COPIES)), COPIES])
    values = mean_average_precision(timelines, weights)
    assert values == pytest.approx([expected["map"], expected["map_of_copies"]], abs=1e-12)


def _shrunk(line: Timeline) -> Timeline:
    """The same with frames of 0.1 s."""
    true, predicted = (
        [part._replace(start=part.start / 10, end=part.end / 10) for part in parts]
        for parts in (line.true, line.predicted)
    )
    return Timeline(true, predicted, line.seconds / 10)


def random_timelines(seed: int) -> list[Timeline]:
    """Videos of 300 frames with segments of four labels and background, some of them right."""
    rng = np.random.default_rng(seed)
    timelines = []
    for _ in range(12):
        true = _stretches(rng.integers(-1, 4, 15), np.sort(rng.choice(300, 14, replace=False)), rng)
        labels = np.repeat(-1, 300)
        for part in true:
            labels[int(part.start) : int(part.end)] = part.label
        for start in rng.integers(0, 300, 8):
            labels[start : start + rng.integers(3, 25)] = rng.integers(-1, 4)
        cuts = np.flatnonzero(np.diff(labels)) + 1
        predicted = _stretches(labels[[0, *cuts]], cuts, rng)
        timelines.append(Timeline(joined(true), predicted, 300.0))
    return timelines


def _stretches(labels: np.ndarray, cuts: np.ndarray, rng: np.random.Generator) -> list[Stretch]:
    pairs = itertools.pairwise([0, *cuts.tolist(), 300])
    return [
        Stretch(int(label), start, end, float(rng.random()))
        for label, (start, end) in zip(labels, pairs, strict=True)
        if label != BACKGROUND and end > start
    ]
