"""Decode a video in a test, with settings that suit small drawn ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthetic import read_numbers

from slowfast_finetune.decoding.orientation import Frame
from slowfast_finetune.decoding.sampled_frames import sampled_frames
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.decoding.video_facts import DecodeReport


def decode(
    path: Path,
    *,
    sample_fps: float = 15,
    short_side: int | None = 48,
    max_seconds: float = 60,
    max_megapixels: float = 36,
) -> tuple[list[Frame], DecodeReport]:
    """The sampled frames of a video, and what was found on the way."""
    settings = DecodeSettings(
        sample_fps=sample_fps,
        short_side=short_side,
        max_seconds=max_seconds,
        max_megapixels=max_megapixels,
    )
    report = DecodeReport()
    return list(sampled_frames(path, settings=settings, report=report)), report


def numbers(path: Path, **settings: Any) -> list[int]:
    """The numbers that the sampled frames carry."""
    frames, _ = decode(path, **settings)
    return read_numbers(frames)
