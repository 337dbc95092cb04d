"""A training run that can be killed: what it writes after each step and epoch."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from slowfast_finetune.base.files import write_bytes, write_text
from slowfast_finetune.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from slowfast_finetune.model.exported_program import export_program
from slowfast_finetune.training.epoch_progress import TrainingProgress
from slowfast_finetune.training.history import EpochRow, Recorder
from slowfast_finetune.training.learner import Learner
from slowfast_finetune.training.resume import UnfinishedRun

# Steps after which processes agree on whether to save: each check costs a broadcast.
STEPS_BETWEEN_CHECKS = 10


@dataclass(frozen=True)
class TrainingOutputs:
    """Where the results go; ``events`` only if TensorBoard is wanted."""

    best_checkpoint: Path
    best_model: Path
    history: Path
    summary: Path
    log: Path
    events: Path


@dataclass
class TrainingRun:
    """Keeps the best epoch, records every one, and saves the state that a killed run resumes from.

    With several devices every process has one and calls all of it; the first one writes.
    """

    learner: Learner
    description: Checkpoint  # what every checkpoint of the run holds beside an epoch's weights
    outputs: TrainingOutputs
    recorder: Recorder
    unfinished: UnfinishedRun
    save_minutes: float  # minutes between two saves within an epoch
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    saved_at: float = field(default_factory=time.monotonic)  # [s]

    def resume(self) -> None:
        """Bring learner and progress to where an unfinished run of this configuration stopped."""
        fabric = self.learner.fabric
        state = fabric.broadcast(self.unfinished.load() if fabric.is_global_zero else None)
        if not isinstance(state, dict):
            if state:
                self.recorder.note(f"{state}; starting anew")
            return
        self.learner.load_state_dict(state["learner"])
        self.progress.load_state_dict(state["progress"], fabric)
        rows, step = self.progress.history, self.progress.epoch.step
        steps = f" and {step} steps of the next" if step else ""
        self.recorder.note(f"resuming an unfinished run: {len(rows)} epochs{steps} are done")
        if fabric.is_global_zero and rows:
            write_bytes(self.outputs.best_checkpoint, state["best"].numpy().data)
        for row in rows:
            self.recorder.epoch(row, is_best=row.epoch == self.progress.best_epoch)

    def after_step(self) -> None:
        """Save within an epoch, every ``runtime.save_minutes``."""
        fabric = self.learner.fabric
        is_time = time.monotonic() - self.saved_at >= 60 * self.save_minutes
        if fabric.world_size > 1:
            if self.progress.epoch.step % STEPS_BETWEEN_CHECKS:
                return
            is_time = fabric.broadcast(is_time)
        if is_time:
            self._save()

    def after_epoch(self, row: EpochRow, is_best: bool) -> None:
        """Write the best checkpoint, the history, and the state to resume from."""
        if is_best and self.learner.fabric.is_global_zero:
            best = dataclasses.replace(
                self.description,
                model_state=self.learner.network_state(),
                epoch=row.epoch,
                val_loss=row.val_loss,
            )
            save_checkpoint(self.outputs.best_checkpoint, best)
        self.recorder.epoch(row, is_best=is_best)
        self._save()

    def finish(self, calibrated: Callable[[Checkpoint], Checkpoint]) -> None:
        """Calibrate and export the best epoch, write the summary, delete the unfinished state."""
        outputs = self.outputs
        best = calibrated(load_checkpoint(outputs.best_checkpoint))
        save_checkpoint(outputs.best_checkpoint, best)
        export_program(best, outputs.best_model)
        sentence = self._write_summary(best)
        self.unfinished.clear()
        self.recorder.note(f"{sentence}; wrote {outputs.best_checkpoint}, {outputs.best_model}")

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        fabric = self.learner.fabric
        progress = self.progress.state_dict(fabric)  # every process takes part
        if not fabric.is_global_zero:
            return
        best = None
        try:
            if self.progress.history:
                # DVC deletes the outputs before it runs the stage again, this one among them.
                content = bytearray(self.outputs.best_checkpoint.read_bytes())
                best = torch.frombuffer(content, dtype=torch.uint8)
            learner = self.learner.state_dict()
            self.unfinished.save({"learner": learner, "progress": progress, "best": best})
        except OSError as error:
            # Training continues: the result does not need the state, and the earlier one is intact.
            self.recorder.note(
                f"warning: the state to go on from cannot be saved ({error.strerror or error}); "
                "if this run is killed, it will resume from an earlier one or restart from epoch 1"
            )

    def _write_summary(self, best: Checkpoint) -> str:
        """Write metrics/train.json; gives the same in a sentence."""
        history, num_trained = self.progress.history, self.learner.num_trained
        seconds = sum(row.epoch_seconds for row in history)
        training = sum(row.train_seconds for row in history)
        waiting = sum(row.train_seconds * row.data_wait_fraction for row in history)
        clips = sum(row.train_seconds * row.clips_per_second for row in history)
        facts = {
            "method": "finetune",
            "epochs": len(history),
            "parameters_trained": num_trained,
            "clips_per_second": round(clips / training, 2),
            "data_wait_fraction": round(waiting / training, 4),
        }
        write_summary(self.outputs.summary, history, best, seconds=seconds, facts=facts)
        return (
            f"best epoch {best.epoch} of {len(history)}: validation loss {best.val_loss:.3f}; "
            f"{seconds / 60:.1f} minutes, {clips / training:.1f} clips/s, "
            f"{waiting / training:.1%} of the time waiting for data, "
            f"{num_trained:,} parameters trained; "
            f"temperature {best.temperature:.2f}, threshold {best.threshold:.2f}"
        )


def write_summary(
    path: Path,
    history: Sequence[EpochRow],
    best: Checkpoint,
    *,
    seconds: float,
    facts: Mapping[str, Any],
) -> None:
    """Write metrics/train.json.

    Args:
        seconds: how long training took.
        facts: what else is to be said of the run, by method.
    """
    summary = {
        "best_epoch": best.epoch,
        "best_val_loss": round(best.val_loss, 4),
        "best_val_accuracy": round(history[best.epoch - 1].val_accuracy, 4),
        "train_minutes": round(seconds / 60, 2),
        # In a list: `dvc metrics show` prints a column for each value that is in none.
        "run": [
            {
                **facts,
                "peak_memory_mb": round(history[-1].peak_memory_mb),
                **best.provenance,
                "params": best.params,
            }
        ],
    }
    write_text(path, json.dumps(summary, indent=2) + "\n")
