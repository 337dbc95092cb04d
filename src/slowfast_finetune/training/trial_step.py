"""Try a step before the first epoch: how many clips fit at once, and does everything learn?"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.training.augmentation import augmented
from slowfast_finetune.training.batch_norm import begin_training
from slowfast_finetune.training.learner import Learner
from slowfast_finetune.training.memory import batch_size_that_fits, out_of_memory_advice
from slowfast_finetune.training.sanity import SanityReport, check_gradients, untouched
from slowfast_finetune.training.training_data import TrainingData


def choose_batch_size(learner: Learner, data: TrainingData) -> int:
    """Clips that this device computes at once: the whole share of a step, or what fits of it."""
    share = math.ceil(data.params.train.batch_size / learner.fabric.world_size)
    wanted = data.params.runtime.batch_size_per_device
    if wanted != "auto":
        return int(min(wanted, share))
    batch = next(iter(data.feed(1, size=1).batches()))
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
    learner: Learner, data: TrainingData, *, size: int, compile_model: bool
) -> tuple[SanityReport, str | None]:
    """Compute one step without taking it, compiled if wanted; the text says why that failed.

    Raises:
        TrainingError: something would not learn.
    """
    fabric = learner.fabric
    feed = data.feed(1, size=size)
    micro_batch = feed.steps[0][0]
    batch = next(iter(feed.batches()))
    clips = augmented(batch.clips, micro_batch, learner.augment, device=fabric.device)
    labels = batch.labels[: len(clips)].to(fabric.device)
    begin_training(learner.classifier, batch_norm=learner.recipe.batch_norm, backbone_frozen=False)

    def check(model: nn.Module) -> SanityReport:
        with out_of_memory_advice(len(clips), fabric):
            return check_gradients(model, clips, labels, learner.criterion, fabric=fabric)

    if not compile_model:
        return check(learner.classifier), None
    # Batches of one size but the last: shapes as they come compile faster than general ones. In
    # one graph, because a model that cannot be compiled would otherwise silently run uncompiled.
    compiled: Any = torch.compile(learner.classifier, dynamic=False, fullgraph=True)
    try:
        report = check(compiled)
    except TrainingError:
        raise
    except Exception as error:  # whatever the compiler stumbles over
        return check(learner.classifier), " ".join(str(error).split())[:200]
    learner.compiled = compiled
    return report, None
