"""Provenance of a result: seed, versions, data, commit and first weights."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from slowfast_finetune import __version__
from slowfast_finetune.clips.clip_tables import ClipRow

LIBRARIES = ("torch", "torchvision", "pytorchvideo", "lightning-fabric", "av", "numpy")


def provenance(
    rows: Sequence[ClipRow],
    *,
    seed: int,
    weights: str,
    tested_seen: int | None,
    runs_on: str,
    project: Path,
) -> dict[str, Any]:
    """Plain values, for the checkpoint and for metrics/train.json.

    Args:
        weights: one sentence on where the first weights came from.
        tested_seen: how many rows of the test split trained these weights; None: not known.
        runs_on: device, precision and number of devices, as text.
    """
    return {
        "seed": seed,
        "initial_weights": weights,
        "test_videos_seen": tested_seen,
        "runs_on": runs_on,
        "data_digest": data_digest(rows),
        "git_commit": git_commit(project),
        "versions": {
            "slowfast-finetune": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in LIBRARIES},
        },
    }


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
