"""Stage 3 as one call: clips.csv and the clip store → best checkpoint, full model, history."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_reader import ClipLoader, ClipReader
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.tables import ClipRow
from slowfast_finetune.clips.windows import plan_training_epoch, plan_views
from slowfast_finetune.errors import DataError, TrainingError
from slowfast_finetune.files import write_text
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    Preprocessing,
    params_as_plain_values,
    save_checkpoint,
)
from slowfast_finetune.model.exported import export_program
from slowfast_finetune.model.slowfast import ClipClassifier, freeze_backbone, to_channels_last
from slowfast_finetune.model.weights import build_pretrained
from slowfast_finetune.params import Params
from slowfast_finetune.training.device import choose_device, choose_precision, make_fabric
from slowfast_finetune.training.engine import fit
from slowfast_finetune.training.history import EpochRow, Recorder
from slowfast_finetune.training.optimisation import build_optimizer, build_scheduler
from slowfast_finetune.training.sanity import check_gradients


@dataclass(frozen=True)
class TrainingOutputs:
    """Where the results go."""

    best_checkpoint: Path
    best_model: Path
    history: Path
    summary: Path
    log: Path


def train_model(
    rows: Sequence[ClipRow],
    *,
    params: Params,
    store: ClipStore,
    project: Path,
    outputs: TrainingOutputs,
) -> None:
    """Fine-tune on the training rows, keep the epoch with the lowest validation loss.

    Raises:
        DataError: a split is empty, or a clip cannot be restored.
        WeightsError: the pretrained weights cannot be used.
        TrainingError: the sanity check failed, the loss is not finite, or another run trains here.
    """
    started = time.perf_counter()
    train_rows, val_rows = (_rows_of(rows, split) for split in ("train", "val"))
    class_names = class_names_of(rows)
    with _lock(outputs.best_checkpoint), _recorder(outputs) as recorder:
        restore_entries([*train_rows, *val_rows], params=params, store=store, project=project)
        device = choose_device(params.runtime)
        precision = choose_precision(params.runtime, device)
        recorder.note(
            f"{len(train_rows)} training and {len(val_rows)} validation videos, "
            f"{len(class_names)} classes, on {device_name(device)} in {precision}"
        )
        fabric = make_fabric(device, precision)
        torch.manual_seed(params.train.seed)
        pretrained = build_pretrained(params.model, num_classes=len(class_names))
        recorder.note(f"model: {pretrained.description}")
        saver = _BestSaver(
            outputs.best_checkpoint, pretrained.network, class_names=class_names, params=params
        )
        history = _train(
            pretrained.network,
            train_rows,
            val_rows,
            params=params,
            folder=store.folder,
            fabric=fabric,
            recorder=recorder,
            on_best=saver.save,
        )
        export_program(saver.best, outputs.best_model)
        minutes = (time.perf_counter() - started) / 60
        _write_summary(outputs.summary, history, saver.best, minutes=minutes)
        recorder.note(
            f"best epoch {saver.best.epoch}: validation loss {saver.best.val_loss:.3f}; "
            f"{minutes:.1f} minutes in all; wrote {outputs.best_checkpoint}, {outputs.best_model}"
        )


def class_names_of(rows: Sequence[ClipRow]) -> list[str]:
    """The name of each label, from 0 up.

    Raises:
        DataError: labels do not count the classes from 0.
    """
    names = {row.label: row.class_name for row in rows}
    if sorted(names) != list(range(len(names))):
        raise DataError("data/clips.csv: labels do not run from 0; run the index stage again")
    return [names[label] for label in range(len(names))]


def device_name(device: torch.device) -> str:
    """The device in words a person knows it by."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.get_num_threads()} threads)"


def _rows_of(rows: Sequence[ClipRow], split: str) -> list[ClipRow]:
    chosen = [row for row in rows if row.split == split]
    counts = Counter(row.split for row in rows)
    if len(chosen) < 2:
        raise DataError(
            f"data/clips.csv: {len(chosen)} usable videos in {split} (in all: {dict(counts)}); "
            "at least 2 are needed"
        )
    return chosen


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


@contextmanager
def _recorder(outputs: TrainingOutputs) -> Iterator[Recorder]:
    recorder = Recorder(log=outputs.log, history=outputs.history)
    try:
        yield recorder
    except Exception as error:
        recorder.log_only(f"stopped: {type(error).__name__}: {error}")
        raise
    finally:
        recorder.close()


