"""How wide an interval must be: known answers, and how often it holds the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from slowfast_finetune.evaluation.resampling import (
    NUM_RESAMPLES,
    correlation_in_units,
    effective_count,
    interval_of_accuracy,
    interval_of_part,
    percentile_interval,
    resampled,
    units_of,
    wilson_interval,
)


def test_units_are_numbered_as_they_come() -> None:
    assert units_of(["anna", "1.mp4", "ben", "anna", "4.mp4"]).tolist() == [0, 1, 2, 0, 3]


def test_resamples_draw_as_many_units_as_there_are() -> None:
    totals = resampled(np.eye(7))
    assert totals.shape == (NUM_RESAMPLES, 7)
    assert (totals.sum(axis=1) == 7).all()
    # Each unit is drawn once on average, with variance (1 - 1/7).
    np.testing.assert_allclose(totals.mean(axis=0), 1, atol=4 * np.sqrt(6 / 7 / NUM_RESAMPLES))
    np.testing.assert_allclose(totals.var(axis=0), 6 / 7, rtol=0.15)


def test_same_seed_draws_the_same_units_for_other_sums() -> None:
    one, other = resampled(np.eye(5)), resampled(3 * np.eye(5))
    np.testing.assert_array_equal(other, 3 * one)
    assert not np.array_equal(one, resampled(np.eye(5), seed=1))


def test_percentile_interval_leaves_out_what_cannot_be_computed() -> None:
    values = np.append(np.arange(101.0), np.nan)
    assert percentile_interval(values) == pytest.approx((2.5, 97.5))
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # From the tables of Newcombe, "Two-sided confidence intervals for the single proportion",
    # 1998, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(
    right: int, count: int, low: float, high: float
) -> None:
    assert wilson_interval(right / count, count) == pytest.approx((low, high), abs=1e-4)


def interval_for(right: Sequence[int], units: Sequence[int]) -> tuple[float, float]:
    return interval_of_accuracy(np.array(right, dtype=bool), np.array(units))


def test_three_right_of_three_is_not_certainty() -> None:
    low, high = interval_for([1, 1, 1], [0, 1, 2])
    assert high == 1.0
    assert low == pytest.approx(3 / (3 + 1.959964**2))  # Wilson's at a share of 1: n / (n + z²)


def test_all_right_counts_people_and_not_their_videos() -> None:
    assert interval_for([1] * 6, [0, 0, 1, 1, 2, 2]) == interval_for([1, 1, 1], [0, 1, 2])


def test_one_person_tells_next_to_nothing() -> None:
    assert interval_for([1, 0], [0, 0]) == wilson_interval(0.5, 1)


def test_people_who_are_all_alike_leave_the_doubt_of_as_many_videos() -> None:
    assert interval_for([1, 0] * 4, [0, 0, 1, 1, 2, 2, 3, 3]) == wilson_interval(0.5, 8)


def test_a_further_mistake_never_raises_the_interval() -> None:
    for count in (20, 200):
        intervals = [
            interval_for([1] * right + [0] * (count - right), range(count))
            for right in range(count, -1, -5)
        ]
        lows, highs = zip(*intervals, strict=True)
        assert list(lows) == sorted(lows, reverse=True)
        assert list(highs) == sorted(highs, reverse=True)


def test_interval_over_few_groups_holds_the_truth_nearly_as_often_as_it_says() -> None:
    """8 people with 12 videos each; each person is right with a probability of their own."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(8), 12)
    held = 0
    for _ in range(200):
        ability = rng.beta(7, 3, size=8)  # of mean 0.7
        low, high = interval_of_accuracy(rng.random(96) < ability[people], people)
        held += low <= 0.7 <= high
    assert held >= 0.88 * 200


