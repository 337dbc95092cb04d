"""The facts about a video that are worked out from what was found while decoding."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from decoded import decode
from synthetic import steady, write_video

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.decoding.video_facts import DecodeReport


@pytest.mark.parametrize(
    ("stated", "num_decoded", "seconds", "expected"),
    [
        (25, 100, 4, 25),
        # Up to 240 a rate is believed, though few frames are there.
        (240, 100, 4, 240),
        # The tick of a clock: Matroska's, raw DV's.
        (1000, 100, 4, 25),
        (60_000, 119, 4, 29.75),
        # A camera that really is that fast.
        (960, 960, 1, 960),
        (1000, 501, 1, 1000),
        # Nothing to count by.
        (1000, 0, 0, 1000),
        (0, 100, 4, 0),
    ],
)
def test_a_rate_that_is_a_mere_tick_is_counted(
    stated: float, num_decoded: int, seconds: float, expected: float
) -> None:
    report = DecodeReport(source_fps=stated, num_decoded=num_decoded, duration_seconds=seconds)
    assert report.facts().source_fps == expected


def test_matroska_that_claims_a_thousand_frames_a_second(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", steady(20, 10), claimed_fps=1000, end_time=Fraction(2))
    _, report = decode(path)
    assert report.source_fps == 1000
    assert report.facts().source_fps == pytest.approx(10, abs=0.01)


def test_a_clips_csv_of_an_earlier_version_is_refused_with_what_to_run(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text(
        "video_path,class_name,label,split,group,content_hash,num_frames,num_sampled,height,width,"
        "source_height,source_width,source_fps,has_audio,duration_seconds,decoder,"
        "decodable_fraction,damaged,truncated,settings\n"
        "a.mp4,clap,0,train,,f5c0b41de7edb05d3c4d73b0cb7dc40c,20,20,32,43,48,64,15.0,false,1.333333,"
        "pyav/h264,1.0,false,false,76038fee98e28814\n"
    )
    with pytest.raises(DataError, match=r"interlaced, .* are missing; .* run `dvc repro` there$"):
        CLIPS.read_rows(path)
