"""The files of a run: written by the leading process, one run at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.params import Params
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    Preprocessing,
    load_checkpoint,
    params_as_plain_values,
    save_checkpoint,
)
from slowfast_finetune.model.device import process_rank
from slowfast_finetune.model.exported import export_program
from slowfast_finetune.model.slowfast import ClipClassifier
from slowfast_finetune.training.engine import Learner, Sofar, best_epoch
from slowfast_finetune.training.history import EpochRow, Recorder
from slowfast_finetune.training.resume import (
    Clock,
    UnfinishedRun,
    fingerprint_of,
    put_back,
    state_of,
)
from slowfast_finetune.training.tally import merge

# Processes agree every so many steps on whether to save: asking takes a message to each.
STEPS_BETWEEN_TALKS = 10


@dataclass(frozen=True)
class TrainingOutputs:
    """Where the results go; ``events`` only if TensorBoard is wanted."""

    best_checkpoint: Path
    best_model: Path
    history: Path
    summary: Path
    log: Path
    events: Path


@contextmanager
def open_files(outputs: TrainingOutputs, *, params: Params) -> Iterator[RunFiles]:
    """The files of a run, and the lock on them; a process that does not lead writes none.

    Raises:
        TrainingError: another process trains into the same folder.
    """
    if process_rank() > 0:
        yield RunFiles(outputs, params=params, recorder=None)
        return
    with _lock(outputs.best_checkpoint):
        events = outputs.events if params.runtime.tensorboard else None
        recorder = Recorder(log=outputs.log, history=outputs.history, events=events)
        try:
            yield RunFiles(outputs, params=params, recorder=recorder)
        except Exception as error:
            recorder.log_only(f"stopped: {type(error).__name__}: {error}")
            raise
        finally:
            recorder.close()


@contextmanager
def _lock(best_checkpoint: Path) -> Iterator[None]:
    """Let one process train here at a time: a killed `dvc repro` leaves its child alive."""
    from filelock import FileLock, Timeout

    path = best_checkpoint.parent / ".training.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = path.with_suffix(".pid")
    try:
        with FileLock(path, blocking=False):
            owner.write_text(str(os.getpid()))
            yield
    except Timeout as error:
        process = owner.read_text() if owner.exists() else "?"
        raise TrainingError(
            f"process {process} is training into {best_checkpoint.parent}, perhaps left over from "
            f"a killed `dvc repro`; wait for it, or stop it: kill {process}"
        ) from error


class RunFiles:
    """What a run writes: the best checkpoint, the history, the state to go on from, the summary.

    Every process has one; without a ``recorder`` it writes nothing.
    """

    def __init__(
        self, outputs: TrainingOutputs, *, params: Params, recorder: Recorder | None
    ) -> None:
        self._outputs = outputs
        self._params = params
        self._recorder = recorder
        self._clock = Clock(params.runtime.save_minutes, now=time.monotonic)
        self._history: list[EpochRow] = []
        self._unfinished: UnfinishedRun
        self._class_names: list[str]
        self._provenance: dict[str, Any]
        self._num_learning = 0

    def note(self, text: str) -> None:
        """Tell the person, and the log."""
        if self._recorder is not None:
            self._recorder.note(text)

    def sign(self, class_names: list[str], made_from: dict[str, Any]) -> None:
        """Say what the checkpoints will carry."""
        self._class_names = class_names
        self._provenance = made_from

    def go_on(self, learner: Learner, *, size: int) -> tuple[list[EpochRow], Sofar | None]:
        """Bring the learner to where an unfinished run of this configuration stopped."""
        fabric = learner.fabric
        self._num_learning = _count_learning(learner)
        settings = {
            "params": {
                name: self._params.model_dump(mode="json")[name]
                for name in ("clip", "model", "train", "augment")
            },
            "made_from": {
                key: value for key, value in self._provenance.items() if key != "git_commit"
            },
            "classes": self._class_names,
            "batch_size_per_device": size,
            "compiled": learner.compiled is not learner.classifier,
        }
        self._unfinished = UnfinishedRun(
            self._outputs.best_checkpoint.parent,
            fingerprint=fingerprint_of(settings, learner.classifier.state_dict().values()),
        )
        state = self._unfinished.load() if fabric.is_global_zero else None
        if fabric.world_size > 1:
            state = fabric.broadcast(state)
        if not isinstance(state, dict):
            if state:
                self.note(f"{state}; starting anew")
            return [], None
        rows, sofar = put_back(learner, state)
        self._history = rows
        if self._recorder is not None:
            self._tell_again(rows, sofar, best=state["best_epoch"])
        return rows, sofar

    def _tell_again(self, rows: Sequence[EpochRow], sofar: Sofar | None, *, best: int) -> None:
        assert self._recorder is not None
        steps = f" and {sofar.step} steps of the next" if sofar else ""
        self.note(f"going on with an unfinished run: {len(rows)} epochs{steps} are done")
        if best:
            self._unfinished.give_back_best(self._outputs.best_checkpoint, epoch=best)
        for row in rows:
            self._recorder.epoch(row, is_best=row.epoch == best)

    def after_step(self, learner: Learner, sofar: Sofar) -> None:
        """Save within an epoch, every ``runtime.save_minutes``."""
        fabric = learner.fabric
        if fabric.world_size > 1:
            if sofar.step % STEPS_BETWEEN_TALKS:
                return
            is_time = fabric.broadcast(self._clock.is_time() if fabric.is_global_zero else None)
        else:
            is_time = self._clock.is_time()
        if is_time:
            # Every process takes part in merging.
            self._save(learner, dataclasses.replace(sofar, tally=merge(sofar.tally, fabric)))

    def after_epoch(self, learner: Learner, row: EpochRow, *, is_best: bool) -> None:
        """Write the best checkpoint, the history, and the state to go on from."""
        self._history.append(row)
        if self._recorder is None:
            return
        if is_best:
            save_checkpoint(self._outputs.best_checkpoint, self._checkpoint(learner, row))
        self._recorder.epoch(row, is_best=is_best)
        self._save(learner, None)

    def _save(self, learner: Learner, sofar: Sofar | None) -> None:
        if self._recorder is None:
            return
        best = best_epoch(self._history)
        state = state_of(learner, self._history, sofar, best_epoch=best)
        try:
            if best:
                self._unfinished.keep_best(self._outputs.best_checkpoint, epoch=best)
            self._unfinished.save(state)
        except OSError as error:
            # Training goes on: the result does not need it. The state before is as it was.
            self.note(
                f"warning: the state to go on from cannot be saved ({error.strerror or error}); "
                "if this run is killed, it will go on from an earlier one or start anew"
            )

    def _checkpoint(self, learner: Learner, row: EpochRow) -> Checkpoint:
        judged = learner.judged
        assert isinstance(judged, ClipClassifier)
        return Checkpoint(
            # Contiguous copies on the CPU: loadable anywhere.
            model_state={
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in judged.network.state_dict().items()
            },
            class_names=self._class_names,
            preprocessing=Preprocessing.from_params(
                self._params.clip, crop_size=self._params.train.crop_size
            ),
            params=params_as_plain_values(self._params),
            epoch=row.epoch,
            val_loss=row.val_loss,
            provenance=self._provenance,
        )

    def finish(self, calibrated: Callable[[Checkpoint], Checkpoint]) -> None:
        """Calibrate and export the best epoch, write the summary, forget the unfinished state."""
        best = calibrated(load_checkpoint(self._outputs.best_checkpoint))
        save_checkpoint(self._outputs.best_checkpoint, best)
        export_program(best, self._outputs.best_model)
        row = self._history[best.epoch - 1]
        seconds = sum(row.epoch_seconds for row in self._history)
        training = sum(row.train_seconds for row in self._history)
        waiting = sum(row.train_seconds * row.data_wait_fraction for row in self._history)
        clips = sum(row.train_seconds * row.clips_per_second for row in self._history)
        summary = {
            "best_epoch": best.epoch,
            "best_val_loss": round(row.val_loss, 4),
            "best_val_accuracy": round(row.val_accuracy, 4),
            "train_minutes": round(seconds / 60, 2),
            # In a list: `dvc metrics show` prints a column for each value that is in none.
            "run": [
                {
                    "epochs": len(self._history),
                    "parameters_trained": self._num_learning,
                    "clips_per_second": round(clips / training, 2),
                    "data_wait_fraction": round(waiting / training, 4),
                    "peak_memory_mb": round(self._history[-1].peak_memory_mb),
                    **self._provenance,
                    "params": best.params,
                }
            ],
        }
        write_text(self._outputs.summary, json.dumps(summary, indent=2) + "\n")
        self._unfinished.clear()
        self.note(
            f"best epoch {best.epoch} of {len(self._history)}: validation loss {row.val_loss:.3f}; "
            f"{seconds / 60:.1f} minutes, {clips / training:.1f} clips/s, "
            f"{waiting / training:.1%} of the time waiting for data, "
            f"{self._num_learning:,} parameters trained; "
            f"temperature {best.temperature:.2f}, threshold {best.threshold:.2f}; "
            f"wrote {self._outputs.best_checkpoint}, {self._outputs.best_model}"
        )


def _count_learning(learner: Learner) -> int:
    """Numbers that are trained in any epoch."""
    head_only = learner.recipe.frozen_epochs == learner.recipe.epochs
    return sum(
        parameter.numel()
        for group in learner.optimizer.param_groups
        if group["part"] == "head" or not head_only
        for parameter in group["params"]
    )
