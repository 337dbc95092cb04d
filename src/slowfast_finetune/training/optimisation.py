"""The optimiser, how fast each part learns at each step, and the average of the weights."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from slowfast_finetune.base.params import TrainParams
from slowfast_finetune.model.slowfast import HEAD_BLOCK, block_of

Part = Literal["head", "backbone"]
LAST_BACKBONE_BLOCK = HEAD_BLOCK - 2  # the block before the head pools and learns nothing


def build_optimizer(
    model: nn.Module, params: TrainParams, *, fused: bool | None = None
) -> Optimizer:
    """Adam, AdamW or SGD (momentum 0.9, Nesterov), with a group for each rate and decay.

    Each group has the keys ``part`` (head or backbone) and ``peak`` (its rate). The backbone's peak
    is ``backbone_rate`` of the head's, and ``layer_decay`` times less with every block further down
    (Howard and Ruder, "ULMFiT", 2018; Bao et al., "BEiT", 2021). Norms' parameters and biases
    decay nothing (He et al., "Bag of Tricks", 2018).

    Args:
        fused: True makes one pass over each parameter instead of one for each term of the formula;
            the numbers differ by rounding. Not together with the gradient scaling of fp16. None
            leaves it to torch, which takes the slowest way on a CPU.
    """
    groups, rate = _groups(model, params), params.learning_rate
    if params.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, fused=fused)
    kind = torch.optim.AdamW if params.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, fused=fused)


def _groups(model: nn.Module, params: TrainParams) -> list[dict[str, Any]]:
    members: dict[tuple[int, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        decay = params.weight_decay if parameter.ndim > 1 else 0.0
        members[block_of(name), decay].append(parameter)
    return [
        {
            "params": parameters,
            "part": "head" if block == HEAD_BLOCK else "backbone",
            "peak": _peak(block, params),
            "weight_decay": decay,
        }
        for (block, decay), parameters in sorted(members.items(), key=lambda item: item[0])
    ]


def _peak(block: int, params: TrainParams) -> float:
    if block == HEAD_BLOCK:
        return params.learning_rate
    depth = LAST_BACKBONE_BLOCK - block
    return params.learning_rate * params.backbone_rate * params.layer_decay**depth


@dataclass(frozen=True)
class Schedule:
    """Learning rates as a function of the step alone."""

    recipe: TrainParams
    steps_per_epoch: int  # steps of the optimiser

    def factor(self, step: int, part: Part) -> float:
        """What the peak rate is multiplied with at a step, counted from 0.

        A part warms up when it begins to learn: linearly, (Goyal et al., "Accurate, Large
        Minibatch SGD", 2017), then falls along half a cosine to zero at the end of the run
        (Loshchilov and Hutter, "SGDR", 2016), or stays.
        """
        warmup = round(self.recipe.warmup_epochs * self.steps_per_epoch)
        frozen = 0 if part == "head" else self.recipe.frozen_epochs * self.steps_per_epoch
        since = step - frozen
        if since < 0:
            return 0.0
        if since < warmup:
            return (since + 1) / warmup
        if self.recipe.schedule == "constant":
            return 1.0
        left = self.recipe.epochs * self.steps_per_epoch - frozen - warmup
        return (1 + math.cos(math.pi * (since - warmup) / left)) / 2

    def rate(self, part: Part, step: int) -> float:
        """The highest learning rate of a part's layers at a step, counted from 0."""
        block = HEAD_BLOCK if part == "head" else LAST_BACKBONE_BLOCK
        return _peak(block, self.recipe) * self.factor(step, part)

    def apply(self, optimizer: Optimizer, step: int) -> None:
        """Set the rates of the optimiser's groups for a step."""
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * self.factor(step, group["part"])


def clip_gradients(optimizer: Optimizer, *, max_norm: float | None) -> dict[Part, Tensor]:
    """Scale all gradients down to an L2 norm; None leaves them.

    Returns:
        The L2 norm of each part from before, 0-d; zero where nothing learns.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients: dict[Part, list[Tensor]] = {"head": [], "backbone": []}
    for group in optimizer.param_groups:
        gradients[group["part"]] += [p.grad for p in group["params"] if p.grad is not None]
    zero = torch.zeros((), device=parameters[0].device)
    norms = {
        part: torch.nn.utils.get_total_norm(members) if members else zero
        for part, members in gradients.items()
    }
    if max_norm is not None:
        total = torch.linalg.vector_norm(torch.stack(list(norms.values())))
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, total)
    return norms


def weight_average(model: nn.Module, *, decay: float) -> AveragedModel:
    """An exponential moving average of weights and statistics, called after every step.

    The decay begins low and rises to ``decay``, min(decay, (1 + n) / (10 + n)) at the n-th step,
    so that an average over a short run forgets where it began (as TensorFlow's
    ExponentialMovingAverage does).
    """

    @torch.no_grad()
    def move(
        averages: Sequence[Tensor], values: Sequence[Tensor], num_averaged: Tensor | int
    ) -> None:
        steps = int(num_averaged)
        share = 1 - min(decay, (1 + steps) / (10 + steps))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), share)
            else:
                average.copy_(value)

    return AveragedModel(model, multi_avg_fn=move, use_buffers=True)
