"""The times of frames: tables worked out by hand from the rules of ``timing``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest

from slowfast_finetune.decoding.timing import FrameClock

# In tenths of a second, as are the stamps below; each frame says that it lasts one.
TENTH = Fraction(1, 10)
HOUR = 36_000


def clock(
    longest_step: int = 100, is_held: Callable[[Fraction, Fraction], bool] | None = None
) -> FrameClock:
    return FrameClock(TENTH, longest_step=longest_step * TENTH, is_held=is_held)


def placed(
    clock: FrameClock, stamps: Sequence[float | None], *, stated: float = 1
) -> list[Fraction]:
    """Where stamps are placed [0.1 s]."""
    exact = [None if stamp is None else Fraction(str(stamp)) * TENTH for stamp in stamps]
    return [clock.place(stamp, stated=Fraction(str(stated)) * TENTH) / TENTH for stamp in exact]


@pytest.mark.parametrize(
    ("stamps", "times", "leaps"),
    [
        ([7, 8, 9, 10], [0, 1, 2, 3], 0),
        ([None, None, None], [0, 1, 2], 0),
        # One without a stamp comes when the one before ends.
        ([5, 6, None, 8], [0, 1, 2, 3], 0),
        # Held for exactly as long as is believed, 10 s after the end; then a tick longer.
        ([0, 1, 102, 103], [0, 1, 102, 103], 0),
        ([0, 1, 103, 104], [0, 1, 2, 3], 1),
        # Ahead by two hours, twice.
        ([0, 1, 2 * HOUR, 2 * HOUR + 1, 4 * HOUR], [0, 1, 2, 3, 4], 2),
        # A gap after the leap is one still: 20 lies 15 after 5.
        ([0, 1, HOUR + 5, HOUR + 20], [0, 1, 2, 17], 1),
        # Back by two hours, to stay there.
        ([2 * HOUR, 2 * HOUR + 1, 0, 1, 2], [0, 1, 2, 3, 4], 1),
        # Back and there again, as where a recording is played twice and once more.
        ([50, 51, 0, 1, 50, 51], [0, 1, 2, 3, 52, 53], 1),
        # A single stamp that went back is no leap: the clock goes on as if it had not been.
        ([0, 1, 2, 0, 4, 5], [0, 1, 2, 3, 4, 5], 0),
        # Equal stamps follow upon each other.
        ([0, 1, 1, 3], [0, 1, 2, 3], 0),
        # To and fro by less than 0.1 s is no leap either, however often.
        ([0, 1, 0.5, 3, 2.5, 5], [0, 1, 2, 3, 4, 5], 0),
    ],
)
def test_where_frames_are_placed(stamps: list[float | None], times: list[int], leaps: int) -> None:
    tested = clock()
    assert placed(tested, stamps) == times
    assert tested.num_leaps == leaps


def test_a_frame_that_is_really_held_stays() -> None:
    asked = []

    def is_held(start: Fraction, end: Fraction) -> bool:
        asked.append((start / TENTH, end / TENTH))
        return True

    tested = clock(is_held=is_held)
    assert placed(tested, [40, 41, 400, 401]) == [0, 1, 360, 361]
    # It is asked for stamps as they stand in the file, not for times from the first frame.
    assert (41, 400) in asked
    assert tested.num_leaps == 0


def test_where_no_clock_leaps_a_day_is_believed_and_two_are_not() -> None:
    day = 24 * HOUR
    believing = FrameClock(TENTH)
    assert placed(believing, [0, 1, day, day + 1]) == [0, 1, day, day + 1]
    assert believing.num_leaps == 0
    disbelieving = FrameClock(TENTH)
    assert placed(disbelieving, [0, 1, 2 * day, 2 * day + 1]) == [0, 1, 2, 3]
    assert disbelieving.num_leaps == 1


def test_a_clock_that_leaps_runs_on_as_the_median_of_the_last_steps() -> None:
    # Steps of 2 with one of 5, none stated: the frame before the leap lasts 2.
    assert placed(clock(), [0, 2, 7, 9, 11, HOUR], stated=0) == [0, 2, 7, 9, 11, 13]


@pytest.mark.parametrize(
    ("stamps", "stated", "own", "end"),
    [
        # Nothing known but what each frame says.
        ([0, 1, 2], 1, None, 3),
        # The file says how long it is, and that fits.
        ([0, 1, 2], 1, 2.5, 2.5),
        # 10.1 s with a pause before the last frame is not 18.1 s.
        ([0, 1, 2, 20, 21, 100], 1, 101, 101),
        ([0, 1, 2, 20, 21, 100], 1, None, 101),
        # As long as the pause, where the file says so.
        ([0, 1, 2, 20, 21, 100], 1, 150, 150),
        # Longer than the longest pause before: the file is not believed.
        ([0, 1, 2], 1, 40, 3),
        # Shorter than a tenth of a frame: it does not count the last one.
        ([0, 1, 2], 1, 2, 3),
        ([0, 1, 2], 1, 2.05, 3),
        # Its length counts the leap in.
        ([0, 1, HOUR, HOUR + 1], 1, 3.5, 4),
        # A thousandth, as in Matroska, says nothing: the usual step does.
        ([0, 2, 4, 6], 0.01, None, 8),
        # The first frame alone: it lasts as its rate says.
        ([5], 0, None, 1),
    ],
)
def test_when_the_last_frame_ends(
    stamps: list[float], stated: float, own: float | None, end: float
) -> None:
    tested = clock()
    placed(tested, stamps, stated=stated)
    found = tested.last_end(None if own is None else Fraction(str(own)) * TENTH)
    assert found / TENTH == Fraction(str(end))
