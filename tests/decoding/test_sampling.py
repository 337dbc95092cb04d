"""Which frame is shown at which instant: tables worked out by hand, and laws."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from synthetic import NTSC, NTSC_FILM, steady

from slowfast_finetune.decoding.sampling import (
    TOLERANCE_SECONDS,
    instants_before,
    padded_indices,
    window_starts,
)
from slowfast_finetune.video_folder import shown_frames

MS = Fraction(1, 1000)


def shown(num_frames: int, fps: Fraction | int, sample_fps: Fraction | int) -> list[int]:
    times = steady(num_frames, fps)
    return shown_frames(times, end_time=num_frames / Fraction(fps), sample_fps=Fraction(sample_fps))


# One second each. The frame shown at instant k is the last one with time ≤ k/15 s + 0.5 ms.
AT_15 = {
    # The rate itself, and its multiples: each, every second, every fourth frame.
    (15, 15): [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
    (30, 30): [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28],
    (60, 60): [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56],
    # Instant k falls at frame 5k/3, rounded down.
    (25, 25): [0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 16, 18, 20, 21, 23],
    # 10k/3, rounded down.
    (50, 50): [0, 3, 6, 10, 13, 16, 20, 23, 26, 30, 33, 36, 40, 43, 46],
    # Slower than the sampling: 2k/3, rounded down; frames are shown once or twice.
    (10, 10): [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9],
    # (2000k + 15)/1001, rounded down: from instant 8 on, frame 2k comes more than 0.5 ms too
    # late. 30 frames last 1.001 s, so the instant at 1 s counts.
    (30, NTSC): [0, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 29],
    # (1600k + 12)/1001, rounded down: frame 8 is 0.33 ms late for instant 5, which is forgiven;
    # frame 16 is 0.67 ms late for instant 10, which is not.
    (24, NTSC_FILM): [0, 1, 3, 4, 6, 8, 9, 11, 12, 14, 15, 17, 19, 20, 22, 23],
}

AT_7_5 = {
    (15, 15): [0, 2, 4, 6, 8, 10, 12, 14],
    (25, 25): [0, 3, 6, 10, 13, 16, 20, 23],
    (30, 30): [0, 4, 8, 12, 16, 20, 24, 28],
    (60, 60): [0, 8, 16, 24, 32, 40, 48, 56],
    # (4000k + 15)/1001, rounded down.
    (30, NTSC): [0, 4, 8, 12, 15, 19, 23, 27],
}


@pytest.mark.parametrize(("video", "expected"), AT_15.items(), ids=str)
def test_one_second_at_15_instants_a_second(
    video: tuple[int, Fraction | int], expected: list[int]
) -> None:
    assert shown(*video, sample_fps=15) == expected


@pytest.mark.parametrize(("video", "expected"), AT_7_5.items(), ids=str)
def test_one_second_at_7_5_instants_a_second(
    video: tuple[int, Fraction | int], expected: list[int]
) -> None:
    assert shown(*video, sample_fps=Fraction(15, 2)) == expected


def test_variable_rate_with_a_gap_and_a_short_flash() -> None:
    times = [Fraction(0), 100 * MS, 150 * MS, 500 * MS, 520 * MS, Fraction(1)]
    # Instants at 0, 67, 133, 200, …, 467, 533, …, 933, 1000, 1067 ms; frame 3 falls between two.
    expected = [0, 0, 1, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 5, 5]
    assert shown_frames(times, end_time=1100 * MS, sample_fps=Fraction(15)) == expected


def test_matroska_milliseconds() -> None:
    # 24000/1001 fps, rounded to milliseconds as Matroska does.
    times = [ms * MS for ms in (0, 42, 83, 125, 167, 209, 250, 292, 334, 375, 417, 459)]
    # Instants at 0, 66.7, 133.3, 200, 266.7, 333.3 (334 is 0.67 late), 400, 466.7 ms.
    expected = [0, 1, 3, 4, 6, 7, 9, 11]
    assert shown_frames(times, end_time=500 * MS, sample_fps=Fraction(15)) == expected


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (Fraction(0), [0, 1]),
        (Fraction(4, 10) * MS, [0, 1]),
        (Fraction(5, 10) * MS, [0, 1]),
        (Fraction(6, 10) * MS, [0, 0]),
    ],
)
def test_half_a_millisecond_late_is_forgiven(late: Fraction, expected: list[int]) -> None:
    times = [Fraction(0), Fraction(1, 15) + late]
    assert shown_frames(times, end_time=Fraction(2, 15), sample_fps=Fraction(15)) == expected


@pytest.mark.parametrize(
    ("end_ms", "instants"),
    [(0, 0), ("0.4", 0), ("0.5", 0), ("0.6", 1), (100, 1), ("100.5", 1), ("100.6", 2), (1000, 10)],
)
def test_instants_before_a_time(end_ms: int | str, instants: int) -> None:
    # Instants at 0, 100, 200, … ms.
    assert instants_before(Fraction(end_ms) * MS, sample_fps=Fraction(10)) == instants


def test_one_frame_is_always_taken() -> None:
    assert shown_frames([Fraction(0)], end_time=Fraction(0), sample_fps=Fraction(15)) == [0]
    assert shown_frames([Fraction(7)], end_time=Fraction(7), sample_fps=Fraction(15)) == [0]


def test_one_frame_fills_its_time() -> None:
    # 0.2 s hold the instants 0, 1/15 and 2/15; the one at 3/15 is the end.
    assert shown_frames([Fraction(0)], end_time=Fraction(1, 5), sample_fps=Fraction(15)) == [0] * 3


def test_of_frames_at_the_same_time_the_last_is_shown() -> None:
    times = [Fraction(0), 100 * MS, 100 * MS, 200 * MS]
    assert shown_frames(times, end_time=300 * MS, sample_fps=Fraction(10)) == [0, 2, 3]


def test_the_clock_starts_at_the_first_frame() -> None:
    from_zero = steady(40, 25)
    from_ten = steady(40, 25, start=10)
    arguments = {"sample_fps": Fraction(15)}
    assert shown_frames(from_ten, end_time=Fraction(58, 5), **arguments) == shown_frames(
        from_zero, end_time=Fraction(8, 5), **arguments
    )


@pytest.mark.parametrize("seed", range(20))
def test_shows_what_stands_on_the_screen_at_every_instant(seed: int) -> None:
    """The law itself, asked instant by instant of videos of any rate."""
    rng = random.Random(seed)
    times = [Fraction(0)]
    for _ in range(rng.randrange(60)):
        times.append(times[-1] + Fraction(rng.randrange(1, 300), 1000))
    end_time = times[-1] + Fraction(rng.randrange(1, 300), 1000)
    sample_fps = Fraction(rng.choice([1, 4, 15, 24, 60]))

    taken = shown_frames(times, end_time=end_time, sample_fps=sample_fps)

    instants = [k / sample_fps for k in range(len(taken))]
    on_screen = [
        max(i for i, time in enumerate(times) if time <= instant + TOLERANCE_SECONDS)
        for instant in instants
    ]
    assert taken == on_screen
    assert instants[-1] + TOLERANCE_SECONDS < end_time or len(taken) == 1
    assert len(taken) / sample_fps + TOLERANCE_SECONDS >= end_time


@pytest.mark.parametrize(
    ("num_frames", "min_frames", "padding", "expected"),
    [
        (3, 7, "repeat_last", [0, 1, 2, 2, 2, 2, 2]),
        (3, 7, "loop", [0, 1, 2, 0, 1, 2, 0]),
        (1, 4, "repeat_last", [0, 0, 0, 0]),
        (1, 4, "loop", [0, 0, 0, 0]),
        (4, 4, "repeat_last", [0, 1, 2, 3]),
        (4, 4, "loop", [0, 1, 2, 3]),
        (5, 3, "repeat_last", [0, 1, 2, 3, 4]),
        (5, 3, "loop", [0, 1, 2, 3, 4]),
    ],
)
def test_padding_repeats_what_is_there(
    num_frames: int, min_frames: int, padding: str, expected: list[int]
) -> None:
    assert padded_indices(num_frames, min_frames=min_frames, padding=padding) == expected


@pytest.mark.parametrize(
    ("num_frames", "window", "views", "expected"),
    [
        (20, 8, 1, [6]),
        (13, 8, 1, [2]),
        (8, 8, 1, [0]),
        (20, 8, 2, [0, 12]),
        (20, 8, 3, [0, 6, 12]),
        # 5 places left: view i at 5i/2, at 5i/9, rounded down.
        (13, 8, 3, [0, 2, 5]),
        (13, 8, 10, [0, 0, 1, 1, 2, 2, 3, 3, 4, 5]),
        (8, 8, 3, [0, 0, 0]),
    ],
)
def test_windows_are_spread_from_start_to_end(
    num_frames: int, window: int, views: int, expected: list[int]
) -> None:
    assert window_starts(num_frames, window=window, views=views) == expected
