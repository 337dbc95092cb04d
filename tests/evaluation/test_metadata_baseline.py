"""Facts that give the class away are found, and chance is not."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from synthetic import make_rows

from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation.metadata_baseline import (
    FACTS,
    Giveaway,
    compare_with_chance,
    giveaways,
    predict_from_facts,
)


def rows_of(*classes: tuple[int, dict[str, Any]]) -> list[ClipRow]:
    """Rows with ``label`` 0, 1, …; per class how many, and the facts that they share."""
    counts = [count for count, _ in classes]
    rows = make_rows(sum(counts))
    labels = np.repeat(np.arange(len(classes)), counts).tolist()
    return [
        row._replace(**{"label": label, **classes[label][1]})
        for row, label in zip(rows, labels, strict=True)
    ]


def by_facts(rows: list[ClipRow]) -> dict[str, Giveaway]:
    return {" ".join(found.facts): found for found in giveaways(rows)}


WIDE, NARROW = {"source_width": 640}, {"source_width": 320}


@pytest.mark.parametrize(
    ("fact", "one", "other"),
    [
        ("resolution", WIDE, NARROW),
        ("resolution", {"source_height": 64}, {"source_height": 36}),
        ("duration", {"duration_seconds": 2.0}, {"duration_seconds": 9.0}),
        ("frame rate", {"source_fps": 25.0}, {"source_fps": 30.0}),
        ("audio", {"has_audio": True}, {"has_audio": False}),
        ("codec", {"decoder": "pyav/h264"}, {"decoder": "pyav/hevc"}),
        ("pixel shape", {"pixel_aspect": 1.0}, {"pixel_aspect": 1.0667}),
        ("dynamic range", {"dynamic_range": "sdr"}, {"dynamic_range": "hlg"}),
        ("interlacing", {"interlaced": True}, {"interlaced": False}),
    ],
)
def test_a_fact_that_differs_by_class_tells_all_and_the_others_are_not_asked(
    fact: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    rows = rows_of((12, one), (12, other))
    assert predict_from_facts(rows[::2], rows[1::2]).tolist() == [0] * 6 + [1] * 6
    found = by_facts(rows)
    # The other facts are alike in all videos; what is left is the fact and all together.
    assert set(found) == {fact, " ".join(FACTS)}
    assert found[fact].balanced_accuracy == 1.0
    assert found[fact].skill == 1.0
    # q = 1/2, 12 videos a class: sqrt(2 · 1/4 / 12) / 2 = 0.102; (1 - 1/2) / 0.102 = 4.9
    assert found[fact].standard_errors == pytest.approx(4.899, abs=0.001)


@pytest.mark.slow
def test_chance_stays_within_its_standard_errors() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2):
        rows = [
            row._replace(
                label=int(rng.integers(3)),
                duration_seconds=float(rng.uniform(1, 9)),
                source_fps=float(rng.choice([25, 30])),
                source_width=int(rng.choice([320, 640, 1280])),
            )
            for row in make_rows(30)
        ]
        for found in giveaways(rows):
            assert found.standard_errors < 3, found


def test_chance_counts_groups_and_not_their_videos() -> None:
    """Three of four and two of two are right: 7/8. Both classes are guessed half of the time."""
    labels, guesses = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    units = np.array(["anna", "anna", "ben", "ben", "anna", "anna"], object)
    accuracy, standard_errors = compare_with_chance(labels, guesses, units)
    assert accuracy == 7 / 8
    # The variances of the recalls are 1/4 / 2 and 1/4 / 1, that of their mean (1/8 + 1/4) / 4.
    assert standard_errors == pytest.approx((7 / 8 - 1 / 2) / math.sqrt(3 / 32))


def test_a_large_class_does_not_look_like_knowledge() -> None:
    rng = np.random.default_rng(1)
    rows = [
        row._replace(duration_seconds=float(rng.uniform(1, 9)))
        for row in rows_of((90, {}), (10, {}))
    ]
    found = by_facts(rows)["duration"]
    assert found.majority == 0.9
    assert found.chance == 0.5
    assert abs(found.skill) < 0.3
    assert found.standard_errors < 3


def test_a_small_class_counts_as_much_as_a_large_one() -> None:
    # At 25 frames a second there are 30 of the large class and all 10 of the small one. Each class
    # weighing the same, 25 means the small one: right for 60 of 90 and 10 of 10.
    rows = rows_of((60, {}), (30, {"source_fps": 25.0}), (10, {"source_fps": 25.0}))
    rows = [row._replace(label=int(i >= 90)) for i, row in enumerate(rows)]
    found = by_facts(rows)["frame rate"]
    assert found.balanced_accuracy == pytest.approx((60 / 90 + 1) / 2)
    assert found.accuracy == pytest.approx(0.7)


@pytest.mark.slow
def test_videos_of_a_group_are_not_learnt_from_each_other() -> None:
    # Each group has a length of its own. Were its videos on both sides, length would tell all.
    rng = np.random.default_rng(2)
    lengths = rng.permutation(20) + 1.0
    rows = [
        row._replace(
            label=index // 5 % 2,
            group=f"person {index // 5}",
            duration_seconds=float(lengths[index // 5]),
        )
        for index, row in enumerate(make_rows(100))
    ]
    assert by_facts(rows)["duration"].standard_errors < 3
    alone = [row._replace(group=None) for row in rows]
    assert by_facts(alone)["duration"].balanced_accuracy > 0.9


def test_copies_are_not_learnt_from_each_other() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.uniform(1, 9, 20)
    rows = [
        row._replace(
            label=index // 5 % 2,
            content_hash=f"{index // 5:032x}",
            duration_seconds=float(lengths[index // 5]),
        )
        for index, row in enumerate(make_rows(100))
    ]
    assert by_facts(rows)["duration"].standard_errors < 3


def test_one_class_is_its_own_answer() -> None:
    rows = [row._replace(label=7) for row in make_rows(4)]
    assert predict_from_facts(rows, rows).tolist() == [7] * 4
    assert giveaways(rows) == []


def test_classes_of_a_single_video_are_left_out() -> None:
    rows = rows_of((8, WIDE), (8, NARROW), (1, {"source_width": 100}))
    assert by_facts(rows)["resolution"].chance == 0.5
    assert giveaways(rows_of((1, WIDE), (1, NARROW))) == []
    assert giveaways([]) == []


def test_a_codec_never_seen_is_no_error() -> None:
    rows = rows_of((5, {"decoder": "pyav/h264"}), (5, {"decoder": "pyav/hevc"}))
    stranger = make_rows(1, decoder="pyav/vp9")
    assert predict_from_facts(rows, stranger).tolist()[0] in (0, 1)


def test_the_same_rows_give_the_same_answer() -> None:
    rng = np.random.default_rng(4)
    rows = [row._replace(duration_seconds=float(rng.uniform(1, 9))) for row in make_rows(40)]
    first = predict_from_facts(rows[:30], rows[30:])
    assert first.dtype == np.int64
    assert first.tolist() == predict_from_facts(rows[:30], rows[30:]).tolist()


@pytest.mark.process
def test_neither_torch_nor_the_decoder_is_imported() -> None:
    code = (
        "import sys; import slowfast_finetune.evaluation.metadata_baseline; "
        "print(sorted({'torch', 'av', 'sklearn'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "[]", printed.stderr
