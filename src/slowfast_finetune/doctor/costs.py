"""Compute the size of the clip store and estimate the duration of an epoch. Pure."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.params import ClipParams, Params
from slowfast_finetune.clips.parts import needed_range, part_range, ranges_to_store
from slowfast_finetune.clips.stored_frames import HEADER_BYTES
from slowfast_finetune.decoding.sampling import FrameRange
from slowfast_finetune.inspection.video_summary import VideoSummary

# Measured speed of training (benchmarks/README.md, step; 2 cores of an AMD EPYC with AVX512, bf16):
# frames × px × px per clip, seconds per clip and step, number of cores.
MEASURED = {
    "slowfast_shallow": (16 * 64 * 64, 0.0232, 1),
    "slowfast_r50": (32 * 224 * 224, 1.05, 2),
}


def cache_bytes(videos: Sequence[VideoSummary], clip: ClipParams) -> int:
    """Compute the size of these videos in the clip store, where copies share an entry [bytes].

    Padding repeats frames, which take no further room as JPEG. What is stored around a part that
    reaches the end of its video is counted in full.
    """
    padded = clip.num_frames if clip.encoding == "raw" else 0
    sizes: list[float] = []
    for cases in grouped(videos, key=lambda video: video.content_hash).values():
        parts = [video for video in cases if video.start_seconds is not None]
        if len(parts) < len(cases):
            whole = next(video for video in cases if video.start_seconds is None)
            sizes.append(max(whole.num_sampled, padded) * whole.frame_bytes)
        needed = []
        for part in parts:
            first = part_range(part, clip).first
            frames = FrameRange(first, first + part.num_sampled)
            needed.append(needed_range(frames, clip, is_open=part.end_seconds is None))
        sizes += [
            (held.end - held.first) * parts[0].frame_bytes for held in ranges_to_store(needed, clip)
        ]
    return sum(HEADER_BYTES + round(size) for size in sizes)


def estimate_epoch(
    num_clips: int, params: Params, *, project: Path, num_cores: int, has_gpu: bool
) -> tuple[float | None, str]:
    """Estimate the training time of an epoch from the last run, or else by a rule of thumb.

    Args:
        num_clips: number of training videos; each gives one clip per epoch.
        project: folder with metrics/train.json of the last run.

    Returns:
        Time [s], None if unknown, and what the estimate is based on.
    """
    last = _last_rate(project / "metrics" / "train.json", params)
    if last is not None:
        return num_clips / last, f"the last run trained {last:.3g} clips/s"
    if has_gpu:
        return None, "no earlier run on this GPU to estimate from"
    if params.model.name not in MEASURED:
        return None, f"no earlier run and no measurement of {params.model.name}"
    points, seconds, cores = MEASURED[params.model.name]
    wanted = params.clip.num_frames * params.train.crop_size**2
    each = seconds * wanted / points * cores / max(1, num_cores)
    basis = f"rule of thumb for {params.model.name} on {num_cores} CPU cores"
    return num_clips * each, f"{basis}; may be off by a factor of three"


def _last_rate(summary: Path, params: Params) -> float | None:
    """Read the last run's clips per second, if its model and clip size were the same."""
    try:
        run: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))["run"][-1]
        rate = float(run["clips_per_second"])
        then = run["params"]
        same = (
            then["model"]["name"] == params.model.name
            and then["clip"]["num_frames"] == params.clip.num_frames
            and then["train"]["crop_size"] == params.train.crop_size
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return rate if same and rate > 0 else None
