"""Describe what a run is made from: params, seed, versions, data, commit and first weights."""

import hashlib
import math
import platform
import subprocess
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from slowfast_finetune import __version__
from slowfast_finetune.base.manifest_table import case_noun
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.model.checkpoint import Checkpoint, Preprocessing, video_numbers
from slowfast_finetune.model.weights import videos_seen

LIBRARIES = ("torch", "torchvision", "pytorchvideo", "lightning-fabric", "av", "numpy")


def description_of(
    rows: Sequence[ClipRow],
    *,
    params: Params,
    class_names: list[str],
    weights: str,
    runs_on: str,
    project: Path,
    note: Callable[[str], None],
) -> Checkpoint:
    """Describe a run as a checkpoint without weights; warn of test videos that trained the first.

    Args:
        weights: one sentence on where the first weights came from.
        runs_on: device, precision and number of devices, as text.
        note: is told the warning.
    """
    trained = [row for row in rows if row.split != "test"]
    tested = [row for row in rows if row.split == "test"]
    seen, noun = videos_seen(params.model), case_noun(rows)
    tested_seen = None if seen is None else int(torch.isin(numbers_of(tested), seen).sum())
    if tested_seen is None:
        note(
            f"warning: if {params.model.weights} was trained on some of the test {noun}s, "
            "which its file does not say, their accuracy will be too high"
        )
    elif tested_seen:
        note(
            f"warning: {tested_seen} of the {len(tested)} test {noun}s trained "
            f"{params.model.weights} or chose its epoch; their accuracy will be too high"
        )
    return Checkpoint(
        model_state={},
        class_names=class_names,
        preprocessing=Preprocessing.from_params(params.clip, crop_size=params.train.crop_size),
        params=params.model_dump(mode="json"),
        epoch=0,
        val_loss=math.inf,
        provenance={
            "seed": params.train.seed,
            "initial_weights": weights,
            "test_videos_seen": tested_seen,
            "runs_on": runs_on,
            "data_digest": data_digest(trained),
            "git_commit": git_commit(project),
            "versions": {
                "slowfast-finetune": __version__,
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in LIBRARIES},
            },
        },
        seen=None if seen is None else torch.cat([numbers_of(trained), seen]).unique(),
    )


def numbers_of(rows: Sequence[ClipRow]) -> Tensor:
    """The videos of rows as ``Checkpoint.seen`` has them, int64 (N,)."""
    return video_numbers(row.content_hash for row in rows)


def data_digest(rows: Sequence[ClipRow]) -> str:
    """BLAKE2b over content, label and split of every clip and the settings it was decoded with."""
    digest = hashlib.blake2b(digest_size=16)
    for row in sorted(rows, key=lambda row: (row.content_hash, row.case)):
        part = "" if row.start_seconds is None else f" {row.start_seconds} {row.end_seconds}"
        digest.update(f"{row.content_hash} {row.label} {row.split} {row.settings}{part}\n".encode())
    return digest.hexdigest()


def git_commit(project: Path) -> str | None:
    """The commit that is checked out, with ``+changes`` where files differ from it; or None."""
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if _git(project, "status", "--porcelain", "-uno") else "")


def _git(project: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
