"""Which windows an epoch and an evaluation look at."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from synthetic import make_rows

from slowfast_finetune.clips.tables import ClipRow
from slowfast_finetune.clips.windows import Window, plan_training_epoch, plan_views


def train_plan(rows: list[ClipRow], **changes: Any) -> list[list[Window]]:
    settings: dict[str, Any] = {
        "num_frames": 8,
        "crop_size": 32,
        "batch_size": 4,
        "random_crop": True,
        "horizontal_flip": 0.5,
        "seed": 0,
        "epoch": 0,
    }
    return plan_training_epoch(rows, **{**settings, **changes})


def flat(plan: list[list[Window]]) -> list[Window]:
    return [window for batch in plan for window in batch]


def mixed_rows() -> list[ClipRow]:
    """Videos of three shapes and lengths, one of them as small as a window."""
    return [
        *make_rows(10),
        *make_rows(10, num_frames=8, height=32, width=32),
        *make_rows(10, num_frames=9, height=33, width=50),
    ]


@pytest.mark.parametrize("num_rows", [1, 2, 4, 5, 7, 8, 9, 13, 30])
def test_an_epoch_sees_every_video_once(num_rows: int) -> None:
    for epoch in range(3):
        windows = flat(train_plan(make_rows(num_rows), epoch=epoch))
        assert sorted(window.clip for window in windows) == list(range(num_rows))


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "sizes"),
    [
        (8, 4, [4, 4]),
        (7, 4, [4, 3]),
        (6, 4, [4, 2]),
        # A last batch of one would stop batch norm; it joins the one before.
        (5, 4, [5]),
        (9, 4, [4, 5]),
        (1, 4, [1]),
        (3, 100, [3]),
    ],
)
def test_sizes_of_batches(num_rows: int, batch_size: int, sizes: list[int]) -> None:
    plan = train_plan(make_rows(num_rows), batch_size=batch_size)
    assert [len(batch) for batch in plan] == sizes


def test_windows_lie_inside_the_video() -> None:
    rows = mixed_rows()
    for epoch in range(50):
        for window in flat(train_plan(rows, epoch=epoch)):
            row = rows[window.clip]
            assert 0 <= window.start <= row.num_frames - 8
            assert 0 <= window.top <= row.height - 32
            assert 0 <= window.left <= row.width - 32


def test_every_place_is_reached_and_none_is_favoured() -> None:
    # 20 frames: starts 0 to 12; height 48: tops 0 to 16; width 64: lefts 0 to 32.
    windows = [w for epoch in range(400) for w in flat(train_plan(make_rows(10), epoch=epoch))]
    for places, values in (
        (13, [w.start for w in windows]),
        (17, [w.top for w in windows]),
        (33, [w.left for w in windows]),
    ):
        counts = Counter(values)
        assert set(counts) == set(range(places))
        expected = len(windows) / places
        # 4000 draws; six standard deviations.
        assert all(abs(count - expected) < 6 * expected**0.5 for count in counts.values())


def test_time_place_and_mirror_are_drawn_independently() -> None:
    windows = [w for epoch in range(400) for w in flat(train_plan(make_rows(10), epoch=epoch))]
    halves = Counter((w.start > 6, w.top > 8, w.left > 16, w.mirrored) for w in windows)
    assert len(halves) == 16
    assert all(150 < count < 400 for count in halves.values())


def test_the_same_arguments_give_the_same_plan() -> None:
    assert train_plan(mixed_rows(), epoch=3) == train_plan(mixed_rows(), epoch=3)


def test_epochs_and_seeds_differ() -> None:
    plans = [
        train_plan(mixed_rows(), seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)
    ]
    orders = [[window.clip for window in flat(plan)] for plan in plans]
    places = [{w.clip: (w.start, w.top, w.left) for w in flat(plan)} for plan in plans]
    for first in range(4):
        for second in range(first):
            assert orders[first] != orders[second]
            assert places[first] != places[second]


def test_batch_size_changes_neither_order_nor_windows() -> None:
    assert flat(train_plan(mixed_rows(), batch_size=4)) == flat(
        train_plan(mixed_rows(), batch_size=9)
    )


def test_flips_change_nothing_else() -> None:
    never = flat(train_plan(mixed_rows(), horizontal_flip=0.0))
    always = flat(train_plan(mixed_rows(), horizontal_flip=1.0))
    assert not any(window.mirrored for window in never)
    assert all(window.mirrored for window in always)
    places = [[(w.clip, w.start, w.top, w.left) for w in windows] for windows in (never, always)]
    assert places[0] == places[1]


def test_share_of_flips() -> None:
    windows = [
        window
        for epoch in range(100)
        for window in flat(train_plan(make_rows(10), epoch=epoch, horizontal_flip=0.25))
    ]
    # 250 of 1000 expected; standard deviation 14.
    assert 180 < sum(window.mirrored for window in windows) < 320


def test_without_random_crop_the_centre_is_cut() -> None:
    rows = make_rows(10)
    windows = [
        w for epoch in range(20) for w in flat(train_plan(rows, random_crop=False, epoch=epoch))
    ]
    # (48 - 32) / 2 and (64 - 32) / 2; time is still random.
    assert {(window.top, window.left) for window in windows} == {(8, 16)}
    assert len({window.start for window in windows}) > 5
    odd = flat(train_plan(make_rows(3, height=33, width=35), random_crop=False))
    assert {(window.top, window.left) for window in odd} <= {(0, 1), (1, 1), (0, 2), (1, 2)}


# Views


def views(rows: list[ClipRow], **changes: Any) -> list[list[Window]]:
    settings: dict[str, Any] = {"num_frames": 8, "crop_size": 32, "batch_size": 100}
    return plan_views(rows, **{**settings, **changes})


def test_one_view_is_the_middle() -> None:
    assert views(make_rows(2)) == [[Window(0, 6, 8, 16), Window(1, 6, 8, 16)]]


def test_views_in_time_and_space() -> None:
    assert views(make_rows(1), temporal_views=3, spatial_crops=3) == [
        [
            Window(0, start, 8, left)
            for start, left in [
                (0, 0),
                (0, 16),
                (0, 32),
                (6, 0),
                (6, 16),
                (6, 32),
                (12, 0),
                (12, 16),
                (12, 32),
            ]
        ]
    ]


def test_crops_lie_along_the_longer_side() -> None:
    tall = make_rows(1, height=64, width=48)
    assert [(w.top, w.left) for w in flat(views(tall, spatial_crops=3))] == [
        (0, 8),
        (16, 8),
        (32, 8),
    ]
    square = make_rows(1, height=32, width=32)
    assert [(w.top, w.left) for w in flat(views(square, spatial_crops=3))] == [(0, 0)] * 3


def test_views_of_a_video_as_short_as_a_window() -> None:
    short = make_rows(1, num_frames=8)
    assert [window.start for window in flat(views(short, temporal_views=3))] == [0, 0, 0]


def test_views_in_batches_keep_their_order_and_are_never_mirrored() -> None:
    rows = make_rows(5)
    plan = views(rows, temporal_views=3, batch_size=4)
    assert [len(batch) for batch in plan] == [4, 4, 4, 3]
    assert [window.clip for window in flat(plan)] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert not any(window.mirrored for window in flat(plan))
    assert flat(plan) == flat(views(rows, temporal_views=3))
