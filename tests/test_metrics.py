"""Numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slowfast_finetune.evaluation.metrics import (
    average_views,
    log_loss,
    majority_baseline,
    score,
    score_classes,
)

# Three classes, six videos: class 0 two of three right, class 1 one of two, class 2 none of one.
TRUE = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 0])


def test_scores_by_hand() -> None:
    # precision: 2/4, 1/2, 0; recall: 2/3, 1/2, 0; F1: 4/7, 1/2, 0; videos: 3, 2, 1.
    scores = score(TRUE, PREDICTED)
    assert scores.accuracy == pytest.approx(3 / 6)
    assert scores.macro_precision == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert scores.macro_recall == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores.macro_f1 == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)
    assert scores.weighted_precision == pytest.approx((3 * 0.5 + 2 * 0.5) / 6)
    assert scores.weighted_recall == pytest.approx(3 / 6)
    assert scores.weighted_f1 == pytest.approx((3 * 4 / 7 + 2 * 1 / 2) / 6)


def test_class_without_videos_takes_no_part_in_the_average() -> None:
    assert score(np.array([0, 0]), np.array([0, 1])).macro_recall == pytest.approx(0.5)


def test_score_classes_by_hand() -> None:
    rows = score_classes(TRUE, PREDICTED, ["a", "b", "c", "never seen"])
    assert [row["recall"] for row in rows] == [0.6667, 0.5, 0.0, 0.0]
    assert [row["precision"] for row in rows] == [0.5, 0.5, 0.0, 0.0]
    assert [row["num_videos"] for row in rows] == [3, 2, 1, 0]


def test_log_loss_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5], [0.2, 0.8]])
    expected = -(math.log(0.5) + math.log(0.2)) / 2
    assert log_loss(np.array([1, 0]), probabilities) == pytest.approx(expected)


def test_certain_and_wrong_costs_much_but_not_infinity() -> None:
    assert log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(12 * math.log(10))


def test_majority_is_taken_from_training() -> None:
    train, test = np.array([0, 0, 1]), np.array([1, 1, 1, 0])
    assert majority_baseline(train, test) == pytest.approx(0.25)


def test_average_views_in_any_order() -> None:
    views = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    averaged = average_views(views, np.array([1, 0, 1]), num_clips=2)
    assert averaged.tolist() == [[0.5, 0.5], [0.5, 0.5]]
