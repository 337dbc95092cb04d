"""Optimiser and learning-rate schedule from the parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from slowfast_finetune.params import TrainParams


def build_optimizer(parameters: Iterable[nn.Parameter], params: TrainParams) -> Optimizer:
    """Adam, AdamW or SGD (momentum 0.9, Nesterov) over the parameters that learn."""
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    rate, decay = params.learning_rate, params.weight_decay
    if params.optimizer == "sgd":
        return torch.optim.SGD(learning, lr=rate, weight_decay=decay, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if params.optimizer == "adamw" else torch.optim.Adam
    return kind(learning, lr=rate, weight_decay=decay)


def build_scheduler(
    optimizer: Optimizer, params: TrainParams, *, steps_per_epoch: int
) -> LRScheduler:
    """A schedule that moves once a step.

    ``one_cycle`` rises from 1/25 of the rate over the first 30 % of all steps and falls along a
    cosine to nearly zero (Smith and Topin, "Super-Convergence", 2018; torch's defaults).
    """
    if params.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    # OneCycleLR divides by zero where the rise has one step.
    total = max(params.epochs * steps_per_epoch, 10)
    return OneCycleLR(
        optimizer, max_lr=params.learning_rate, total_steps=total, cycle_momentum=False
    )
