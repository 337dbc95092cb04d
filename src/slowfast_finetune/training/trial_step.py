"""Try a step before the first epoch: how many clips fit at once, and does everything learn?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.training.augmentation import augmented
from slowfast_finetune.training.epoch_progress import gather
from slowfast_finetune.training.learner import Learner, begin_training
from slowfast_finetune.training.memory import batch_size_that_fits, out_of_memory_advice
from slowfast_finetune.training.training_data import TrainingData

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOSS_SCALE = 128.0
# A batch norm that sees fewer clips at once has statistics of too few videos.
FEW_CLIPS = 4


def try_a_step(learner: Learner, data: TrainingData, note: Callable[[str], None]) -> int:
    """Compute a step without taking it; gives the clips that each device computes at once.

    Compiles the model, if that is wanted and works. What was found is told to ``note``.

    Raises:
        TrainingError: something would not learn, or a batch is too large.
    """
    fabric = learner.fabric
    begin_training(learner.classifier, batch_norm=learner.recipe.batch_norm, backbone_frozen=False)
    size: int = min(gather(_choose_batch_size(learner, data), fabric))
    note(_batch_line(size, data))
    feed = data.feed(1, size=size)
    batch = next(iter(feed.batches()))
    clips = augmented(batch.clips, feed.steps[0][0], learner.augment, device=fabric.device)
    labels = batch.labels[: len(clips)].to(fabric.device)

    def check(model: nn.Module) -> float:
        with out_of_memory_advice(len(clips), fabric):
            return check_gradients(model, clips, labels, learner.criterion, fabric=fabric)

    if data.params.runtime.compile:
        # Batches of one size but the last: shapes as they come compile faster than general ones. In
        # one graph, because a model that cannot be compiled would else silently run uncompiled.
        compiled: Any = torch.compile(learner.classifier, dynamic=False, fullgraph=True)
        try:
            loss = check(compiled)
            learner.compiled = compiled
        except TrainingError:
            raise
        except Exception as error:  # whatever the compiler stumbles over
            reason = " ".join(str(error).split())[:200]
            note(f"runs without torch.compile, which failed: {reason}")
            loss = check(learner.classifier)
    else:
        loss = check(learner.classifier)
    note(
        f"sanity check: loss {loss:.3f}; {len(list(learner.classifier.parameters()))} parameter "
        "tensors have finite, non-zero gradients"
    )
    return size


def _choose_batch_size(learner: Learner, data: TrainingData) -> int:
    """Clips that this device computes at once: the whole share of a step, or what fits of it."""
    share = math.ceil(data.params.train.batch_size / learner.fabric.world_size)
    wanted = data.params.runtime.batch_size_per_device
    if wanted != "auto":
        return int(min(wanted, share))
    batch = next(iter(data.feed(1, size=1).batches()))
    with untouched(learner.classifier):
        return batch_size_that_fits(
            share,
            classifier=learner.classifier,
            clip=batch.clips[:1].to(learner.fabric.device),
            criterion=learner.criterion,
            fabric=learner.fabric,
        )


def _batch_line(size: int, data: TrainingData) -> str:
    recipe, world_size = data.params.train, data.fabric.world_size
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


def check_gradients(
    classifier: nn.Module, clips: Tensor, labels: Tensor, criterion: nn.Module, *, fabric: Fabric
) -> float:
    """The loss of one step that is not taken; the model and the random state stay as they were.

    Args:
        classifier: in the mode it will be trained in, on fabric's device.
        clips: uint8 (B, T, H, W, 3) on that device.
        labels: int64 (B,).
        criterion: logits and labels → losses (B,).

    Raises:
        TrainingError: the loss is not finite, or a parameter that should learn has no gradient,
            or one that is zero or not finite.
    """
    with untouched(classifier):
        with fabric.autocast():
            loss = criterion(classifier(clips), labels).mean()
        if not torch.isfinite(loss):
            raise TrainingError(f"sanity check: the loss of the first batch is {loss.item()}")
        # In half precision small gradients would be zero; training scales its losses likewise.
        (loss * LOSS_SCALE).backward()
        for name, parameter in classifier.named_parameters():
            gradient = parameter.grad
            if not parameter.requires_grad:
                continue
            if gradient is None:
                fault = f"{name} gets no gradient; it would never learn"
            elif not torch.isfinite(gradient).all():
                fault = f"the gradient of {name} is not finite"
            elif not gradient.any():
                fault = f"the gradient of {name} is zero; it would never learn"
            else:
                continue
            raise TrainingError(f"sanity check: {fault}")
    return float(loss.item())


@contextmanager
def untouched(classifier: nn.Module) -> Iterator[None]:
    """Restore parameters, statistics, mode and random state afterwards.

    Inside, a batch norm whose scale starts at zero (the last of each residual block, when weights
    are random) is opened: it lets nothing through at the first step, by design.
    """
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    was_training = [module.training for module in classifier.modules()]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            for module in classifier.modules():
                if isinstance(module, nn.BatchNorm3d) and not module.weight.any():
                    nn.init.ones_(module.weight)
            yield
        finally:
            classifier.load_state_dict(state)
            for module, training in zip(classifier.modules(), was_training, strict=True):
                module.training = training
            classifier.zero_grad(set_to_none=True)
