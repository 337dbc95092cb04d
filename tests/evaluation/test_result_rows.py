"""From answers to tables, with numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from synthetic import make_rows

from slowfast_finetune.evaluation.evaluate import describe
from slowfast_finetune.evaluation.resampling import wilson_interval
from slowfast_finetune.evaluation.result_rows import (
    HEADLINES,
    Outcome,
    class_rows,
    confusion_rows,
    headline,
    prediction_rows,
    reliability_rows,
    score_rows,
    subset_rows,
)
from slowfast_finetune.evaluation.result_tables import ScoreRow

NAMES = ["jump", "run", "sit"]


def rows_of(labels: list[int], **changes: Any) -> list[Any]:
    return [
        row._replace(**{"label": label, "class_name": NAMES[label], **changes})
        for row, label in zip(make_rows(len(labels)), labels, strict=True)
    ]


def outcome_of(
    true: list[int],
    probabilities: list[list[float]],
    *,
    train: tuple[int, ...] = (0, 0, 1, 2),
    threshold: float = 0.0,
    groups: list[str | None] | None = None,
) -> Outcome:
    rows = rows_of(true)
    if groups:
        rows = [row._replace(group=group) for row, group in zip(rows, groups, strict=True)]
    return Outcome(rows, np.array(probabilities), rows_of(list(train)), threshold)


# Four videos: jump taken for jump (0.9), jump for run (0.6), run for run (0.8), sit for jump (0.5).
OUTCOME = outcome_of(
    [0, 0, 1, 2],
    [[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3]],
    threshold=0.55,
)


def by_name(outcome: Outcome) -> dict[str, ScoreRow]:
    return {row.score: row for row in score_rows(outcome)}


def test_scores_by_hand() -> None:
    scores = {name: row.value for name, row in by_name(OUTCOME).items()}
    assert scores["top1_accuracy"] == 0.5
    assert scores["balanced_accuracy"] == scores["macro_recall"] == 0.5  # (1/2 + 1 + 0) / 3
    assert scores["macro_precision"] == pytest.approx(1 / 3, abs=1e-4)  # (1/2 + 1/2 + 0) / 3
    assert scores["loss"] == pytest.approx(-np.log([0.9, 0.3, 0.8, 0.3]).mean(), abs=1e-4)
    # Each alone in its bin, of 0.1: |1 - 0.9|, |0 - 0.6|, |1 - 0.8|, |0 - 0.5|.
    assert scores["calibration_error"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.5) / 4)
    assert scores["answered"] == 0.75
    assert scores["accuracy_when_answered"] == pytest.approx(2 / 3, abs=1e-4)
    assert scores["chance_baseline"] == pytest.approx(1 / 3, abs=1e-4)
    assert scores["majority_baseline"] == 0.5
    # All rows have the same facts, so they tell no more than the majority.
    assert scores["metadata_baseline"] == 0.5
    assert scores["above_metadata"] == 0.0
    assert "top5_accuracy" not in scores, "of three classes it means nothing"


def test_majority_is_that_of_training() -> None:
    # Most train on sit, of which one test video is.
    outcome = outcome_of([0, 0, 0, 2], np.eye(3)[[0, 0, 0, 2]].tolist(), train=(2, 2, 2, 0, 1))
    assert by_name(outcome)["majority_baseline"].value == 0.25


@pytest.mark.parametrize(("num_groups", "known"), [(1, False), (5, False), (6, True)])
def test_few_groups_have_no_interval_where_wilson_gives_none(num_groups: int, known: bool) -> None:
    groups = [f"person {number % num_groups}" for number in range(12)]
    right, wrong = [0.9, 0.1, 0.0], [0.2, 0.8, 0.0]
    scores = by_name(outcome_of([0] * 12, [right, wrong] * 6, groups=[*groups]))
    for name in ("loss", "above_metadata"):
        assert scores[name].value is not None
        assert (scores[name].low is not None) == (scores[name].high is not None) == known
    assert scores["top1_accuracy"].low is not None


@pytest.mark.parametrize(
    ("num_groups", "said"),
    [
        (2, "with only 2 groups, confidence intervals are too narrow"),
        (19, "with only 19 groups, confidence intervals are too narrow"),
    ],
)  # fmt: skip
def test_the_text_of_the_result_warns_of_few_groups(num_groups: int, said: str) -> None:
    groups = [f"person {number % num_groups}" for number in range(40)]
    outcome = outcome_of([0] * 40, [[0.9, 0.1, 0.0]] * 40, groups=[*groups])
    *_, accuracy, _, last = describe(
        outcome, score_rows(outcome), class_rows(outcome, NAMES)
    ).splitlines()
    assert accuracy.startswith("top-1 accuracy 1.000 on 40 test videos (95 % confidence interval ")
    assert last == said
    alone = outcome_of([0] * 20, [[0.9, 0.1, 0.0]] * 20)
    assert "with only" not in describe(alone, score_rows(alone), class_rows(alone, NAMES))


def test_headline_is_a_handful_with_the_interval_beside_the_number() -> None:
    values = headline(score_rows(OUTCOME))
    assert list(values)[:3] == ["top1_accuracy", "top1_low", "top1_high"]
    assert set(values) == {*HEADLINES, "top1_low", "top1_high"}
    low, high = values["top1_low"], values["top1_high"]
    assert low is not None
    assert high is not None
    assert 0 <= low < 0.5 < high <= 1


def test_top5_counts_where_there_are_more_than_five_classes() -> None:
    first, second = make_rows(2)
    rows = [first._replace(label=5), second._replace(label=0)]
    probabilities = [[0.3, 0.2, 0.2, 0.1, 0.15, 0.05], [0.1, 0.3, 0.2, 0.2, 0.15, 0.05]]
    outcome = Outcome(rows, np.array(probabilities), rows, 0.0)
    assert by_name(outcome)["top5_accuracy"].value == 0.5


def test_facts_that_tell_the_class_are_the_number_to_beat() -> None:
    """Every run is filmed in another resolution: that alone is right everywhere."""
    train = rows_of([0, 1] * 10)
    test = rows_of([0, 1, 0, 1] * 2)
    for row in (filmed := [*train, *test]):
        row_width = 64 if row.label == 0 else 640
        filmed[filmed.index(row)] = row._replace(source_width=row_width)
    train, test = filmed[:20], filmed[20:]
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]] * 2)
    scores = by_name(Outcome(test, probabilities, train, 0.0))
    assert scores["metadata_baseline"].value == 1.0
    assert scores["top1_accuracy"].value == 0.75
    above = scores["above_metadata"]
    assert above.value == -0.25
    assert above.high is not None
    assert above.high <= 0


def test_interval_counts_people_and_not_their_videos() -> None:
    """20 videos, half right: of 20 people, or of two people with ten each."""
    true = [0] * 20
    probabilities = [[1.0, 0.0, 0.0]] * 10 + [[0.0, 1.0, 0.0]] * 10
    alone = by_name(outcome_of(true, probabilities))["top1_accuracy"]
    grouped = by_name(outcome_of(true, probabilities, groups=[*["anna"] * 10, *["ben"] * 10]))[
        "top1_accuracy"
    ]
    assert (grouped.low, grouped.high) == (0.0, 1.0)
    assert alone.low is not None
    assert 0.2 < alone.low < 0.4


def test_copies_of_one_video_go_together() -> None:
    rows = [row._replace(content_hash="c" * 32) for row in rows_of([0, 0])]
    outcome = Outcome(rows, np.eye(3)[[0, 0]], rows, 0.0)
    assert outcome.units.tolist() == [0, 0]


def test_all_right_is_not_certain() -> None:
    top1 = by_name(outcome_of([0, 1, 2], np.eye(3).tolist()))["top1_accuracy"]
    assert (top1.low, top1.high) == (pytest.approx(wilson_interval(1.0, 3)[0], abs=1e-4), 1.0)


def test_nothing_answered_has_no_accuracy() -> None:
    scores = by_name(outcome_of([0], [[0.5, 0.3, 0.2]], threshold=0.9))
    assert scores["answered"].value == 0.0
    unanswered = scores["accuracy_when_answered"]
    assert (unanswered.value, unanswered.low, unanswered.high) == (None, None, None)


def test_accuracy_of_the_answers_is_as_uncertain_as_the_answers_are_few() -> None:
    """Of 100 videos three are answered, all right."""
    sure, unsure = [1.0, 0.0, 0.0], [0.3, 0.5, 0.2]
    outcome = outcome_of([0] * 100, [sure] * 3 + [unsure] * 97, threshold=0.9)
    row = by_name(outcome)["accuracy_when_answered"]
    assert (row.value, row.high) == (1.0, 1.0)
    assert row.low == pytest.approx(3 / (3 + 1.959964**2), abs=1e-4)  # Wilson's, at a share of 1


def test_class_of_one_video_makes_macro_averages_uncertain() -> None:
    scores = by_name(outcome_of([0] * 99 + [1], np.eye(3)[[0] * 99 + [1]].tolist()))
    # The variance of a mean of two shares, p (1 - p) (1/99 + 1) / 4, is that of so many videos.
    count = 4 / (1 / 99 + 1)
    for name in ("macro_recall", "balanced_accuracy", "macro_precision", "macro_f1"):
        row = scores[name]
        assert (row.value, row.high) == (1.0, 1.0)
        assert row.low == pytest.approx(count / (count + 1.959964**2), abs=1e-4)
    assert scores["top1_accuracy"].low == pytest.approx(100 / (100 + 1.959964**2), abs=1e-4)
    assert scores["weighted_recall"].low == scores["top1_accuracy"].low


def test_calibration_error_has_no_interval() -> None:
    """That of resamples is larger than its own: chance adds to it twice."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 100)
    actual = (rng.random(100) > confidence).astype(int).tolist()
    row = by_name(outcome_of(actual, np.stack([confidence, 1 - confidence], axis=1).tolist()))[
        "calibration_error"
    ]
    assert row.value is not None
    assert 0 < row.value < 0.2
    assert (row.low, row.high) == (None, None)


