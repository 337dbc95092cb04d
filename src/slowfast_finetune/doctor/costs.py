"""Pure: how large the clip store becomes, and a guess of how long an epoch takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast_finetune.base.params import ClipParams, Params
from slowfast_finetune.clips.stored_frames import HEADER_BYTES
from slowfast_finetune.inspection.looks import Look

# Training clips a second of one core, measured (benchmarks/README.md, step; 2 cores of an AMD EPYC
# with AVX512 in bf16): frames × px × px of a clip, seconds a clip and step, cores.
MEASURED = {
    "slowfast_shallow": (16 * 64 * 64, 0.0232, 1),
    "slowfast_r50": (32 * 224 * 224, 1.05, 2),
}


@dataclass(frozen=True)
class EpochGuess:
    """A guess of an epoch's training time; ``seconds`` is None where there is nothing to go by."""

    seconds: float | None
    basis: str


def cache_bytes(looks: Sequence[Look], clip: ClipParams) -> int:
    """What the entries of these videos take in the clip store; copies share one [bytes]."""
    return sum(
        HEADER_BYTES + round(max(look.num_sampled, clip.num_frames) * look.frame_bytes)
        for look in {look.content_hash: look for look in looks}.values()
    )


def guess_epoch(
    num_clips: int, params: Params, *, project: Path, num_cores: int, has_gpu: bool
) -> EpochGuess:
    """How long the training pass of an epoch takes, by the last run or by a rule of thumb.

    Args:
        num_clips: training videos; each gives one clip an epoch.
        project: where metrics/train.json of the last run lies.
    """
    last = _last_rate(project / "metrics" / "train.json", params)
    if last is not None:
        return EpochGuess(num_clips / last, f"the last run's {last:.3g} clips/s")
    if has_gpu:
        return EpochGuess(None, "no run on this GPU has been measured; the first epoch tells")
    if params.model.name not in MEASURED:
        return EpochGuess(None, f"{params.model.name} was never measured; the first epoch tells")
    points, seconds, cores = MEASURED[params.model.name]
    wanted = params.clip.num_frames * params.train.crop_size**2
    each = seconds * wanted / points * cores / max(1, num_cores)
    return EpochGuess(
        num_clips * each,
        f"rule of thumb for {params.model.name} on {num_cores} CPU cores; may be off by a factor "
        "of three",
    )


def _last_rate(summary: Path, params: Params) -> float | None:
    """Clips a second of the last run, if it trained the same model on clips of the same size."""
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


def readable_seconds(seconds: float) -> str:
    """90 → "1.5 min"."""
    for limit, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            return (
                f"{seconds / size:.2g} {unit}"
                if seconds / size < 10
                else (f"{seconds / size:.0f} {unit}")
            )
    return f"{seconds / 86_400:.0f} days"
