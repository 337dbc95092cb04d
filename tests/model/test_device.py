"""Which device, which precision, how many."""

from __future__ import annotations

from typing import Any

import pytest
import synthetic
import torch

from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.model.device import (
    choose_device,
    choose_precision,
    count_devices,
    process_rank,
)


def runtime(**changes: Any) -> RuntimeParams:
    values = synthetic.make_params().runtime.model_dump()
    return RuntimeParams.model_validate(values | {"device": "auto", "precision": "auto"} | changes)


def test_device_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(runtime()).type == "cpu"
    with pytest.raises(ParamsError, match=r"runtime\.device: cuda"):
        choose_device(runtime(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(runtime()).type == "cuda"
    assert choose_device(runtime(device="cpu")).type == "cpu"
    cpu = torch.device("cpu")
    with pytest.raises(ParamsError, match="fp16 needs CUDA"):
        choose_precision(runtime(precision="fp16"), cpu)
    for native, expected in [(True, "bf16-mixed"), (False, "32-true")]:
        monkeypatch.setattr("slowfast_finetune.model.device.has_native_bf16", lambda _, n=native: n)
        assert choose_precision(runtime(), cpu) == expected
    assert choose_precision(runtime(precision="fp32"), cpu) == "32-true"


def test_how_many_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert count_devices(runtime(), cpu) == (1, 1)
    assert count_devices(runtime(devices=2), cpu) == (2, 1)
    assert count_devices(runtime(), cuda) == (4, 1)
    assert count_devices(runtime(devices=3), cuda) == (3, 1)
    with pytest.raises(ParamsError, match=r"runtime\.devices: found 5, this machine has 4"):
        count_devices(runtime(devices=5), cuda)
    # torchrun has the last word.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "6")
    assert count_devices(runtime(devices=5), cuda) == (2, 3)


def test_rank_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert process_rank() == 0
    monkeypatch.setenv("LOCAL_RANK", "1")  # as Fabric starts its processes
    assert process_rank() == 1
    monkeypatch.setenv("RANK", "3")  # as torchrun does, on the second node
    assert process_rank() == 3