class _BestSaver:
    """Writes the checkpoint of every new best epoch and keeps it for the export."""

    def __init__(
        self, path: Path, network: nn.Module, *, class_names: list[str], params: Params
    ) -> None:
        self._path = path
        self._network = network
        self._class_names = class_names
        self._params = params
        self.best: Checkpoint

    def save(self, row: EpochRow) -> None:
        state = self._network.state_dict()
        self.best = Checkpoint(
            # Contiguous copies on the CPU: loadable anywhere, and training does not change them.
            model_state={
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in state.items()
            },
            class_names=self._class_names,
            preprocessing=Preprocessing.from_params(
                self._params.clip, crop_size=self._params.train.crop_size
            ),
            params=params_as_plain_values(self._params),
            epoch=row.epoch,
            val_loss=row.val_loss,
        )
        save_checkpoint(self._path, self.best)


def _train(
    network: nn.Module,
    train_rows: Sequence[ClipRow],
    val_rows: Sequence[ClipRow],
    *,
    params: Params,
    folder: Path,
    fabric: Any,
    recorder: Recorder,
    on_best: Callable[[EpochRow], None],
) -> list[EpochRow]:
    recipe = params.train
    if params.model.freeze_backbone:
        freeze_backbone(network)
    to_channels_last(network)
    train_loader_of = _train_loaders(train_rows, params=params, folder=folder, fabric=fabric)
    val_loader = ClipLoader(
        _reader(val_rows, params=params, folder=folder, fabric=fabric),
        plan_views(
            val_rows,
            num_frames=params.clip.num_frames,
            crop_size=recipe.crop_size,
            batch_size=recipe.batch_size,
        ),
    )
    optimizer = build_optimizer(network.parameters(), recipe)
    first = train_loader_of(1)
    scheduler = build_scheduler(optimizer, recipe, steps_per_epoch=len(first))
    model, optimizer = fabric.setup(ClipClassifier(network), optimizer)
    batch = next(iter(first))
    report = check_gradients(
        model,
        batch.clips.to(fabric.device),
        batch.labels.to(fabric.device),
        nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing),
        fabric=fabric,
    )
    recorder.note(
        f"sanity check: loss {report.loss:.3f}; {report.num_parameters} parameter tensors have "
        f"finite, non-zero gradients, {report.num_frozen} are frozen"
    )

    def on_epoch(row: EpochRow, is_best: bool) -> None:
        if is_best:
            on_best(row)
        recorder.epoch(row, is_best=is_best, num_clips=len(train_rows))

    return fit(
        model,
        optimizer,
        scheduler,
        train_loader_of=train_loader_of,
        val_loader=val_loader,
        label_smoothing=recipe.label_smoothing,
        max_grad_norm=recipe.max_grad_norm,
        epochs=recipe.epochs,
        fabric=fabric,
        name_of_clip=lambda clip: train_rows[clip].video_path,
        on_epoch=on_epoch,
    )


def _reader(rows: Sequence[ClipRow], *, params: Params, folder: Path, fabric: Any) -> ClipReader:
    return ClipReader(
        rows,
        folder=folder,
        num_frames=params.clip.num_frames,
        crop_size=params.train.crop_size,
        pin_memory=fabric.device.type == "cuda",
    )


def _train_loaders(
    rows: Sequence[ClipRow], *, params: Params, folder: Path, fabric: Any
) -> Callable[[int], ClipLoader]:
    reader = _reader(rows, params=params, folder=folder, fabric=fabric)
    recipe = params.train

    def loader_of(epoch: int) -> ClipLoader:
        plan = plan_training_epoch(
            rows,
            num_frames=params.clip.num_frames,
            crop_size=recipe.crop_size,
            batch_size=recipe.batch_size,
            random_crop=recipe.random_crop,
            horizontal_flip=recipe.horizontal_flip,
            seed=recipe.seed,
            epoch=epoch,
        )
        return ClipLoader(reader, plan)

    return loader_of


def _write_summary(
    path: Path, history: Sequence[EpochRow], best: Checkpoint, *, minutes: float
) -> None:
    """The few numbers of a run that `dvc metrics show` prints beside the test's."""
    row = history[best.epoch - 1]
    values = {
        "best_epoch": best.epoch,
        "best_val_loss": round(row.val_loss, 4),
        "best_val_accuracy": round(row.val_accuracy, 4),
        "train_minutes": round(minutes, 2),
    }
    write_text(path, json.dumps(values, indent=2) + "\n")
