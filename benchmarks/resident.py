"""The training loop on one batch that is in memory: what it costs when no clip has to be read."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.comparison import Contender
from benchmarks.stage_inputs import demo_params, quiet
from slowfast_finetune.clips.clip_reader import Batch
from slowfast_finetune.clips.windows import MicroBatch, Window
from slowfast_finetune.model.device import Precision, make_fabric
from slowfast_finetune.training.engine import train_one_epoch
from slowfast_finetune.training.epoch_progress import EpochProgress
from slowfast_finetune.training.learner import Learner, build_learner
from slowfast_finetune.training.training_data import EpochFeed


class ResidentLoader:
    """Gives the same batch for every part."""

    def __init__(self, batch: Batch, count: int) -> None:
        self._batch = batch
        self._count = count

    def __iter__(self) -> Any:
        return iter([self._batch] * self._count)


def resident_feed(batch: Batch, *, steps: int) -> EpochFeed:
    """An epoch of so many steps, all of them on one batch."""
    count, _, side = batch.clips.shape[:3]
    windows = tuple(Window(clip, 0, 0, 0, side) for clip in range(count))
    part = MicroBatch(windows, (), None, count, count, True)

    def load(parts: Sequence[MicroBatch]) -> Any:
        return ResidentLoader(batch, len(parts))

    return EpochFeed([[part]] * steps, load)


def resident_learner(
    network: nn.Module, precision: Precision, device: torch.device, *, frozen: bool
) -> Learner:
    """What the train stage builds, all of it learning, with AdamW at a rate that changes little."""
    params = demo_params(train={"optimizer": "adamw", "learning_rate": 1e-5})
    recipe = params.train.model_copy(
        update={
            "epochs": 10**6,
            "schedule": "constant",
            "warmup_epochs": 0,
            "frozen_epochs": 0,
            "ema_decay": None,
            "max_grad_norm": None,
            "batch_norm": "frozen" if frozen else "batch",
        }
    )
    return build_learner(
        network,
        recipe=recipe,
        augment=params.augment,
        criterion=nn.CrossEntropyLoss(reduction="none"),
        steps_per_epoch=1,
        fabric=make_fabric(device, precision),
    )


def epoch_seconds(learner: Learner, feed: EpochFeed, *, epoch: int = 1) -> float:
    """Seconds of an epoch of the training loop, validation aside."""
    with quiet():
        started = time.perf_counter()
        train_one_epoch(learner, feed, epoch=epoch, progress=EpochProgress())
        if learner.fabric.device.type == "cuda":
            torch.cuda.synchronize(learner.fabric.device)
        return time.perf_counter() - started


def resident_turns(learner: Learner, batch: Batch, *, seconds: float) -> Contender:
    """Seconds a step, over as many as fill a turn of so many seconds."""
    epoch_seconds(learner, resident_feed(batch, steps=1))
    once = epoch_seconds(learner, resident_feed(batch, steps=1))
    steps = max(1, math.ceil(seconds / once))

    def turn() -> float:
        # One more before it counts, as in training one step follows another.
        epoch_seconds(learner, resident_feed(batch, steps=1))
        return epoch_seconds(learner, resident_feed(batch, steps=steps)) / steps

    return turn