def test_classes_by_hand() -> None:
    jump, run, sit = class_rows(OUTCOME, NAMES)
    assert (jump.precision, jump.recall, jump.num_videos) == (0.5, 0.5, 2)
    assert (run.precision, run.recall, run.num_videos) == (0.5, 1.0, 1)
    assert (sit.precision, sit.recall, sit.f1) == (0.0, 0.0, 0.0)
    expected = wilson_interval(0.5, 2)
    assert (jump.recall_low, jump.recall_high) == pytest.approx(expected, abs=1e-4)
    assert (run.recall_low, run.recall_high) == pytest.approx(wilson_interval(1.0, 1), abs=1e-4)


def test_class_without_test_videos_has_no_recall() -> None:
    absent = class_rows(outcome_of([0], [[1.0, 0.0, 0.0]]), NAMES)[1]
    assert (absent.recall, absent.recall_low, absent.num_videos) == (None, None, 0)


def test_confusion_lists_every_pair() -> None:
    rows = confusion_rows(OUTCOME, NAMES)
    assert [(row.actual, row.predicted) for row in rows[:4]] == [
        ("jump", "jump"), ("jump", "run"), ("jump", "sit"), ("run", "jump"),
    ]  # fmt: skip
    assert [row.count for row in rows] == [1, 1, 0, 0, 1, 0, 1, 0, 0]
    assert [row.share for row in rows] == [0.5, 0.5, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]


