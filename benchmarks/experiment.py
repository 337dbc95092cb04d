"""One experiment: videos and parameters through all four stages, to the scores on test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.stage_inputs import quiet
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation.evaluate import evaluate_checkpoint
from slowfast_finetune.indexing.manifest import build_manifest
from slowfast_finetune.training.run import TrainingOutputs
from slowfast_finetune.training.train import train_model


def prepare(params: Params, store: Path) -> list[ClipRow]:
    """Index and cache the videos of ``params.data``; those that are refused are left out."""
    with quiet():
        manifest = build_manifest(params.data, project=store)
        rows, _ = cache_videos(
            manifest.rows,
            params=params,
            store=ClipStore(store, params.clip),
            project=store,
        )
    return rows


def train_and_test(
    rows: Sequence[ClipRow], params: Params, *, store: Path, folder: Path
) -> dict[str, Any]:
    """Train into a folder and measure on the test split: ``metrics.json`` and ``train.json``."""
    outputs = TrainingOutputs(
        best_checkpoint=folder / "best.pt",
        best_model=folder / "best_model.pt2",
        history=folder / "history.csv",
        summary=folder / "train.json",
        log=folder / "train.log",
        events=folder / "events",
    )
    clip_store = ClipStore(store, params.clip)
    with quiet():
        train_model(rows, params=params, store=clip_store, project=store, outputs=outputs)
        evaluate_checkpoint(
            rows,
            checkpoint_path=outputs.best_checkpoint,
            params=params,
            store=clip_store,
            project=store,
            results=folder,
        )
    scores: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    scores.update(json.loads((folder / "train.json").read_text()))
    return scores
