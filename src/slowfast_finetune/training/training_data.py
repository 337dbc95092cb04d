"""The clips that a run trains on and validates with, as one device reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_reader import ClipLoader, ClipReader, reading_threads
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import (
    MicroBatch,
    deal_out,
    in_batches,
    plan_training_epoch,
    plan_views,
)
from slowfast_finetune.model.checkpoint import Preprocessing

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class EpochFeed:
    """The clips of an epoch for this device: the plan, and a loader of any part of it."""

    steps: Sequence[Sequence[MicroBatch]]  # the micro-batches of each step
    load: Callable[[Sequence[MicroBatch]], ClipLoader]
    name_of_clip: Callable[[int], str] = str

    def batches(self, *, from_step: int = 0) -> ClipLoader:
        """Batches of windows and then partners, one for each micro-batch of each step."""
        return self.load([each for step in self.steps[from_step:] for each in step])


@dataclass(frozen=True)
class TrainingData:
    """The training and validation clips of a run, dealt out to this device."""

    rows: Sequence[ClipRow]  # training videos
    val_rows: Sequence[ClipRow]
    params: Params
    folder: Path  # of the clip store
    fabric: Fabric

    def feed(self, epoch: int, *, size: int) -> EpochFeed:
        """What an epoch trains on, at most ``size`` clips at once."""
        recipe, augment = self.params.train, self.params.augment
        plan = plan_training_epoch(self.rows, recipe, augment, self._shape, epoch=epoch)
        rank, num_devices = self.fabric.global_rank, self.fabric.world_size
        steps = [deal_out(step, rank=rank, num_devices=num_devices, size=size) for step in plan]
        return EpochFeed(steps, self._load, lambda clip: self.rows[clip].case)

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps, which does not depend on how a step is divided."""
        return len(self.feed(1, size=self.params.train.batch_size).steps)

    def validation(self, *, size: int) -> ClipLoader:
        """This device's share of the centre clips of the validation videos."""
        windows = plan_views(self.val_rows, self._shape)
        share = windows[self.fabric.global_rank :: self.fabric.world_size]
        return ClipLoader(
            self._reader(self.val_rows), in_batches(share, size=size), num_threads=self._threads
        )

    def _load(self, micro_batches: Sequence[MicroBatch]) -> ClipLoader:
        plan = [(*each.windows, *each.partners) for each in micro_batches]
        return ClipLoader(self._train_reader, plan, num_threads=self._threads)

    @cached_property
    def _train_reader(self) -> ClipReader:
        # One for all epochs: its open files and its memory are used again.
        return self._reader(self.rows)

    @property
    def _shape(self) -> Preprocessing:
        return Preprocessing.from_params(self.params.clip, crop_size=self.params.train.crop_size)

    @property
    def _threads(self) -> int:
        return reading_threads(self.fabric.device, self.fabric.world_size)

    def _reader(self, rows: Sequence[ClipRow]) -> ClipReader:
        pin_memory = self.fabric.device.type == "cuda"
        return ClipReader(rows, folder=self.folder, shape=self._shape, pin_memory=pin_memory)
