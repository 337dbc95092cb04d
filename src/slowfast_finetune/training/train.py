"""Stage 3 as one call: clips.csv and the clip store → best checkpoint, full model, history."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.manifest_table import case_noun
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import ViewPlan
from slowfast_finetune.model.checkpoint import Checkpoint, view_params
from slowfast_finetune.model.device import (
    choose_device,
    choose_precision,
    count_devices,
    make_fabric,
    process_rank,
)
from slowfast_finetune.model.weights import build_pretrained, locate_weights
from slowfast_finetune.scoring.calibration import calibrate
from slowfast_finetune.scoring.views import class_distances_from, view_stored
from slowfast_finetune.training.augmentation import check_mirroring
from slowfast_finetune.training.engine import fit
from slowfast_finetune.training.history import Recorder
from slowfast_finetune.training.learner import build_learner, training_criterion
from slowfast_finetune.training.probe import train_probe
from slowfast_finetune.training.provenance import description_of
from slowfast_finetune.training.resume import FOLDER, UnfinishedRun, fingerprint, run_lock
from slowfast_finetune.training.run import TrainingOutputs, TrainingRun
from slowfast_finetune.training.training_data import TrainingData
from slowfast_finetune.training.trial_step import try_a_step


def train_model(
    rows: Sequence[ClipRow],
    *,
    params: Params,
    store: ClipStore,
    project: Path,
    outputs: TrainingOutputs,
) -> None:
    """Fine-tune, and keep the epoch with the lowest validation loss; or fit a probe.

    With several devices every process runs this; the first one writes.

    Raises:
        DataError: a split is empty, or a clip cannot be restored.
        ParamsError: the parameters do not fit the machine or the classes.
        WeightsError: the pretrained weights cannot be used.
        TrainingError: the sanity check failed, the loss is not finite, a batch is too large, or
            another run trains here.
    """
    train_rows, val_rows = (_rows_of(rows, split) for split in ("train", "val"))
    class_names = class_names_of(rows)
    warning = check_mirroring(class_names, params.augment)
    device = choose_device(params.runtime)
    precision = choose_precision(params.runtime, device)
    devices, num_nodes = count_devices(params.runtime, device)
    leads = process_rank() == 0
    with (
        run_lock(outputs.best_checkpoint.parent) if leads else nullcontext(),
        Recorder(
            log=outputs.log,
            history=outputs.history,
            events=outputs.events if params.runtime.tensorboard else None,
            leads=leads,
        ) as recorder,
    ):
        if leads:
            restore_entries([*train_rows, *val_rows], params=params, store=store, project=project)
            if params.model.weights != "none":
                locate_weights(params.model)  # one process downloads, before the others start
        fabric = None
        runs_on = f"1 × {device_name(device)} in {precision}"
        # A probe in one process does without it: it takes seconds to import.
        if params.train.method == "finetune" or devices * num_nodes > 1:
            fabric = make_fabric(device, precision, devices=devices, num_nodes=num_nodes)
            fabric.launch()
            runs_on = f"{fabric.world_size} × {device_name(fabric.device)} in {precision}"
        noun = case_noun([*train_rows, *val_rows])
        recorder.note(
            f"{len(train_rows)} training and {len(val_rows)} validation {noun}s, "
            f"{len(class_names)} classes, on {runs_on.removeprefix('1 × ')}"
        )
        if warning:
            recorder.note(warning)
        torch.manual_seed(params.train.seed)
        network, weights = build_pretrained(params.model, class_names=class_names)
        recorder.note(f"model: {weights}")
        description = description_of(
            rows,
            params=params,
            class_names=class_names,
            weights=weights,
            runs_on=runs_on,
            project=project,
            note=recorder.note,
        )
        if fabric is None or params.train.method == "probe":
            train_probe(
                network,
                [*train_rows, *val_rows],
                description=description,
                params=params,
                clips=store.folder,
                device=device,
                fabric=fabric,
                outputs=outputs,
                recorder=recorder,
            )
        else:
            _fine_tune(
                network,
                TrainingData(train_rows, val_rows, params, store.folder, fabric),
                description=description,
                outputs=outputs,
                recorder=recorder,
            )


def _fine_tune(
    network: nn.Module,
    data: TrainingData,
    *,
    description: Checkpoint,
    outputs: TrainingOutputs,
    recorder: Recorder,
) -> None:
    """Train the network, or go on with an unfinished run of the same description.

    Args:
        description: the checkpoint of the run, without weights.
    """
    params = data.params
    learner = build_learner(
        network,
        recipe=params.train,
        augment=params.augment,
        criterion=training_criterion(data.rows, description.class_names, params.train),
        steps_per_epoch=data.steps_per_epoch,
        fabric=data.fabric,
    )
    size = try_a_step(learner, data, recorder.note)
    unfinished = UnfinishedRun(
        outputs.best_checkpoint.parent / FOLDER,
        fingerprint(learner, description, [*data.rows, *data.val_rows], batch_size_per_device=size),
    )
    minutes = params.runtime.save_minutes
    run = TrainingRun(learner, description, outputs, recorder, unfinished, minutes)
    run.resume()
    fit(
        learner,
        feed_of=lambda epoch: data.feed(epoch, size=size),
        val_loader=data.validation(size=size),
        progress=run.progress,
        after_step=run.after_step,
        after_epoch=run.after_epoch,
    )
    if data.fabric.is_global_zero:
        run.finish(lambda best: calibrated(best, data))


def calibrated(checkpoint: Checkpoint, data: TrainingData) -> Checkpoint:
    """The checkpoint with temperature, threshold and distances from the classes.

    Temperature, threshold and classes by one centre view of each video; the limit of the distances
    by the views that predict and evaluate show. The process that calls this computes all of them.
    """
    view = partial(
        view_stored, checkpoint=checkpoint, clips=data.folder, runtime=data.params.runtime
    )
    views = view([*data.rows, *data.val_rows])
    shown = view(data.val_rows, views=ViewPlan(**view_params(checkpoint)[1].model_dump()))
    train, val = slice(len(data.rows)), slice(len(data.rows), None)
    true = np.array([row.label for row in data.val_rows], dtype=np.int64)
    found = calibrate(views.logits[val], true)
    labels = np.array([row.label for row in data.rows], dtype=np.int64)
    distances = class_distances_from(views.features[train], labels, shown)
    return dataclasses.replace(
        checkpoint,
        temperature=found.temperature,
        threshold=found.threshold,
        class_distances=distances.as_plain(),
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
    """The device's name for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({count(torch.get_num_threads(), 'thread')})"


def _rows_of(rows: Sequence[ClipRow], split: str) -> list[ClipRow]:
    chosen = [row for row in rows if row.split == split]
    counts = Counter(row.split for row in rows)
    if len(chosen) < 2:
        raise DataError(
            f"data/clips.csv: {len(chosen)} usable videos in {split} (in all: {dict(counts)}); "
            "at least 2 are needed"
        )
    return chosen
