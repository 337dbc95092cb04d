"""From parameters and rows to what the loop needs: the learner and the clips of each epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from slowfast_finetune.base.errors import DataError, TrainingError
from slowfast_finetune.base.params import AugmentParams, Params, TrainParams
from slowfast_finetune.clips.clip_reader import Batch, ClipLoader, ClipReader
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import (
    MicroBatch,
    deal_out,
    in_batches,
    plan_training_epoch,
    plan_views,
)
from slowfast_finetune.model.device import keep_freed_memory
from slowfast_finetune.model.slowfast import ClipClassifier
from slowfast_finetune.model.speed import speed_up
from slowfast_finetune.training.batch_norm import begin_training
from slowfast_finetune.training.engine import EpochFeed, Learner, clips_to_learn_from
from slowfast_finetune.training.memory import batch_size_that_fits, out_of_memory_advice
from slowfast_finetune.training.optimisation import Schedule, build_optimizer, weight_average
from slowfast_finetune.training.sanity import SanityReport, check_gradients, untouched

# A batch norm that sees fewer clips at once has statistics of too few videos.
FEW_CLIPS = 4


@dataclass(frozen=True)
class Clips:
    """The clips of a run, dealt out to this device.

    Attributes:
        rows: training videos.
        folder: of the clip store.
    """

    rows: Sequence[ClipRow]
    val_rows: Sequence[ClipRow]
    params: Params
    folder: Path
    fabric: Any

    def feed(self, epoch: int, *, size: int) -> EpochFeed:
        """What an epoch trains on, at most ``size`` clips at once."""
        recipe = self.params.train
        plan = plan_training_epoch(
            self.rows,
            self.params.augment,
            num_frames=self.params.clip.num_frames,
            crop_size=recipe.crop_size,
            batch_size=recipe.batch_size,
            balanced=recipe.class_balance == "sampler",
            seed=recipe.seed,
            epoch=epoch,
        )
        rank, num_devices = self.fabric.global_rank, self.fabric.world_size
        steps = deal_out(plan, rank=rank, num_devices=num_devices, size=size)
        return EpochFeed(steps, self._load)

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps, which does not depend on how a step is divided."""
        return len(self.feed(1, size=self.params.train.batch_size).steps)

    def validation(self, *, size: int) -> ClipLoader:
        """This device's share of the centre clips of the validation videos."""
        windows = plan_views(
            self.val_rows,
            num_frames=self.params.clip.num_frames,
            crop_size=self.params.train.crop_size,
        )
        share = windows[self.fabric.global_rank :: self.fabric.world_size]
        return ClipLoader(
            self._reader(self.val_rows), in_batches(share, size=size), num_threads=self._threads
        )

    def _load(self, parts: Sequence[MicroBatch]) -> ClipLoader:
        plan = [(*part.windows, *part.partners) for part in parts]
        return ClipLoader(self._train_reader, plan, num_threads=self._threads)

    @cached_property
    def _train_reader(self) -> ClipReader:
        # One for all epochs: its open files and its memory are used again.
        return self._reader(self.rows)

    @property
    def _threads(self) -> int:
        num_devices: int = self.fabric.world_size
        # A CPU needs its cores to compute; a GPU is fed by a quarter of them.
        return max(1, min(8, (os.cpu_count() or 1) // (4 * num_devices)))

    def _reader(self, rows: Sequence[ClipRow]) -> ClipReader:
        return ClipReader(
            rows,
            folder=self.folder,
            num_frames=self.params.clip.num_frames,
            crop_size=self.params.train.crop_size,
            pin_memory=self.fabric.device.type == "cuda",
        )


def build_learner(
    network: nn.Module,
    *,
    recipe: TrainParams,
    augment: AugmentParams,
    criterion: nn.Module,
    steps_per_epoch: int,
    fabric: Any,
) -> Learner:
    """Put the network on the device, with an optimiser and all else that it learns by.

    Args:
        criterion: logits (B, classes) and labels (B,) → losses (B,).
    """
    on_cpu = fabric.device.type == "cpu"
    if on_cpu:
        keep_freed_memory()
    speed_up(network)
    classifier = ClipClassifier(network).to(fabric.device)
    average = None
    if recipe.ema_decay is not None:
        average = weight_average(classifier, decay=recipe.ema_decay)
    return Learner(
        classifier=classifier,
        compiled=classifier,
        optimizer=build_optimizer(classifier, recipe, fused=on_cpu or None),
        average=average,
        criterion=criterion.to(fabric.device),
        schedule=Schedule(recipe, steps_per_epoch),
        augment=augment,
        fabric=fabric,
    )


def training_criterion(
    rows: Sequence[ClipRow], class_names: Sequence[str], recipe: TrainParams
) -> nn.Module:
    """Cross-entropy of each clip, smoothed and weighted as the recipe says.

    A class weighs N / (classes × its videos), 1 on average over the clips (scikit-learn's
    "balanced"). Label smoothing is that of Szegedy et al., 2015.

    Raises:
        DataError: a class that is to be weighed has no clips.
    """
    weight = None
    if recipe.class_balance == "weights":
        counts = np.bincount([row.label for row in rows], minlength=len(class_names))
        if not counts.all():
            lacking = class_names[int(counts.argmin())]
            raise DataError(
                f"train.class_balance: weights: {lacking!r} has no usable training video to weigh"
            )
        weight = torch.from_numpy(len(rows) / (len(counts) * counts)).float()
    return nn.CrossEntropyLoss(weight, label_smoothing=recipe.label_smoothing, reduction="none")


def choose_batch_size(learner: Learner, clips: Clips) -> int:
    """Clips that this device computes at once: the whole share of a step, or what fits of it."""
    share = math.ceil(clips.params.train.batch_size / learner.fabric.world_size)
    wanted = clips.params.runtime.batch_size_per_device
    if wanted != "auto":
        return int(min(wanted, share))
    batch = next(iter(clips.feed(1, size=1).batches()))
    begin_training(learner.classifier, batch_norm=learner.recipe.batch_norm, backbone_frozen=False)
    with untouched(learner.classifier):
        return batch_size_that_fits(
            share,
            classifier=learner.classifier,
            clip=batch.clips[:1].to(learner.fabric.device),
            criterion=learner.criterion,
            fabric=learner.fabric,
        )


def check_learner(
    learner: Learner, clips: Clips, *, size: int, compile_model: bool
) -> tuple[SanityReport, str | None]:
    """One step that is not taken, compiled if wanted; also says why it could not be compiled.

    Raises:
        TrainingError: something would not learn.
    """
    feed = clips.feed(1, size=size)
    part = feed.steps[0][0]
    batch: Batch = next(iter(feed.batches()))
    batch_clips = clips_to_learn_from(batch, part, learner)
    labels = batch.labels[: len(part.windows)].to(learner.fabric.device)
    begin_training(learner.classifier, batch_norm=learner.recipe.batch_norm, backbone_frozen=False)

    def check(model: nn.Module) -> SanityReport:
        fabric = learner.fabric
        with out_of_memory_advice(len(part.windows), fabric):
            return check_gradients(model, batch_clips, labels, learner.criterion, fabric=fabric)

    if not compile_model:
        return check(learner.classifier), None
    # Batches of one size but the last: shapes as they come compile faster than general ones. In
    # one graph, as what cannot be compiled would else run as before without a word.
    compiled: Any = torch.compile(learner.classifier, dynamic=False, fullgraph=True)
    try:
        report = check(compiled)
    except TrainingError:
        raise
    except Exception as error:  # whatever the compiler stumbles over
        return check(learner.classifier), " ".join(str(error).split())[:200]
    learner.compiled = compiled
    return report, None
