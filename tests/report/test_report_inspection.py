"""Data made to mislead, in pictures: what the inspection sees in the clip store, on the page."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from reported_run import NUM_FRAMES, Run, answers, write_run

from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.inspection.checks import check_videos
from slowfast_finetune.inspection.video_summary import summarise_entry
from slowfast_finetune.report.evidence import Evidence
from slowfast_finetune.report.report_page import compose
from slowfast_finetune.report.results import read_results

Frames = npt.NDArray[np.uint8]
CLASSES = ["fall", "walk"]


def filmed(scene: str, actor: str) -> Frames:
    """A background of 6×8 coloured patches, by the scene, before which a square moves its way."""
    patches = np.random.default_rng(zlib.crc32(scene.encode())).integers(30, 226, (6, 8, 3))
    frames = np.repeat(np.kron(patches, np.ones((8, 8, 1)))[None], NUM_FRAMES, axis=0)
    rng = np.random.default_rng(zlib.crc32(actor.encode()))
    top, left, down, right = *rng.integers(0, 24, 2), *rng.integers(-3, 4, 2)
    for index, frame in enumerate(frames):
        y, x = max(0, top + down * index), max(0, left + right * index)
        frame[y : y + 12, x : x + 9] = rng.integers(0, 256, 3)
    return frames.astype(np.uint8)


def report_of(folder: Path, draw: Callable[[ClipRow], Frames]) -> str:
    tests = [*answers("fall", {"fall": 9, "walk": 1}), *answers("walk", {"walk": 8, "fall": 2})]
    run: Run = write_run(folder, tests, class_names=CLASSES, num_train=15, draw=draw)
    videos = [summarise_entry(row, run.store)[0] for row in run.clips]
    return compose(
        read_results(run.files),
        store=run.store,
        evidence=Evidence(),
        findings=check_videos(videos, params=run.params),
    )


def titles(html: str) -> str:
    return " | ".join(re.findall(r"<h3>(.*?)</h3>", html))


@pytest.mark.slow
def test_a_camera_on_both_sides_of_a_random_split(tmp_path: Path) -> None:
    cameras = ["yard", "hall", "street"]
    html = report_of(
        tmp_path / "mixed",
        lambda row: filmed(cameras[zlib.crc32(row.video_path.encode()) % 3], row.video_path),
    )
    assert "scene" in titles(html)
    assert "the training video that each matches" in html
    assert "scenes seen in training" not in html, "every scene is: it would be the accuracy again"
    apart = report_of(tmp_path / "apart", lambda row: filmed(row.split + row.video_path, "x"))
    assert "the training video that each matches" not in apart


def test_one_video_under_two_names_on_both_sides(tmp_path: Path) -> None:
    copy, original = "videos/fall/test_0.mp4", "videos/fall/train_0.mp4"

    def draw(row: ClipRow) -> Frames:
        name = original if row.video_path == copy else row.video_path
        return filmed(name, name)

    html = report_of(tmp_path, draw)
    assert "in more than one split" in titles(html)
    assert f"<li>{copy}</li>" in html
    assert f"<li>{original}</li>" in html
