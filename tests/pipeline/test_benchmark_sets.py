"""What ``benchmarks sets`` computes, by hand; the stages have tests of their own."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import make_rows, steady, write_video

from benchmarks.sets import PlainVideos, Run, _runs, difference_and_interval, mean_and_interval
from benchmarks.stage_inputs import demo_params


def run_of(right: list[bool], groups: list[str | None]) -> Run:
    """A run with one test video for each answer."""
    videos = [f"{index}.mp4" for index in range(len(right))]
    cases = pd.DataFrame({"video_path": videos, "group": groups, "right": right})
    return Run("a", "seed 0", cases, {})


def test_the_mean_counts_every_video_of_every_run_once() -> None:
    runs = [run_of([True, True, False, False], [None] * 4), run_of([True] * 4, [None] * 4)]
    mean, low, high = mean_and_interval(runs)
    assert mean == 0.75
    assert 0.3 < low < 0.75 < high <= 1.0


def test_the_interval_resamples_groups_and_not_runs_or_videos() -> None:
    # Two groups, one always right and one always wrong: a draw has 0, 1 or 2 of the right one.
    run = run_of([True] * 10 + [False] * 10, ["a"] * 10 + ["b"] * 10)
    assert mean_and_interval([run] * 5) == (0.5, 0.0, 1.0)


def test_the_difference_is_paired_by_video_and_resampled_by_group() -> None:
    ours = run_of([True] * 10 + [False] * 10, ["a"] * 10 + ["b"] * 10)
    other = run_of([False] * 10 + [False] * 10, ["a"] * 10 + ["b"] * 10)
    assert difference_and_interval(ours, other) == (0.5, 0.0, 1.0)
    assert difference_and_interval(ours, ours) == (0.0, 0.0, 0.0)


def test_a_folder_with_a_split_has_a_run_for_each_seed_and_any_other_one_for_each_fold(
    tmp_path: Path,
) -> None:
    assert [name for name, _ in _runs(tmp_path, [0, 1], 3)] == ["fold 0", "fold 1", "fold 2"]
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    assert [changes for _, changes in _runs(tmp_path, [4], 3)] == [{"train": {"seed": 4}}]


@pytest.mark.parametrize(
    ("num_frames", "taken"),
    [
        (40, range(4, 36, 2)),  # 20 frames a second for 10: every second one, from the middle
        (20, range(2, 18)),  # too short for every second one
        (6, [*range(6), *[5] * 10]),  # and for every one: the last is repeated
    ],
)
def test_the_plain_script_takes_every_nth_frame_from_the_middle(
    num_frames: int, taken: Sequence[int], tmp_path: Path
) -> None:
    def grey(index: int) -> np.ndarray:
        return np.full((48, 64, 3), 6 * index, np.uint8)

    video = write_video(tmp_path / "a.mp4", steady(num_frames, Fraction(20)), picture=grey)
    params = demo_params(clip={"num_frames": 16, "short_side": 48})
    [row] = make_rows(1, video_path=str(video), source_fps=20.0, label=2)
    clip, label = PlainVideos([row], params, random_start=False)[0]
    assert clip.shape == (16, 48, 48, 3)
    assert label == 2
    levels = clip.float().mean(dim=(1, 2, 3)).numpy()
    np.testing.assert_allclose(levels / 6, list(taken), atol=0.4)
