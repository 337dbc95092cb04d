"""Choose how many clips a device computes at once, and advise when they do not fit."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import torch
from torch import Tensor, nn

from slowfast_finetune.base.errors import TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# The share of the machine's memory that a step on the CPU may take; and the factor by which a step
# needs more than the tensors kept for the backward pass: gradients of activations, scratch memory.
CPU_SHARE, CPU_OVERHEAD = 0.5, 1.6
# The share of a GPU's memory that the trial step may take: the optimiser's state comes later.
GPU_SHARE = 0.9


def peak_memory_mb(device: torch.device) -> float:
    """The most memory held so far: tensors on a GPU, else the whole process [MB]."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


@contextmanager
def out_of_memory_advice(num_clips: int, fabric: Fabric) -> Iterator[None]:
    """Turn a GPU's "out of memory" into advice.

    Raises:
        TrainingError: names the batch size and the accumulation that may fit.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        total = torch.cuda.get_device_properties(fabric.device).total_memory / 2**30
        half = max(1, num_clips // 2)
        advice = (
            f"set runtime.batch_size_per_device: {half} (or auto); gradients are then accumulated "
            f"over {math.ceil(num_clips / half)} parts"
            if num_clips > 1
            else "take a smaller train.crop_size, clip.num_frames or model.name"
        )
        raise TrainingError(
            f"a batch of {num_clips} clips does not fit into the {total:.0f} GiB of "
            f"{torch.cuda.get_device_name(fabric.device)}; {advice}"
        ) from error


def batch_size_that_fits(
    most: int, *, classifier: nn.Module, clip: Tensor, criterion: nn.Module, fabric: Fabric
) -> int:
    """The clips to compute at once: ``most``, or an equal part of it that fits into memory.

    On a GPU steps are tried; on a CPU, where too large a step ends the process, the memory of one
    clip is counted. That depends on the machine alone, so results do not change from run to run.

    Args:
        classifier: in training mode; its gradients are discarded.
        clip: uint8 (1, T, S, S, 3) on the device.
        criterion: logits and labels → losses (B,).
    """
    if fabric.device.type == "cuda":
        size = most
        while size > 1 and not _fits(size, classifier, clip, criterion, fabric):
            size = math.ceil(size / 2)
        return size
    needed = CPU_OVERHEAD * _bytes_kept(classifier, clip, fabric)
    limit = max(1, int(CPU_SHARE * psutil.virtual_memory().total / fabric.world_size / needed))
    return math.ceil(most / math.ceil(most / limit))


def _fits(
    size: int, classifier: nn.Module, clip: Tensor, criterion: nn.Module, fabric: Fabric
) -> bool:
    device = fabric.device
    # Adam keeps two numbers for each weight, and an average of the weights is another one.
    state = 3 * sum(p.numel() * p.element_size() for p in classifier.parameters())
    torch.cuda.reset_peak_memory_stats(device)
    try:
        with fabric.autocast():
            logits = classifier(clip.expand(size, *clip.shape[1:]))
            labels = clip.new_zeros(size, dtype=torch.int64)
            criterion(logits, labels).sum().backward()
    except torch.OutOfMemoryError:
        return False
    finally:
        classifier.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    return torch.cuda.max_memory_allocated(device) + state < GPU_SHARE * total


def _bytes_kept(classifier: nn.Module, clip: Tensor, fabric: Fabric) -> int:
    """Bytes that the forward pass of one clip keeps for the backward pass, weights aside."""
    weights = {p.untyped_storage().data_ptr() for p in classifier.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), fabric.autocast():
        logits = classifier(clip)
    del logits
    return max(1, sum(kept.values()))
