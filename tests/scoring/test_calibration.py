"""Temperature and threshold: known answers, laws, and videos that say too little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from slowfast_finetune.scoring.calibration import calibrate, fit_temperature


def two_class_logits(margin: float, right: int, wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Videos of class 0, so many taken for it and so many not, all by the same margin."""
    logits = np.array([[margin, 0.0]] * right + [[0.0, margin]] * wrong, dtype=np.float32)
    return logits, np.zeros(right + wrong, dtype=np.int64)


def test_temperature_makes_the_confidence_the_share_that_is_right() -> None:
    # 8000 of 10000 right at margin 4: sigmoid(4 / T) = 0.8, so T = 4 / ln 4; the prior weighs
    # one video against ten thousand.
    logits, true = two_class_logits(4.0, 8000, 2000)
    assert fit_temperature(logits, true) == pytest.approx(4 / np.log(4), rel=1e-3)


def test_temperature_below_one_where_the_model_is_too_modest() -> None:
    logits, true = two_class_logits(1.0, 9900, 100)
    assert fit_temperature(logits, true) == pytest.approx(1 / np.log(99), rel=1e-2)


def test_ten_videos_all_right_do_not_make_it_certain() -> None:
    logits, true = two_class_logits(2.0, 10, 0)

    # The minimum by hand, with s = ln T and q = 1 - sigmoid(2 / T): s - 10 · q · 2 / T = 0.
    def slope(s: float) -> float:
        margin = 2 / np.exp(s)
        return float(s + 10 * margin / (1 + np.exp(margin)))

    expected = np.exp(brentq(slope, -3, 0))
    assert fit_temperature(logits, true) == pytest.approx(expected, rel=1e-3)
    assert 0.3 < expected < 1


def test_labels_do_not_matter_where_logits_say_nothing() -> None:
    assert fit_temperature(np.zeros((6, 3), np.float32), np.array([0, 1, 2] * 2)) == pytest.approx(
        1.0, abs=1e-4
    )


def test_threshold_lets_nineteen_of_twenty_right_answers_through() -> None:
    margins = np.linspace(1, 5, 100, dtype=np.float32)
    logits = np.stack([margins, np.zeros_like(margins)], axis=1)
    found = calibrate(logits, np.zeros(100, np.int64))
    confidence = 1 / (1 + np.exp(-margins / found.temperature))
    assert 95 <= (confidence >= found.threshold - 1e-9).sum() <= 96


def test_threshold_looks_at_right_answers_only() -> None:
    sure, true = two_class_logits(6.0, 50, 0)
    wrong, label = two_class_logits(0.1, 0, 50)
    found = calibrate(np.concatenate([sure, wrong]), np.concatenate([true, label]))
    assert found.threshold == pytest.approx(1 / (1 + np.exp(-6 / found.temperature)), rel=1e-5)


def test_without_a_right_answer_nothing_is_refused() -> None:
    logits, true = two_class_logits(3.0, 0, 5)
    assert calibrate(logits, true).threshold == 0.0
    assert calibrate(logits, true).temperature > 1
