"""Stage 3 as one call: clips.csv and the clip store → best checkpoint, full model, history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.model.device import (
    choose_device,
    choose_precision,
    count_devices,
    make_fabric,
    process_rank,
)
from slowfast_finetune.model.weights import build_pretrained, locate_weights
from slowfast_finetune.training.augmentation import check_mirroring
from slowfast_finetune.training.calibrating import calibrated
from slowfast_finetune.training.engine import fit
from slowfast_finetune.training.provenance import provenance
from slowfast_finetune.training.run_files import RunFiles, TrainingOutputs, open_files
from slowfast_finetune.training.setup import (
    FEW_CLIPS,
    Clips,
    build_learner,
    check_learner,
    choose_batch_size,
    training_criterion,
)
from slowfast_finetune.training.tally import gather


def train_model(
    rows: Sequence[ClipRow],
    *,
    params: Params,
    store: ClipStore,
    project: Path,
    outputs: TrainingOutputs,
) -> None:
    """Fine-tune on the training rows, keep the epoch with the lowest validation loss.

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
    with open_files(outputs, params=params) as files:
        if process_rank() == 0:
            restore_entries([*train_rows, *val_rows], params=params, store=store, project=project)
            if params.model.weights != "none":
                locate_weights(params.model)  # one process downloads, before the others start
        fabric = make_fabric(device, precision, devices=devices, num_nodes=num_nodes)
        fabric.launch()
        where = device_name(fabric.device) + f" in {precision}"
        files.note(
            f"{len(train_rows)} training and {len(val_rows)} validation videos, "
            f"{len(class_names)} classes, on "
            + (f"{fabric.world_size} × {where}" if fabric.world_size > 1 else where)
        )
        if warning:
            files.note(warning)
        torch.manual_seed(params.train.seed)
        pretrained = build_pretrained(params.model, class_names=class_names)
        files.note(f"model: {pretrained.description}")
        files.sign(
            class_names,
            provenance(
                [*train_rows, *val_rows],
                seed=params.train.seed,
                weights=pretrained.description,
                runs_on=f"{fabric.world_size} × {where}",
                project=project,
            ),
        )
        clips = Clips(train_rows, val_rows, params, store.folder, fabric)
        _train(pretrained.network, clips, files, class_names=class_names)
        if fabric.is_global_zero:
            files.finish(lambda best: calibrated(best, clips))


def _train(
    network: nn.Module, clips: Clips, files: RunFiles, *, class_names: Sequence[str]
) -> None:
    """Build, check, go on from where an unfinished run stopped, train to the end."""
    fabric, runtime = clips.fabric, clips.params.runtime
    learner = build_learner(
        network,
        recipe=clips.params.train,
        augment=clips.params.augment,
        criterion=training_criterion(clips.rows, class_names, clips.params.train),
        steps_per_epoch=clips.steps_per_epoch,
        fabric=fabric,
    )
    size = choose_batch_size(learner, clips)
    if fabric.world_size > 1:
        size = min(gather(size))
    files.note(_batch_line(size, clips))
    report, reason = check_learner(learner, clips, size=size, compile_model=runtime.compile)
    if reason:
        files.note(f"runs without torch.compile, which failed: {reason}")
    files.note(
        f"sanity check: loss {report.loss:.3f}; {report.num_parameters} parameter tensors have "
        f"finite, non-zero gradients"
    )
    rows, sofar = files.go_on(learner, size=size)
    fit(
        learner,
        feed_of=lambda epoch: clips.feed(epoch, size=size),
        val_loader=clips.validation(size=size),
        rows=rows,
        sofar=sofar,
        name_of_clip=lambda clip: clips.rows[clip].video_path,
        after_step=lambda sofar: files.after_step(learner, sofar),
        on_epoch=lambda row, is_best: files.after_epoch(learner, row, is_best=is_best),
    )


def _batch_line(size: int, clips: Clips) -> str:
    recipe, world_size = clips.params.train, clips.fabric.world_size
    parts = -(-recipe.batch_size // (size * world_size))
    line = f"{recipe.batch_size} clips a step"
    if parts > 1 or world_size > 1:
        line += f": {size} at once" + (f" on each of {world_size} devices" * (world_size > 1))
        line += f", gradients added up over {parts} parts" * (parts > 1)
    if recipe.batch_norm == "batch" and size < FEW_CLIPS:
        line += (
            f"\nwarning: batch norm sees only {size} clips at once; set train.batch_norm to "
            "precise, or to frozen with pretrained weights"
        )
    return line


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
