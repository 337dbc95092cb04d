"""Which clips of a video are shown, on frames that carry their number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from slowfast_finetune.clips.windows import corners
from slowfast_finetune.decoding.sampling import window_starts
from slowfast_finetune.model.checkpoint import Preprocessing
from slowfast_finetune.predicting import clip_selection
from slowfast_finetune.predicting.clip_selection import (
    ClipPlan,
    SelectedClip,
    VideoClips,
    WindowRun,
    select_clips,
)
from slowfast_finetune.predicting.frame_pipe import Frame, FrameRun

KEPT = 20


def plan(
    *, stride: int = 4, views: int = 3, crops: int = 1, padding: str = "repeat_last"
) -> ClipPlan:
    shape = Preprocessing(num_frames=8, sample_fps=15, short_side=4, crop_size=4, padding=padding)
    return ClipPlan(
        shape, temporal_views=views, spatial_crops=crops, kept_frames=KEPT, stride=stride
    )


def numbered(number: int) -> Frame:
    """A frame 4×10 whose pixels are 10 × number + column."""
    columns = np.arange(10, dtype=np.uint8)
    return np.broadcast_to((number % 25 * 10 + columns)[None, :, None], (4, 10, 3))


def starts_of(looked: VideoClips) -> list[int]:
    """First frame of every window of the timeline; those of ``plan()`` are 4 apart."""
    return [run.place[0] + 4 * step for run in looked.timeline for step in range(run.length)]


def frames(count: int) -> Iterator[FrameRun]:
    """Frames with their numbers, each shown once."""
    for number in range(count):
        yield FrameRun(numbered(number), 1)


def look(count: int, chosen: ClipPlan) -> tuple[list[SelectedClip], VideoClips]:
    looked = VideoClips()
    return list(select_clips(frames(count), chosen, looked)), looked


def sliding_starts(count: int, *, stride: int) -> list[int]:
    """Windows of 8 frames every ``stride``, and one that ends with the video."""
    last = max(0, count - 8)
    return sorted({*range(0, last + 1, stride), last})


def numbers(clip: SelectedClip) -> list[int]:
    assert clip.clip.shape == (8, 4, 4, 3)
    assert (
        clip.clip % 10 == np.arange(clip.place[2], clip.place[2] + 4)[None, None, :, None]
    ).all()
    return [int(value) for value in clip.clip[:, 0, 0, 0] // 10]


@pytest.mark.parametrize(
    ("count", "stride", "starts"),
    [
        (20, 4, [0, 4, 8, 12]),  # the last one just fits
        (24, 4, [0, 4, 8, 12, 16]),
        (21, 4, [0, 4, 8, 12, 13]),  # the last one ends with the video
        (19, 8, [0, 8, 11]),
        (9, 4, [0, 1]),  # less than a stride is left
        (8, 4, [0]),
        (1, 4, [0]),
        (5, 1, [0]),
    ],
)
def test_windows_slide_and_the_last_one_ends_with_the_video(
    count: int, stride: int, starts: list[int]
) -> None:
    clips, looked = look(count, plan(stride=stride))
    assert starts_of(looked) == starts
    assert {clip.place[0] for clip in clips} >= set(starts)


@pytest.mark.parametrize("count", [8, 9, 12, 20, 21, 30])
def test_a_window_is_shown_as_soon_as_its_frames_are_there(count: int) -> None:
    asked = 0

    def counted() -> Iterator[FrameRun]:
        nonlocal asked
        for frame in frames(count):
            asked += 1
            yield frame

    looked = VideoClips()
    shown = [(clip.place[0], asked) for clip in select_clips(counted(), plan(), looked)]
    early = [(start, needed) for start, needed in shown if needed < count]
    assert early == [(start, start + 8) for start in range(0, count - 8, 4)]


def test_clips_of_a_long_video_are_forgotten() -> None:
    """Else a stream would need more memory with every window."""
    selection = clip_selection._Selection(plan(), VideoClips())
    for number in range(200):
        list(selection.add(number, numbered(number), 1))
    assert len(selection._shown) == 1


@pytest.mark.parametrize("count", [8, 9, 19, KEPT])
def test_a_video_that_is_kept_whole_gives_evaluates_views_and_the_timeline(count: int) -> None:
    clips, looked = look(count, plan())
    starts = window_starts(count, window=8, views=3)
    assert looked.num_frames == count
    assert [start for start, _, _ in looked.views] == starts
    assert starts_of(looked) == sliding_starts(count, stride=4)
    wanted = {*starts, *sliding_starts(count, stride=4)}
    assert sorted(clip.place[0] for clip in clips) == sorted(wanted), "each clip is shown once"
    for clip in clips:
        assert numbers(clip) == [n % 25 for n in range(clip.place[0], clip.place[0] + 8)]
        assert clip.place[2] == 3


def test_a_video_of_just_what_is_kept_is_whole_and_one_frame_more_is_not() -> None:
    assert look(KEPT, plan())[1].views
    clips, looked = look(KEPT + 1, plan())
    assert looked.views == []
    assert [clip.place[0] for clip in clips] == [0, 4, 8, 12, 13]


@pytest.mark.parametrize("stride", [1, 3, 4, 7, 8])
@pytest.mark.parametrize("count", [21, 22, 24, 27, 28, 29, 50])
def test_a_longer_video_gives_the_windows_of_the_timeline(count: int, stride: int) -> None:
    clips, looked = look(count, plan(stride=stride))
    starts = sliding_starts(count, stride=stride)
    assert [clip.place[0] for clip in clips] == starts
    assert looked.timeline == [WindowRun((start, 0, 3), 1) for start in starts]
    assert looked.num_frames == count
    for clip in clips:
        assert numbers(clip) == [n % 25 for n in range(clip.place[0], clip.place[0] + 8)]


@pytest.mark.parametrize(
    ("count", "padding", "expected"),
    [
        (1, "repeat_last", [0] * 8),
        (3, "repeat_last", [0, 1, 2, 2, 2, 2, 2, 2]),
        (3, "loop", [0, 1, 2, 0, 1, 2, 0, 1]),
    ],
)
def test_a_short_video_is_padded_as_in_the_store(
    count: int, padding: str, expected: list[int]
) -> None:
    clips, looked = look(count, plan(padding=padding))
    assert [numbers(clip) for clip in clips] == [expected]
    assert looked.num_frames == count
    assert looked.views == [(0, 0, 3)] * 3


def test_crops_are_those_of_evaluate() -> None:
    clips, looked = look(12, plan(views=2, crops=3))
    places = corners(4, 10, 4, 3)
    assert [left for _, left in places] == [0, 3, 6]
    assert looked.views == [(start, *place) for start in (0, 4) for place in places]
    assert {clip.place for clip in clips} == set(looked.views)


def test_a_store_that_keeps_less_than_a_window_makes_no_short_windows() -> None:
    shape = plan().shape
    small = ClipPlan(shape, temporal_views=1, spatial_crops=1, kept_frames=2, stride=4)
    for count, starts in [(1, [0]), (3, [0]), (8, [0]), (9, [0, 1])]:
        clips, looked = look(count, small)
        assert [clip.place[0] for clip in clips] == starts
        assert starts_of(looked) == starts


def test_of_a_long_video_little_is_held() -> None:
    alive = 0
    most = 0

    class Counted(np.ndarray):
        def __array_finalize__(self, parent: object) -> None: ...

    def counted() -> Iterator[FrameRun]:
        import weakref

        nonlocal alive, most

        def gone() -> None:
            nonlocal alive
            alive -= 1

        for run in frames(2000):
            tracked = np.array(run.frame).view(Counted)
            alive += 1
            most = max(most, alive)
            weakref.finalize(tracked, gone)
            yield FrameRun(tracked, 1)

    looked = VideoClips()
    for _ in select_clips(counted(), plan(), looked):
        pass
    assert looked.num_frames == 2000
    assert most <= KEPT + 3, "the window, a stride, and what was kept at first"


# Frames that are held


def held(*lengths: int) -> list[FrameRun]:
    return [FrameRun(numbered(number), length) for number, length in enumerate(lengths)]


@pytest.mark.parametrize("views", [1, 3])
def test_a_held_frame_is_one_clip(views: int) -> None:
    """20 frames, all the same: windows at 0, 4, 8, 12, and every view, hold the same frames."""
    looked = VideoClips()
    clips = list(select_clips(held(KEPT), plan(views=views), looked))
    assert [clip.place for clip in clips] == [(0, 0, 3)]
    assert looked.timeline == [WindowRun((0, 0, 3), 4)]
    assert looked.num_frames == KEPT
    assert all(looked.shown_as.get(place, place) == (0, 0, 3) for place in looked.views)


def test_a_frame_held_for_a_week_costs_no_more_than_two_windows() -> None:
    """Between two seconds of motion: windows at 0, 4, 8, 12 and 16 show some of the first 20."""
    week = 7 * 86_400 * 15
    motion = [FrameRun(numbered(number), 1) for number in range(20)]
    after = [FrameRun(numbered(30 + number), 1) for number in range(8)]
    looked = VideoClips()
    clips = list(select_clips([*motion, FrameRun(numbered(22), week), *after], plan(), looked))
    assert looked.num_frames == 20 + week + 8
    # The first window that lies in the hold begins at 20; the last one where 8 frames are left.
    assert [clip.place[0] for clip in clips[:6]] == [0, 4, 8, 12, 16, 20]
    hold = looked.timeline[5]
    assert hold == WindowRun((20, 0, 3), (week - 8) // 4 + 1)
    later = [run.place[0] for run in looked.timeline[6:]]
    assert later == [clip.place[0] for clip in clips[6:]]
    assert later == [week + 16, week + 20]
    assert all(run.length == 1 for run in looked.timeline[:5] + looked.timeline[6:])
    assert numbers(clips[6]) == [22] * 4 + [5, 6, 7, 8]


@pytest.mark.parametrize("stride", [1, 3, 4, 8])
@pytest.mark.parametrize("lengths", [(30,), (5, 40), (9, 31, 2, 17), (1, 1, 60, 1, 1), (50, 50)])
def test_holds_show_the_windows_that_single_frames_would(
    lengths: tuple[int, ...], stride: int
) -> None:
    """The same frames, once told as runs and once as copies that nobody knows to be alike."""
    single = [
        FrameRun(numbered(number).copy(), 1)
        for number, length in enumerate(lengths)
        for _ in range(length)
    ]
    expected, looked = VideoClips(), VideoClips()
    every = {
        clip.place[0]: clip.clip for clip in select_clips(single, plan(stride=stride), expected)
    }
    shown = {
        clip.place: clip.clip for clip in select_clips(held(*lengths), plan(stride=stride), looked)
    }
    windows = [
        (run.place[0] + step * stride, shown[looked.shown_as.get(run.place, run.place)])
        for run in looked.timeline
        for step in range(run.length)
    ]
    assert [start for start, _ in windows] == [run.place[0] for run in expected.timeline]
    assert len(shown) < len(every)
    for start, clip in windows:
        np.testing.assert_array_equal(clip, every[start])