def test_two_people_one_always_right() -> None:
    # Of two people, drawn twice: both times the one, or both times the other, in 1/4 each.
    assert interval_for([1, 1, 1, 0, 0], [0, 0, 0, 1, 1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("right", "units", "expected"),
    [
        # All or nothing.
        ([1, 1, 0, 0], [0, 0, 1, 1], 1.0),
        # One of each: the units are more alike than chance, which counts as 0.
        ([1, 0, 1, 0], [0, 0, 1, 1], 0.0),
        # Sums 3, 3, 0, 2 about 2: between 3 (1 + 1 + 4 + 0) / 9 / 3 = 2/3, within 2/3 / 8:
        # (2/3 - 1/12) / (2/3 + 2/12) = 7/10.
        ([1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], 0.7),
        # Nothing varies.
        ([1, 1, 1, 1], [0, 0, 1, 1], 1.0),
        ([1, 0, 0, 1], [0, 0, 0, 0], 1.0),
    ],
)  # fmt: skip
def test_correlation_by_hand(right: list[int], units: list[int], expected: float) -> None:
    found = correlation_in_units(np.array(right, dtype=bool), np.array(units))
    assert found == pytest.approx(expected)


def test_correlation_in_units_of_any_size_is_that_of_the_analysis_of_variance() -> None:
    right = [[1, 1, 1, 1, 1, 1, 0], [0, 0, 1], [0, 0], [1, 1], [1]]
    sizes = np.array([len(unit) for unit in right])
    size = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(right) - 1)
    f = stats.f_oneway(*right).statistic
    units = np.repeat(np.arange(len(right)), sizes)
    found = correlation_in_units(np.concatenate(right).astype(bool), units)
    assert found == pytest.approx((f - 1) / (f + size - 1))
    assert 0.1 < found < 0.9


def test_effective_count_is_that_of_the_variance_of_the_mean() -> None:
    """Against the variance w' C w of a weighted mean, where videos of a unit correlate by 0.3."""
    units = np.array([0, 0, 0, 0, 1, 2, 2])
    covariances = np.where(units[:, None] == units, 0.3, 0.0)
    np.fill_diagonal(covariances, 1.0)
    for weights in (np.ones(7), np.array([1.0, 2, 0, 0, 3, 1, 5])):
        shares = weights / weights.sum()
        found = effective_count(units, correlation=0.3, weights=weights)
        assert found == pytest.approx(1 / (shares @ covariances @ shares))


def test_part_is_worth_what_its_own_units_are() -> None:
    right = np.array([True] * 6)
    even, uneven = np.array([0, 0, 0, 4, 4, 4]), np.array([0, 0, 0, 0, 0, 4])
    assert interval_of_part(right, even, correlation=0.0) == wilson_interval(1.0, 6)
    assert interval_of_part(right, even, correlation=0.25) == wilson_interval(1.0, 4)  # 6 / 1.5
    assert interval_of_part(right, even, correlation=1.0) == wilson_interval(1.0, 2)
    expected = wilson_interval(1.0, 36 / 26)  # 6² / (5² + 1²)
    assert interval_of_part(right, uneven, correlation=1.0) == pytest.approx(expected)


@pytest.mark.parametrize("sizes", [[60] + [3] * 20, [30, 30] + [2] * 20, [5] * 24])
def test_intervals_of_parts_hold_the_truth_where_people_have_unequal_numbers(
    sizes: list[int],
) -> None:
    """Each person is right with a probability of their own: beta, correlation 0.6, mean 0.8."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(len(sizes)), sizes)
    part = np.arange(len(people)) % 2 == 0
    held = {"all": 0, "part": 0}
    for _ in range(400):
        ability = rng.beta(0.8 * 2 / 3, 0.2 * 2 / 3, size=len(sizes))
        right = rng.random(len(people)) < ability[people]
        correlation = correlation_in_units(right, people)
        for name, chosen in (("all", np.full_like(part, True)), ("part", part)):
            low, high = interval_of_part(right[chosen], people[chosen], correlation=correlation)
            held[name] += low <= 0.8 <= high
    assert min(held.values()) >= 0.88 * 400, held


def test_interval_over_groups_holds_the_truth_and_over_videos_does_not() -> None:
    """40 people with 10 videos each, all right or all wrong, right with probability 0.7."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 10)
    held_by_groups, held_by_videos = 0, 0
    for _ in range(100):
        right = (rng.random(40) < 0.7)[people].astype(float)
        for units, is_grouped in ((people, True), (np.arange(400), False)):
            sums = np.zeros((units.max() + 1, 2))
            np.add.at(sums, units, np.stack([right, np.ones(400)], axis=1))
            totals = resampled(sums)
            low, high = percentile_interval(totals[:, 0] / totals[:, 1])
            if is_grouped:
                held_by_groups += low <= 0.7 <= high
            else:
                held_by_videos += low <= 0.7 <= high
    assert held_by_groups >= 88, "about 95 of 100"
    assert held_by_videos <= 60, "too narrow: ten videos of a person are not ten facts"
