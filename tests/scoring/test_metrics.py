"""Numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slowfast_finetune.scoring.metrics import (
    bin_of,
    bin_sums,
    calibration_error,
    class_scores,
    in_top,
    label_sums,
    negative_log_likelihood,
    score,
    scores_of_sums,
)

# Three classes, six videos: class 0 two of three right, class 1 one of two, class 2 none of one.
TRUE = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 0])


def test_scores_by_hand() -> None:
    # precision: 2/4, 1/2, 0; recall: 2/3, 1/2, 0; F1: 4/7, 1/2, 0; videos: 3, 2, 1.
    scores = score(TRUE, PREDICTED)
    assert scores["accuracy"] == pytest.approx(3 / 6)
    assert scores["macro_precision"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert scores["macro_recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores["macro_f1"] == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)
    assert scores["weighted_precision"] == pytest.approx((3 * 0.5 + 2 * 0.5) / 6)
    assert scores["weighted_recall"] == pytest.approx(3 / 6)
    assert scores["weighted_f1"] == pytest.approx((3 * 4 / 7 + 2 * 1 / 2) / 6)


def test_class_without_videos_takes_no_part_in_the_average() -> None:
    assert score(np.array([0, 0]), np.array([0, 1]))["macro_recall"] == pytest.approx(0.5)


def test_scores_of_classes_by_hand() -> None:
    scores = class_scores(label_sums(TRUE, PREDICTED, num_classes=4))  # the last never seen
    assert scores["recall"][0].tolist() == pytest.approx([2 / 3, 0.5, 0.0, 0.0])
    assert scores["precision"][0].tolist() == [0.5, 0.5, 0.0, 0.0]
    assert scores["f1"][0].tolist() == pytest.approx([4 / 7, 0.5, 0.0, 0.0])


def test_scores_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support

    rng = np.random.default_rng(0)
    for _ in range(20):
        true, predicted = rng.integers(5, size=(2, 30))
        scores = score(true, predicted)
        labels = np.unique(true)
        for average in ("macro", "weighted"):
            precision, recall, f1, _ = precision_recall_fscore_support(
                true, predicted, labels=labels, average=average, zero_division=0.0
            )
            assert scores[f"{average}_precision"] == pytest.approx(precision)
            assert scores[f"{average}_recall"] == pytest.approx(recall)
            assert scores[f"{average}_f1"] == pytest.approx(f1)
        if set(predicted) <= set(true):
            assert scores["macro_recall"] == pytest.approx(balanced_accuracy_score(true, predicted))


def test_sums_of_units_add_up_to_those_of_all() -> None:
    units = np.array([0, 1, 0, 2, 1, 0])
    by_unit = label_sums(TRUE, PREDICTED, num_classes=3, units=units)
    assert by_unit.shape == (3, 9)
    # Unit 1 holds videos 1 (0 taken for 0) and 4 (1 taken for 0).
    assert by_unit[1].tolist() == [1, 1, 0, 2, 0, 0, 1, 0, 0]
    assert by_unit.sum(axis=0).tolist() == label_sums(TRUE, PREDICTED, num_classes=3)[0].tolist()


def test_a_video_counted_twice_weighs_twice() -> None:
    once = label_sums(TRUE, PREDICTED, num_classes=3, units=np.arange(6))
    doubled = scores_of_sums(np.array([[2, 1, 1, 1, 1, 1]]) @ once)
    again = score(np.append(TRUE, TRUE[0]), np.append(PREDICTED, PREDICTED[0]))
    for name, value in doubled.items():
        assert value[0] == pytest.approx(again[name]), name


def test_negative_log_likelihood_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5], [0.2, 0.8]])
    losses = negative_log_likelihood(np.array([1, 0]), probabilities)
    assert losses.tolist() == pytest.approx([math.log(2), math.log(5)])


def test_certain_and_wrong_costs_much_but_not_infinity() -> None:
    (loss,) = negative_log_likelihood(np.array([0]), np.array([[0.0, 1.0]]))
    assert loss == pytest.approx(12 * math.log(10))


def test_in_top_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(8), size=50)
    true = rng.integers(8, size=50)
    expected = top_k_accuracy_score(true, probabilities, k=5, labels=range(8))
    assert in_top(true, probabilities, k=5).mean() == pytest.approx(expected)


def test_bins_include_their_upper_edge() -> None:
    assert bin_of(np.array([0.0, 0.05, 0.1, 0.11, 0.95, 1.0])).tolist() == [0, 0, 0, 1, 9, 9]


def test_calibration_error_by_hand() -> None:
    # Bin 0.8-0.9: two videos, sure to 0.85, one right: off by 0.35 each. Bin 0.5-0.6: one video,
    # sure to 0.6, right: off by 0.4. Mean over the three videos: 1.1 / 3.
    confidence, right = np.array([0.81, 0.89, 0.6]), np.array([True, False, True])
    (error,) = calibration_error(bin_sums(confidence, right), np.array([3.0]))
    assert error == pytest.approx(1.1 / 3)


def test_whoever_is_right_as_often_as_sure_has_no_calibration_error() -> None:
    confidence, right = np.full(4, 0.75), np.array([True, True, True, False])
    assert calibration_error(bin_sums(confidence, right), np.array([4.0]))[0] == pytest.approx(0)
