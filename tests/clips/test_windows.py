"""Which windows an epoch and an evaluation look at."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from synthetic import make_params, make_rows

from slowfast_finetune.base.params import ClipShape
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import (
    Mix,
    Step,
    ViewPlan,
    Window,
    deal_out,
    in_batches,
    plan_training_epoch,
    plan_views,
)

AUGMENT = ("random_crop", "max_zoom", "horizontal_flip", "mixup_alpha", "cutmix_alpha")


def train_plan(rows: list[ClipRow], **changes: Any) -> list[Step]:
    looks = {name: changes.pop(name) for name in AUGMENT if name in changes}
    shape = ClipShape(8, changes.pop("crop_size", 32))
    epoch = changes.pop("epoch", 0)
    params = make_params(augment=looks, train=changes)
    return plan_training_epoch(rows, params.train, params.augment, shape, epoch=epoch)


def flat(plan: list[Step]) -> list[Window]:
    return [window for step in plan for window in step.windows]


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
        (3, 1, [1, 1, 1]),
    ],
)
def test_sizes_of_steps(num_rows: int, batch_size: int, sizes: list[int]) -> None:
    plan = train_plan(make_rows(num_rows), batch_size=batch_size)
    assert [len(step.windows) for step in plan] == sizes


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
    # Of odd differences the same pixels as in the tests.
    odd = flat(train_plan(make_rows(3, height=33, width=35), random_crop=False))
    assert {(window.top, window.left) for window in odd} == {(0, 1)}
    (tested,) = plan_views(make_rows(1, height=33, width=35), ClipShape(8, 32))
    assert (tested.top, tested.left) == (0, 1)


def test_zoom_cuts_smaller_boxes_inside_the_video() -> None:
    rows = mixed_rows()
    sides = Counter[int]()
    for epoch in range(50):
        for window in flat(train_plan(rows, epoch=epoch, max_zoom=2.0)):
            row = rows[window.clip]
            sides[window.side] += 1
            assert 0 <= window.top <= row.height - window.side
            assert 0 <= window.left <= row.width - window.side
    # Enlarged once to twice: 32 px are cut from 32 to 16.
    assert set(sides) == set(range(16, 33))
    assert {window.side for window in flat(train_plan(rows))} == {32}


def test_zoom_changes_neither_order_nor_time() -> None:
    plans = [flat(train_plan(mixed_rows(), max_zoom=zoom)) for zoom in (1.0, 1.5)]
    kept = [[(w.clip, w.start, w.mirrored, w.draw) for w in plan] for plan in plans]
    assert kept[0] == kept[1]


def test_every_window_has_a_draw_of_its_own() -> None:
    windows = [w for epoch in range(10) for w in flat(train_plan(mixed_rows(), epoch=epoch))]
    assert len({window.draw for window in windows}) == len(windows)


# Balance


def imbalanced_rows() -> list[ClipRow]:
    """Ten clips of class 0, three of class 1, one of class 2."""
    return [*make_rows(10, label=0), *make_rows(3, label=1), *make_rows(1, label=2)]


def test_balanced_epochs_show_every_class_alike() -> None:
    rows = imbalanced_rows()
    seen = Counter[int]()
    for epoch in range(60):
        windows = flat(train_plan(rows, class_balance="sampler", epoch=epoch))
        assert len(windows) == len(rows)
        by_class = Counter(rows[window.clip].label for window in windows)
        assert sorted(by_class.values()) == [4, 5, 5], "14 clips, 3 classes"
        by_clip = Counter(window.clip for window in windows)
        # Within a class no clip is shown again before all others were.
        for label in range(3):
            counts = [by_clip[clip] for clip, row in enumerate(rows) if row.label == label]
            assert max(counts) - min(counts) <= 1
        seen.update(by_clip)
    assert set(seen) == set(range(14)), "every clip has its turn"


def test_balanced_epochs_of_balanced_clips_show_each_once() -> None:
    windows = flat(train_plan(make_rows(12), class_balance="sampler"))
    assert sorted(window.clip for window in windows) == list(range(12))


# Mixing


def test_no_mixing_unless_asked_for() -> None:
    assert {step.mix for step in train_plan(mixed_rows())} == {None}


def test_mixup_draws_a_share_a_step() -> None:
    steps = [
        step
        for epoch in range(100)
        for step in train_plan(mixed_rows(), mixup_alpha=1.0, epoch=epoch)
    ]
    shares = [step.mix.share for step in steps if step.mix and step.mix.box is None]
    assert len(shares) == len(steps)
    # Beta(1, 1) is uniform: mean 1/2, standard deviation of the mean of 800 is 0.01.
    assert abs(sum(shares) / len(shares) - 0.5) < 0.06
    assert min(shares) < 0.1 < 0.9 < max(shares)


def test_cutmix_weighs_by_what_is_left_of_the_area() -> None:
    clipped = 0
    for epoch in range(100):
        for step in train_plan(mixed_rows(), cutmix_alpha=1.0, epoch=epoch):
            mix = step.mix
            assert mix is not None
            assert mix.box is not None
            top, left, height, width = mix.box
            assert top >= 0
            assert left >= 0
            assert top + height <= 32
            assert left + width <= 32
            assert mix.share == 1 - height * width / 32**2
            clipped += height != width
    assert clipped > 100, "boxes over the edge are cut there"


def test_both_kinds_of_mixing_take_turns() -> None:
    steps = [
        step
        for epoch in range(50)
        for step in train_plan(mixed_rows(), mixup_alpha=1.0, cutmix_alpha=1.0, epoch=epoch)
    ]
    pasted = sum(step.mix is not None and step.mix.box is not None for step in steps)
    # 400 steps; standard deviation 10.
    assert 140 < pasted < 260


# Dealing out


def step_of(count: int, mix: Mix | None = None) -> Step:
    return Step(tuple(Window(clip, 0, 0, 0, 32) for clip in range(count)), mix)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9])
@pytest.mark.parametrize("num_devices", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_every_clip_of_a_step_counts_once(count: int, num_devices: int, size: int) -> None:
    counted = []
    for rank in range(num_devices):
        parts = deal_out(step_of(count), rank=rank, num_devices=num_devices, size=size)
        assert [part.ends_step for part in parts] == [False] * (len(parts) - 1) + [True]
        for part in parts:
            assert 1 <= len(part.windows) <= size
            assert part.step_size == count
            counted += [window.clip for window in part.windows[: part.num_counted]]
    assert sorted(counted) == list(range(count))


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(9, 8, [4, 5]), (8, 7, [4, 4]), (6, 4, [3, 3])]
)
def test_parts_are_alike_so_that_no_clip_is_left_alone(
    count: int, size: int, sizes: list[int]
) -> None:
    parts = deal_out(step_of(count), rank=0, num_devices=1, size=size)
    assert sorted(len(part.windows) for part in parts) == sizes


def test_device_without_clips_repeats_one_that_does_not_count() -> None:
    parts = deal_out(step_of(2), rank=2, num_devices=3, size=4)
    assert [(part.windows[0].clip, part.num_counted) for part in parts] == [(0, 0)]


def test_partners_are_the_same_however_a_step_is_dealt_out() -> None:
    pairs: dict[Any, Any] = {}
    for rank in range(3):
        parts = deal_out(step_of(7, Mix(0.3)), rank=rank, num_devices=3, size=2)
        for part in parts:
            pairs.update(zip(part.windows, part.partners, strict=True))
    assert {own.clip: partner.clip for own, partner in pairs.items()} == {
        0: 1, 1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 0,
    }  # fmt: skip


# Views


def views(rows: list[ClipRow], **changes: Any) -> list[Window]:
    return plan_views(rows, ClipShape(8, 32), ViewPlan(**changes))


def test_one_view_is_the_middle() -> None:
    assert views(make_rows(2)) == [Window(0, 6, 8, 16, 32), Window(1, 6, 8, 16, 32)]


def test_views_in_time_and_space() -> None:
    assert views(make_rows(1), temporal_views=3, spatial_crops=3) == [
        Window(0, start, 8, left, 32)
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


def test_crops_lie_along_the_longer_side() -> None:
    tall = make_rows(1, height=64, width=48)
    assert [(w.top, w.left) for w in views(tall, spatial_crops=3)] == [
        (0, 8),
        (16, 8),
        (32, 8),
    ]
    square = make_rows(1, height=32, width=32)
    assert [(w.top, w.left) for w in views(square, spatial_crops=3)] == [(0, 0)] * 3


def test_views_of_a_video_as_short_as_a_window() -> None:
    short = make_rows(1, num_frames=8)
    assert [window.start for window in views(short, temporal_views=3)] == [0, 0, 0]


def test_views_in_batches_keep_their_order_and_are_never_mirrored() -> None:
    rows = make_rows(5)
    plan = in_batches(views(rows, temporal_views=3), size=4)
    assert [len(batch) for batch in plan] == [4, 4, 4, 3]
    windows = [window for batch in plan for window in batch]
    assert [window.clip for window in windows] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert not any(window.mirrored for window in windows)
    assert windows == views(rows, temporal_views=3)
