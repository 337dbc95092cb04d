"""A training run that can be killed: what it writes after each step and epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from slowfast_finetune.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from slowfast_finetune.model.exported import export_program
from slowfast_finetune.training.epoch_progress import TrainingProgress
from slowfast_finetune.training.history import EpochRow, Recorder
from slowfast_finetune.training.learner import Learner
from slowfast_finetune.training.outputs import RunDescription, TrainingOutputs, write_summary
from slowfast_finetune.training.resume import UnfinishedRun

# Steps after which processes agree on whether to save: each check costs a broadcast.
STEPS_BETWEEN_CHECKS = 10


@dataclass
class TrainingRun:
    """Keeps the best epoch, records every one, and saves the state that a killed run resumes from.

    With several devices every process has one and calls all of it; the first one writes.
    """

    learner: Learner
    description: RunDescription
    outputs: TrainingOutputs
    recorder: Recorder
    unfinished: UnfinishedRun
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    saved_at: float = field(default_factory=time.monotonic)  # [s]

    def resume(self) -> None:
        """Bring learner and progress to where an unfinished run of this configuration stopped."""
        fabric = self.learner.fabric
        state = self.unfinished.load() if fabric.is_global_zero else None
        if fabric.world_size > 1:
            state = fabric.broadcast(state)
        if not isinstance(state, dict):
            if state:
                self.recorder.note(f"{state}; starting anew")
            return
        self.learner.load_state_dict(state["learner"])
        self.progress.load_state_dict(state["progress"], fabric)
        rows, step = self.progress.history, self.progress.epoch.step
        steps = f" and {step} steps of the next" if step else ""
        self.recorder.note(f"resuming an unfinished run: {len(rows)} epochs{steps} are done")
        best = self.progress.best_epoch
        if fabric.is_global_zero and best:
            self.unfinished.give_back_best(self._best_checkpoint, epoch=best)
        for row in rows:
            self.recorder.epoch(row, is_best=row.epoch == best)

    def after_step(self) -> None:
        """Save within an epoch, every ``runtime.save_minutes``."""
        fabric = self.learner.fabric
        pause = 60 * self.description.params.runtime.save_minutes
        is_time = time.monotonic() - self.saved_at >= pause
        if fabric.world_size > 1:
            if self.progress.epoch.step % STEPS_BETWEEN_CHECKS:
                return
            is_time = fabric.broadcast(is_time)
        if is_time:
            self._save()

    def after_epoch(self, row: EpochRow, is_best: bool) -> None:
        """Write the best checkpoint, the history, and the state to resume from."""
        if is_best and self.learner.fabric.is_global_zero:
            checkpoint = self.description.checkpoint(self.learner.evaluation_model, row)
            save_checkpoint(self._best_checkpoint, checkpoint)
        self.recorder.epoch(row, is_best=is_best)
        self._save()

    def finish(self, calibrated: Callable[[Checkpoint], Checkpoint]) -> None:
        """Calibrate and export the best epoch, write the summary, delete the unfinished state."""
        best = calibrated(load_checkpoint(self._best_checkpoint))
        save_checkpoint(self._best_checkpoint, best)
        export_program(best, self.outputs.best_model)
        sentence = write_summary(
            self.outputs.summary,
            self.progress.history,
            best,
            num_trained=self.learner.num_trained,
        )
        self.unfinished.clear()
        self.recorder.note(f"{sentence}; wrote {self._best_checkpoint}, {self.outputs.best_model}")

    def _save(self) -> None:
        fabric, best = self.learner.fabric, self.progress.best_epoch
        self.saved_at = time.monotonic()
        progress = self.progress.state_dict(fabric)  # every process takes part
        if not fabric.is_global_zero:
            return
        state = {"learner": self.learner.state_dict(), "progress": progress, "best_epoch": best}
        try:
            if best:
                self.unfinished.keep_best(self._best_checkpoint, epoch=best)
            self.unfinished.save(state)
        except OSError as error:
            # Training continues: the result does not need the state, and the earlier one is intact.
            self.recorder.note(
                f"warning: the state to go on from cannot be saved ({error.strerror or error}); "
                "if this run is killed, it will resume from an earlier one or restart from epoch 1"
            )

    @property
    def _best_checkpoint(self) -> Path:
        return self.outputs.best_checkpoint
