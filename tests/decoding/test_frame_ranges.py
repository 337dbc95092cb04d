"""Ranges of a video's frames, with jumps over what lies between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import steady, write_video

from slowfast_finetune.decoding.frame_ranges import sampled_ranges
from slowfast_finetune.decoding.sampled_frames import sampled_frames
from slowfast_finetune.decoding.sampling import DecodeSettings, FrameRange
from slowfast_finetune.decoding.video_facts import DecodeReport

SETTINGS = DecodeSettings(sample_fps=5, short_side=None, max_megapixels=1)


def level(number: int) -> np.ndarray:
    """A picture whose grey is half the number of its frame."""
    return np.full((48, 64, 3), number // 2, np.uint8)


@pytest.mark.parametrize("container", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("alone", [True, False], ids=["key frames", "few key frames"])
def test_frames_after_a_jump_are_those_of_a_whole_pass(
    tmp_path: Path, container: str, alone: bool
) -> None:
    # 40 s at 10 frames a second, without jumps in AVI: instant k is frame 2 k, of grey k.
    path = tmp_path / f"a.{container}"
    write_video(path, steady(400, 10), picture=level, every_frame_alone=alone)
    ranges = [FrameRange(0, 5), FrameRange(70, 75), FrameRange(190, 230)]
    report = DecodeReport()
    found: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    for position, frame, count in sampled_ranges(path, ranges, settings=SETTINGS, report=report):
        found[position] += [frame] * count
    # The last range ends with the video, at instant 200.
    assert [len(frames) for frames in found.values()] == [5, 5, 10]
    greys = [round(float(frame.mean())) for frames in found.values() for frame in frames]
    expected = [*range(5), *range(70, 75), *range(190, 200)]
    assert greys == pytest.approx(expected, abs=1.5)
    whole = list(sampled_frames(path, settings=SETTINGS))
    wanted = (whole[r.first : min(r.end, 200)] for r in ranges)
    for frames, others in zip(found.values(), wanted, strict=True):
        np.testing.assert_array_equal(frames, others)
    jumped = alone and container != "avi"
    assert (report.num_decoded < 150) == jumped, report.num_decoded
    assert report.duration_seconds == pytest.approx(40, abs=0.11)
