"""The most that a device computes, so that a figure above it is known to be wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

from slowfast_finetune.model.device import Precision

DTYPES: dict[Precision, torch.dtype] = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
}
# The machine is shared, so what was measured as its peak may be a little too low.
TOLERANCE = 1.15


class ImpossibleFigureError(RuntimeError):
    """A benchmark found more than its machine can do: it does not measure what it says."""


def check_below_peak(rates: Mapping[str, float], peak: float) -> None:
    """Compare rates with the peak of the machine, both [FLOP/s].

    Raises:
        ImpossibleFigureError: names the contender.
    """
    for name, rate in rates.items():
        if rate > TOLERANCE * peak:
            raise ImpossibleFigureError(
                f"{name}: {rate / 1e9:.0f} GFLOP/s are more than the {peak / 1e9:.0f} that one "
                "convolution or matmul reaches here; the step computes less than it is counted for"
            )


def conv_peak(device: torch.device, precision: Precision, *, seconds: float = 2.0) -> float:
    """The rate [FLOP/s] of the fastest of some forward passes of a Conv3d from 256 to 256, 3³."""
    batch = 16 if device.type == "cuda" else 1
    shape, channels = (batch, 256, 8, 28, 28), 256
    layout = torch.channels_last_3d
    with torch.no_grad():
        conv = torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        conv = conv.to(device, DTYPES[precision], memory_format=layout)  # type: ignore[call-overload]
        clips = torch.randn(shape, device=device).to(DTYPES[precision], memory_format=layout)
        best = _fastest(lambda: conv(clips), device, seconds=seconds)
    flops = 2 * clips.numel() * channels * 27
    return flops / best


def _fastest(call: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    """Seconds of the fastest call of as many as fill some time."""
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best
