"""The times of frames: tables worked out by hand from the rules of ``timing``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from decoded import decode, numbers
from synthetic import numbered_frame, read_numbers, steady, write_video

from slowfast_finetune.decoding.sampled_frames import sampled_runs
from slowfast_finetune.decoding.sampling import DecodeSettings
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


# Files


def part(path: Path, *, start: Fraction | int, first: int, b_frames: int = 0) -> Path:
    """A second of video at 15 frames a second, which start at a time and with a number."""
    return write_video(
        path,
        steady(15, 15, start=start),
        picture=lambda index: numbered_frame(first + index),
        b_frames=b_frames,
    )


def joined(folder: Path, starts: Sequence[int], suffix: str = ".ts", b_frames: int = 0) -> Path:
    """Files of a second each, which start at these times [s], joined by joining their bytes."""
    path = folder / f"joined{suffix}"
    path.write_bytes(
        b"".join(
            part(
                folder / f"{number}{suffix}", start=start, first=15 * number, b_frames=b_frames
            ).read_bytes()
            for number, start in enumerate(starts)
        )
    )
    return path


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize(
    "starts",
    [(0, 7200), (7200, 0), (10, 36), (50_000, 20_000, 40_000)],
    ids=["ahead", "back", "gap of 25 s", "back and ahead"],
)
def test_clocks_that_leap_are_closed(
    tmp_path: Path, starts: tuple[int, ...], b_frames: int
) -> None:
    frames, report = decode(joined(tmp_path, starts, b_frames=b_frames))
    assert read_numbers(frames) == list(range(15 * len(starts)))
    assert report.num_leaps == len(starts) - 1
    assert report.duration_seconds == pytest.approx(len(starts), abs=1e-3)
    assert not report.facts().damaged


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
def test_a_frame_held_for_eight_seconds_is_held_in_every_format(
    tmp_path: Path, suffix: str
) -> None:
    path = write_video(tmp_path / f"a{suffix}", [*steady(15, 15), *steady(15, 15, start=9)])
    frames, report = decode(path, sample_fps=1)
    assert read_numbers(frames) == [0, 14, 14, 14, 14, 14, 14, 14, 14, 15]
    assert report.num_leaps == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("seconds", [40, 3600])
def test_where_clocks_do_not_leap_a_frame_may_be_held_for_an_hour(
    tmp_path: Path, suffix: str, seconds: int
) -> None:
    # Each frame says that it lasts 1/15 s: the stamps alone tell of the pause.
    path = write_video(
        tmp_path / f"a{suffix}",
        [*steady(15, 15), *steady(15, 15, start=seconds)],
        claimed_fps=15,
    )
    frames, report = decode(path, sample_fps=0.1, max_seconds=5000)
    assert read_numbers(frames) == [0] + [14] * (seconds // 10 - 1) + [15]
    assert report.duration_seconds == pytest.approx(seconds + 1, abs=2e-3)
    assert report.num_leaps == 0


@pytest.mark.parametrize(("sound_seconds", "is_held"), [(31, True), (2, False)])
def test_in_a_transport_stream_the_sound_tells_whether_a_frame_is_held(
    tmp_path: Path, sound_seconds: int, is_held: bool
) -> None:
    """A second of video, another one 30 s later; the sound goes on in between, or does not."""
    silent = write_video(tmp_path / "a.mp4", [*steady(15, 15), *steady(15, 15, start=30)])
    path = tmp_path / "a.ts"
    with av.open(str(silent)) as source, av.open(str(path), "w") as container:
        video: Any = container.add_stream_from_template(source.streams.video[0])
        sound: Any = container.add_stream("mp2", rate=16_000)
        sound.layout = "mono"
        packets: list[Any] = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets:
            packet.stream = video
        for start in range(0, 16_000 * sound_seconds, 1152):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1152), np.int16), format="s16", layout="mono"
            )
            silence.sample_rate, silence.pts = 16_000, start
            packets += sound.encode(silence)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    frames, report = decode(path, sample_fps=1)
    assert read_numbers(frames) == ([0, *[14] * 29, 15] if is_held else [0, 15])
    assert report.num_leaps == (0 if is_held else 1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_pause_before_the_last_frame_is_not_taken_for_its_length(
    tmp_path: Path, suffix: str
) -> None:
    tenth = Fraction(1, 10)
    path = write_video(
        tmp_path / f"a{suffix}",
        [*steady(20, 10), Fraction(10)],
        end_time=Fraction(101, 10),
        tick=tenth,
    )
    frames, report = decode(path, sample_fps=10)
    assert read_numbers(frames) == [*range(20), *[19] * 80, 20]
    assert report.duration_seconds == pytest.approx(10.1, abs=2e-3)


def test_avi_with_b_frames_and_a_gap(tmp_path: Path) -> None:
    """AVI numbers the packets, also those without data that stand for the gap."""
    path = write_video(
        tmp_path / "a.avi",
        [*steady(10, 15), *steady(10, 15, start=2)],
        b_frames=2,
        tick=Fraction(1, 15),
    )
    assert numbers(path) == [*range(10), *[9] * 20, *range(10, 20)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_six_seconds_that_claim_days_take_no_longer(tmp_path: Path, suffix: str) -> None:
    """The last packet is 100,000 s later than the one before: 27.8 hours, which may be true."""
    tick = Fraction(1, 600)
    path = write_video(
        tmp_path / f"a{suffix}",
        [*steady(89, 15), Fraction(100_000)],
        tick=tick,
        claimed_fps=15,
        container_options={"video_track_timescale": "600"} if suffix == ".mp4" else None,
    )
    settings = DecodeSettings(sample_fps=30, short_side=48, max_megapixels=1)
    runs = list(sampled_runs(path, settings=settings))
    assert len(runs) == 90
    assert sum(length for _, length in runs) == pytest.approx(3_000_000, abs=10)
    frames, report = decode(path, sample_fps=30, max_seconds=10)
    assert len(frames) == 300
    assert report.truncated