def test_reliability_by_hand() -> None:
    rows = reliability_rows(OUTCOME)
    assert [(row.bin, row.accuracy, row.num_videos) for row in rows] == [
        ("0.4–0.5", 0.0, 1), ("0.5–0.6", 0.0, 1), ("0.7–0.8", 1.0, 1), ("0.8–0.9", 1.0, 1),
    ]  # fmt: skip
    assert [row.confidence for row in rows] == [0.5, 0.6, 0.8, 0.9]


def test_predictions_say_none_of_these_below_the_threshold() -> None:
    rows = prediction_rows(OUTCOME, NAMES, num_views=3)
    assert [row.predicted for row in rows] == ["jump", "run", "run", "jump"]
    assert [row.answer for row in rows] == ["jump", "run", "run", "none of these"]
    assert [row.probability_of_actual for row in rows] == [0.9, 0.3, 0.8, 0.3]
    assert rows[0].num_views == 3


def test_subsets_by_hand() -> None:
    rows = rows_of([0, 0, 0])
    rows[0] = rows[0]._replace(num_sampled=5)
    rows[1] = rows[1]._replace(damaged=True)
    probabilities = np.array([[0.2, 0.8, 0.0], [0.9, 0.1, 0.0], [0.9, 0.1, 0.0]])
    outcome = Outcome(rows, probabilities, rows, 0.0)
    found = {row.subset: (row.num_videos, row.accuracy) for row in subset_rows(outcome)}
    assert found == {
        "padded": (1, 0.0), "unpadded": (2, 1.0), "damaged": (1, 1.0), "undamaged": (2, 0.5),
    }  # fmt: skip
    rows[1] = rows[1]._replace(damaged=False)
    left = subset_rows(Outcome(rows, probabilities, rows, 0.0))
    assert [row.subset for row in left] == ["padded", "unpadded"], "all are undamaged"
