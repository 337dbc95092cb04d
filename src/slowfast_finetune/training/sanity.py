"""Check before training that every parameter receives a finite, non-zero gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from slowfast_finetune.base.errors import TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOSS_SCALE = 128.0


@dataclass(frozen=True)
class SanityReport:
    """What the check saw: the loss of one batch and how many tensors got a gradient."""

    loss: float
    num_parameters: int


def check_gradients(
    classifier: nn.Module, clips: Tensor, labels: Tensor, criterion: nn.Module, *, fabric: Fabric
) -> SanityReport:
    """Run one step without taking it; the model and the random state stay as they were.

    Args:
        classifier: in the mode it will be trained in, on fabric's device.
        clips: uint8 (B, T, H, W, 3) on that device.
        labels: int64 (B,).
        criterion: logits and labels → losses (B,).

    Raises:
        TrainingError: the loss is not finite, or a parameter that should learn has no gradient,
            or one that is zero or not finite.
    """
    named = [(name, p) for name, p in classifier.named_parameters() if p.requires_grad]
    with untouched(classifier):
        with fabric.autocast():
            loss = criterion(classifier(clips), labels).mean()
        if not torch.isfinite(loss):
            raise TrainingError(f"sanity check: the loss of the first batch is {loss.item()}")
        # In half precision small gradients would be zero; training scales its losses likewise.
        (loss * LOSS_SCALE).backward()
        for name, parameter in named:
            _check_gradient(name, parameter.grad)
    return SanityReport(loss.item(), len(named))


def _check_gradient(name: str, gradient: Tensor | None) -> None:
    if gradient is None:
        raise TrainingError(f"sanity check: {name} gets no gradient; it would never learn")
    if not torch.isfinite(gradient).all():
        raise TrainingError(f"sanity check: the gradient of {name} is not finite")
    if not gradient.any():
        raise TrainingError(f"sanity check: the gradient of {name} is zero; it would never learn")


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
