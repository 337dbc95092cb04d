"""Summaries of drawn videos, in each of which a square does one of four actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from synthetic import make_facts, make_rows

from slowfast_finetune.inspection.findings import Finding
from slowfast_finetune.inspection.video_summary import VideoSummary, make_summary

Frames = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 96, 72


def room(seed: int) -> npt.NDArray[np.float64]:
    """The still background of a camera: random blocks, float64 (72, 96)."""
    blocks = np.random.default_rng(seed).uniform(60, 190, (18, 24))
    return np.kron(blocks, np.ones((4, 4))).astype(np.float64)


def acted(action: int, *, seed: int, background: npt.NDArray[np.float64] | None = None) -> Frames:
    """Five frames of a white square that does an action, uint8 (5, 72, 96, 3).

    0 goes right along the top, 1 goes down on the left, 2 goes right along the bottom, 3 goes down
    on the right; where exactly, and before what, follows from the seed.
    """
    rng = np.random.default_rng([seed, 1])
    still = room(seed) if background is None else background
    frames = np.repeat(still[None], 5, axis=0) + rng.normal(0, 2, (5, HEIGHT, WIDTH))
    for k, frame in enumerate(frames):
        x, y = [(4 + 15 * k, 2), (2, 2 + 12 * k), (4 + 15 * k, 50), (74, 2 + 12 * k)][action]
        dx, dy = rng.integers(0, 5, 2)
        frame[y + dy : y + dy + 18, x + dx : x + dx + 16] = 250
    return np.repeat(frames.clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)


def summary_of(frames: Frames, *, path: str, label: int = 0, **changes: Any) -> VideoSummary:
    """Summarise frames (5, H, W, 3); ``changes`` are fields of the summary."""
    (row,) = make_rows(
        1, video_path=path, label=label, content_hash="hash of " + path.replace("/", " ")
    )
    class_name = changes.pop("class_name", f"class {label}")
    row = row._replace(class_name=class_name)
    made = make_summary(
        row,
        list(frames),
        facts=make_facts(source_width=640, source_height=480, duration_seconds=4.0),
        num_sampled=60,
        frame_bytes=48 * 64 * 3,
    )
    return dataclasses.replace(made, **changes)


def refilmed(video: VideoSummary, **facts: Any) -> VideoSummary:
    """The same video with other facts."""
    return dataclasses.replace(video, facts=video.facts.model_copy(update=facts))


def actions(counts: Sequence[int], *, acts: Sequence[int] = (0, 1, 2, 3)) -> list[VideoSummary]:
    """Sound data: ``counts[label]`` videos, each before a background of its own, split in turn."""
    videos = []
    for label, count in enumerate(counts):
        for index in range(count):
            seed = 1000 * label + index
            videos.append(
                summary_of(
                    acted(acts[label], seed=seed),
                    path=f"class {label}/{index}.mp4",
                    label=label,
                    split=("train", "train", "train", "val", "test")[index % 5],
                )
            )
    return videos


def codes(findings: Iterable[Finding]) -> dict[str, str]:
    """Level by code."""
    return {finding.code: finding.level for finding in findings}


def the(findings: Iterable[Finding], code: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.code == code]
    return finding
