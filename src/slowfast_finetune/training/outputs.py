"""Outputs of a run: where they go, and a summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slowfast_finetune.base.files import write_text
from slowfast_finetune.model.checkpoint import Checkpoint
from slowfast_finetune.training.history import EpochRow


@dataclass(frozen=True)
class TrainingOutputs:
    """Where the results go; ``events`` only if TensorBoard is wanted."""

    best_checkpoint: Path
    best_model: Path
    history: Path
    summary: Path
    log: Path
    events: Path


def write_summary(
    path: Path, history: Sequence[EpochRow], best: Checkpoint, *, num_trained: int
) -> str:
    """Write metrics/train.json; gives the same in a sentence.

    Args:
        num_trained: numbers that were trained in any epoch.
    """
    row = history[best.epoch - 1]
    seconds = sum(row.epoch_seconds for row in history)
    training = sum(row.train_seconds for row in history)
    waiting = sum(row.train_seconds * row.data_wait_fraction for row in history)
    clips = sum(row.train_seconds * row.clips_per_second for row in history)
    summary = {
        "best_epoch": best.epoch,
        "best_val_loss": round(row.val_loss, 4),
        "best_val_accuracy": round(row.val_accuracy, 4),
        "train_minutes": round(seconds / 60, 2),
        # In a list: `dvc metrics show` prints a column for each value that is in none.
        "run": [
            {
                "epochs": len(history),
                "parameters_trained": num_trained,
                "clips_per_second": round(clips / training, 2),
                "data_wait_fraction": round(waiting / training, 4),
                "peak_memory_mb": round(history[-1].peak_memory_mb),
                **best.provenance,
                "params": best.params,
            }
        ],
    }
    write_text(path, json.dumps(summary, indent=2) + "\n")
    return (
        f"best epoch {best.epoch} of {len(history)}: validation loss {row.val_loss:.3f}; "
        f"{seconds / 60:.1f} minutes, {clips / training:.1f} clips/s, "
        f"{waiting / training:.1%} of the time waiting for data, "
        f"{num_trained:,} parameters trained; "
        f"temperature {best.temperature:.2f}, threshold {best.threshold:.2f}"
    )
