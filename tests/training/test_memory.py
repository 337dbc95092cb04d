"""How many clips are computed at once, and what is said when they do not fit."""

from __future__ import annotations

import mmap
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from cpu_fabric import cpu_fabric
from torch import Tensor, nn

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.training import memory
from slowfast_finetune.training.memory import (
    CPU_OVERHEAD,
    CPU_SHARE,
    batch_size_that_fits,
    out_of_memory_advice,
    peak_memory_mb,
)


class Keeps(nn.Module):
    """Keeps just the tensor of 1000 floats that is squared; the weight is nobody's cost."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, clips: Tensor) -> Tensor:
        wide = clips.float().reshape(len(clips), -1)[:, :1].expand(-1, 1000) * self.weight
        return wide.square().sum(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("memory_in_clips", "most", "expected"),
    [
        (100, 8, 8),
        (8, 8, 8),
        (7.5, 8, 4),  # seven fit, but two parts of four are as quick and alike
        (3, 8, 3),  # three parts: 3, 3 and 2
        (2.9, 8, 2),
        (0.1, 8, 1),  # one at least
        (5, 12, 4),
    ],
)
def test_equal_parts_that_fit_into_the_memory_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch, memory_in_clips: float, most: int, expected: int
) -> None:
    # float32 of `wide` (for the square) and of the expanded input (for the weight's gradient).
    kept = memory._bytes_kept(Keeps(), clip(), cpu_fabric())
    assert 4_000 <= kept <= 8_100
    total = memory_in_clips * kept * CPU_OVERHEAD / CPU_SHARE
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=total + 1))
    found = batch_size_that_fits(
        most,
        classifier=Keeps(),
        clip=clip(),
        criterion=nn.CrossEntropyLoss(reduction="none"),
        fabric=cpu_fabric(),
    )
    assert found == expected


def clip() -> Tensor:
    return torch.ones(1, 2, 4, 4, 3, dtype=torch.uint8)


def fake_gpu(monkeypatch: pytest.MonkeyPatch, *, total: int = 16 * 2**30) -> Any:
    properties = SimpleNamespace(total_memory=total)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU of 16 GiB")
    return SimpleNamespace(device=torch.device("cuda"), autocast=cpu_fabric().autocast)


def test_batch_that_does_not_fit_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = fake_gpu(monkeypatch)
    with (
        pytest.raises(TrainingError) as caught,
        out_of_memory_advice(7, fabric),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert str(caught.value) == (
        "a batch of 7 clips does not fit into the 16 GiB of GPU of 16 GiB; set "
        "runtime.batch_size_per_device: 3 (or auto); gradients are then accumulated over 3 parts"
    )
    with pytest.raises(TrainingError, match="take a smaller"), out_of_memory_advice(1, fabric):
        raise torch.OutOfMemoryError


class Limited(Keeps):
    """Has room for so many clips."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, clips: Tensor) -> Tensor:
        if len(clips) > self.limit:
            raise torch.OutOfMemoryError
        return super().forward(clips)


@pytest.mark.parametrize(("limit", "expected"), [(99, 12), (12, 12), (11, 6), (5, 3), (1, 1)])
def test_gpu_is_tried_with_ever_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, limit: int, expected: int
) -> None:
    fabric = fake_gpu(monkeypatch)
    for name in ("reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 2**30)
    model = Limited(limit)
    found = batch_size_that_fits(
        12,
        classifier=model,
        clip=clip(),
        criterion=nn.CrossEntropyLoss(reduction="none"),
        fabric=fabric,
    )
    assert found == expected
    assert model.weight.grad is None


def test_peak_memory_of_this_process_is_plausible() -> None:
    before = peak_memory_mb(torch.device("cpu"))
    # With fresh pages, which no memory that was freed can stand in for, it holds more than ever.
    free = before * 1e6 - psutil.Process().memory_info().rss
    with mmap.mmap(-1, int(free + 1e8)) as block:
        for start in range(0, len(block), mmap.PAGESIZE):
            block[start] = 1
        assert 50 < before < peak_memory_mb(torch.device("cpu"))
