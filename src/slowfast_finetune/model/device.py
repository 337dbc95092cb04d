"""Choose device, precision and number of devices; set up Lightning Fabric."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import warnings
from typing import TYPE_CHECKING, Literal

import torch

from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.base.params import RuntimeParams

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def choose_device(params: RuntimeParams) -> torch.device:
    """CUDA if it is there and not refused, else the CPU.

    Raises:
        ParamsError: CUDA is asked for and not available.
    """
    has_cuda = torch.cuda.is_available()
    if params.device == "cuda" and not has_cuda:
        raise ParamsError("runtime.device: cuda is asked for, but torch finds no CUDA device")
    return torch.device("cuda" if has_cuda and params.device != "cpu" else "cpu")


def choose_precision(params: RuntimeParams, device: torch.device) -> Precision:
    """The precision in Fabric's words; ``auto`` is bf16 where the device multiplies it natively.

    Raises:
        ParamsError: fp16 on a CPU, which has neither speed nor range to offer there.
    """
    if params.precision == "fp16" and device.type == "cpu":
        raise ParamsError("runtime.precision: fp16 needs CUDA; on a CPU use auto, bf16 or fp32")
    if params.precision == "auto":
        return "bf16-mixed" if has_native_bf16(device) else "32-true"
    names: dict[str, Precision] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
    return names[params.precision]


def has_native_bf16(device: torch.device) -> bool:
    """Whether bf16 products run in hardware: Ampere and later, AVX512-BF16, AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def count_devices(params: RuntimeParams, device: torch.device) -> tuple[int, int]:
    """Devices of a node, and nodes: torchrun's where it started us, else ``runtime.devices``.

    Raises:
        ParamsError: more GPUs are asked for than the machine has.
    """
    if "LOCAL_WORLD_SIZE" in os.environ:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    # auto takes every GPU; one CPU process already computes with all cores.
    present = torch.cuda.device_count() if device.type == "cuda" else None
    if params.devices == "auto":
        return present or 1, 1
    if present is not None and params.devices > present:
        raise ParamsError(f"runtime.devices: found {params.devices}, this machine has {present}")
    return params.devices, 1


def process_rank() -> int:
    """Which of the processes that train together this one is, before they have met; 0 leads."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)


def make_fabric(
    device: torch.device, precision: Precision, *, devices: int = 1, num_nodes: int = 1
) -> Fabric:
    """A Lightning Fabric; with several devices, each has a process and they share gradients."""
    several = devices * num_nodes > 1
    with warnings.catch_warnings():
        # Lightning prints notes on its packages and settings while it is imported and starts.
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
        return Fabric(
            accelerator=device.type,
            devices=devices,
            num_nodes=num_nodes,
            strategy="ddp" if several else "auto",
            precision=precision,
        )


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, for itself; without glibc nothing changes.

    By default glibc gives large blocks back to the kernel, which hands them out again zeroed page
    by page: on a CPU every activation and gradient of every step pays for that. The process then
    stays as large as it was at its largest.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
