"""A few frames of a video, decoded or jumped to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import synthetic
from synthetic import steady, write_video

from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.doctor.glimpses import glimpses

SETTINGS = DecodeSettings(sample_fps=15, short_side=None, max_seconds=100, max_megapixels=36)


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [(10, [1, 3, 5, 7, 9]), (100, [10, 30, 50, 70, 90]), (700, [70, 210, 350, 490, 630])],
)
def test_glimpses_are_of_the_right_moments_read_or_jumped_to(
    tmp_path: Path, num_frames: int, expected: list[int]
) -> None:
    path = write_video(tmp_path / "v.mp4", steady(num_frames, 30))
    frames, facts = glimpses(path, count=5, settings=SETTINGS)
    assert synthetic.read_numbers(np.stack(frames)) == expected
    assert facts.duration_seconds == pytest.approx(num_frames / 30)
    assert (facts.source_width, facts.source_height, facts.decoder) == (64, 48, "pyav/h264")


def test_a_long_video_that_cannot_be_jumped_in_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "v.mp4", steady(700, 30))
    monkeypatch.setattr("slowfast_finetune.doctor.glimpses._frame_after_jump", lambda *_: None)
    frames, facts = glimpses(path, count=5, settings=SETTINGS)
    assert synthetic.read_numbers(np.stack(frames)) == [70, 210, 350, 490, 630]
    assert facts.duration_seconds == pytest.approx(700 / 30)


def test_only_what_the_cache_would_keep_is_looked_at(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", steady(700, 30))
    settings = dataclasses.replace(SETTINGS, max_seconds=5)  # 150 frames
    frames, facts = glimpses(path, count=5, settings=settings)
    assert synthetic.read_numbers(np.stack(frames)) == [15, 45, 75, 105, 135]
    assert facts.truncated
    assert facts.duration_seconds == pytest.approx(700 / 30)


def test_a_cut_off_file_is_looked_at_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "v.mp4",
        steady(100, 30),
        every_frame_alone=True,
        container_options=synthetic.FASTSTART,
    )
    synthetic.cut_before_packet(path, index=60)
    frames, facts = glimpses(path, count=5, settings=SETTINGS)
    assert synthetic.read_numbers(np.stack(frames)) == [6, 18, 30, 42, 54]
    assert facts.decodable_fraction == pytest.approx(0.6)
