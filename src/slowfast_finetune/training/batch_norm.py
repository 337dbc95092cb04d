"""Batch norm on small batches: whose mean and variance are used, and who may change them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_finetune.model.slowfast import HEAD_BLOCK, block_of

BatchNormMode = Literal["batch", "frozen", "precise"]


def begin_training(model: nn.Module, *, batch_norm: BatchNormMode, backbone_frozen: bool) -> None:
    """Set what learns and what is random for an epoch of training.

    A frozen backbone neither learns nor moves its statistics. With ``frozen`` statistics, batch
    norms normalise by those they came with; their scales and shifts still learn.
    """
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not backbone_frozen or block_of(name) == HEAD_BLOCK)
    if backbone_frozen or batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def recompute_statistics(model: nn.Module, batches: Iterable[Tensor], *, num_batches: int) -> None:
    """Replace running statistics by those of ``num_batches`` batches under the present weights.

    "Precise" batch norm: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.

    Args:
        model: in training mode.
        batches: uint8 clips (B, T, S, S, 3), on the model's device.
    """
    from fvcore.nn.precise_bn import update_bn_stats

    with torch.no_grad():
        update_bn_stats(model, batches, num_iters=num_batches)
