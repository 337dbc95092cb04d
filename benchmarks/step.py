"""Seconds a clip of a training step, against pytorchvideo's model in a plain loop and a matmul."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.comparison import Contender, Ratio, in_turn, speed_ratio
from benchmarks.peak import DTYPES, check_below_peak, conv_peak
from benchmarks.report import Target, finish, format_table
from benchmarks.resident import resident_learner, resident_turns
from benchmarks.stage_inputs import demo_params
from slowfast_finetune.base.params import ModelName
from slowfast_finetune.clips.clip_reader import Batch
from slowfast_finetune.model.device import Precision, choose_device, choose_precision
from slowfast_finetune.model.slowfast import (
    MEAN,
    STD,
    build_slowfast,
    pack_pathways,
)

PLAIN, MATMUL = "plain loop", "matmul"
BATCH, FROZEN = "ours, batch norm: batch", "ours, batch norm: frozen"
STEPS = (PLAIN, BATCH, FROZEN)
NUM_CLASSES = 10
# A turn is as many steps as fill this time [s].
SECONDS_A_TURN = 4.0


@dataclass(frozen=True)
class Geometry:
    """What a model is measured on: clips (batch, 3, frames, side, side)."""

    frames: int
    side: int
    batch: int


GEOMETRIES: dict[ModelName, Geometry] = {
    "slowfast_r50": Geometry(frames=32, side=224, batch=2),
    "slowfast_shallow": Geometry(frames=16, side=64, batch=8),
}
# Measured against the plain loop and the matmul, by kind of device: there are none for the shallow
# model, whose layers are too small to fill a machine.
TIMES_PLAIN = {"cpu": 9.0, "cuda": 3.0}
OF_MATMUL = {"cpu": 0.7}
# Large enough for the peak of each kind of device; on a CPU more would only take longer.
MATMUL_SIZE = {"cpu": 4096, "cuda": 8192}


def run(*, models: Sequence[ModelName], batch: int | None, rounds: int, out: Path) -> None:
    """Measure each model, print tables, write step.json.

    Raises:
        ImpossibleFigureError: a step was faster than the machine's peak.
    """
    runtime = demo_params().runtime
    device = choose_device(runtime)
    precision = choose_precision(runtime, device)
    results: dict[str, Any] = {}
    targets: list[Target] = []
    for name in models:
        geometry = GEOMETRIES[name]
        if batch is not None:
            geometry = Geometry(geometry.frames, geometry.side, batch)
        bench = _Bench(name, geometry, device, precision)
        results[name] = bench.measure(rounds=rounds)
        if name != "slowfast_shallow" and precision == "bf16-mixed":
            targets += _targets(name, results[name], device)
    finish(
        "step",
        out=out,
        results={"device": _device_name(device), "precision": precision, "models": results},
        targets=targets,
    )


def _targets(name: str, result: Mapping[str, Any], device: torch.device) -> list[Target]:
    targets = []
    for ours in (BATCH, FROZEN):
        times = result["times the plain loop"][ours]["median"]
        targets.append(
            Target(f"{name}, {ours}: of the plain loop", TIMES_PLAIN[device.type], times)
        )
        if device.type in OF_MATMUL:
            share = result["of the matmul"][ours]
            targets.append(Target(f"{name}, {ours}: of matmul", OF_MATMUL[device.type], share))
    return targets


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


class _Bench:
    """One model's contenders on one device; each has a process and weights of its own.

    How a process treats freed memory is set once for all of it, and ours is not the plain loop's.
    """

    def __init__(
        self, name: ModelName, geometry: Geometry, device: torch.device, precision: Precision
    ) -> None:
        self._name = name
        self._geometry = geometry
        self._device = device
        self._precision = precision

    def measure(self, *, rounds: int) -> dict[str, Any]:
        """Time every contender in turn and print a table of them."""
        flops = 3 * self._forward_flops_a_clip()
        peak = conv_peak(self._device, self._precision)
        size = MATMUL_SIZE[self._device.type]
        with ExitStack() as stack:
            contenders: dict[str, Contender] = {
                name: stack.enter_context(
                    _in_a_process(name, self._name, self._geometry, self._device, self._precision)
                )
                for name in STEPS
            }
            contenders[MATMUL] = _turns(_matmul(size, self._device, self._precision), self._device)
            seconds = in_turn(contenders, rounds=rounds)
        matmul_rates = [2 * size**3 / turn for turn in seconds.pop(MATMUL)]
        per_clip = {
            name: [turn / self._geometry.batch for turn in turns] for name, turns in seconds.items()
        }
        peak = max(peak, conv_peak(self._device, self._precision), *matmul_rates)
        check_below_peak(
            {name: flops / statistics.median(turns) for name, turns in per_clip.items()}, peak
        )
        ratios = {name: speed_ratio(turns, per_clip[PLAIN]) for name, turns in per_clip.items()}
        shares = {
            name: statistics.median(
                flops / turn / rate for turn, rate in zip(turns, matmul_rates, strict=True)
            )
            for name, turns in per_clip.items()
        }
        rows = [
            [
                name,
                f"{statistics.median(turns):.3g}",
                _times(ratios[name]),
                f"{flops / statistics.median(turns) / 1e9:.0f}",
                f"{shares[name]:.2f}",
            ]
            for name, turns in per_clip.items()
        ]
        rows.append([MATMUL, "", "", f"{statistics.median(matmul_rates) / 1e9:.0f}", "1"])
        clip = f"{self._geometry.frames} × {self._geometry.side} × {self._geometry.side}"
        print(
            f"{self._name}: batches of {self._geometry.batch} clips of {clip}, "
            f"{flops / 1e9:.1f} GFLOP a clip and step; {_device_name(self._device)}, "
            f"ours and the matmul in {self._precision}; {rounds} rounds"
        )
        header = ["", "s/clip", "times the plain loop", "GFLOP/s", "of the matmul"]
        print(format_table(header, rows), end="\n\n", flush=True)
        return {
            **asdict(self._geometry),
            "GFLOP a clip and step": flops / 1e9,
            "seconds a clip": per_clip,
            "times the plain loop": {name: asdict(ratio) for name, ratio in ratios.items()},
            "matmul GFLOP/s": [rate / 1e9 for rate in matmul_rates],
            "of the matmul": shares,
            "peak GFLOP/s": peak / 1e9,
        }

    def _forward_flops_a_clip(self) -> float:
        """Of convolutions and linear layers, two for each multiply-add; fvcore counts one.

        A step is taken as three times that: forward, gradients of inputs, gradients of weights. It
        is about 2 % too many, as the clips themselves need no gradient.
        """
        from fvcore.nn import FlopCountAnalysis

        network = build_slowfast(self._name, num_classes=NUM_CLASSES).eval()
        side = self._geometry.side
        clip = torch.zeros(1, 3, self._geometry.frames, side, side)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counts = FlopCountAnalysis(network, (pack_pathways(clip),))
            by_operator = counts.unsupported_ops_warnings(False).by_operator()
        return 2 * float(by_operator["conv"] + by_operator["linear"])


@contextmanager
def _in_a_process(*arguments: Any) -> Iterator[Contender]:
    """A contender that lives in a process of its own until the end of the block."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()

    def turn() -> float:
        ours.send("go")
        return float(ours.recv())

    try:
        yield turn
    finally:
        ours.close()
        process.join()


def _serve(
    pipe: Connection,
    contender: str,
    name: ModelName,
    geometry: Geometry,
    device: torch.device,
    precision: Precision,
) -> None:
    """Run a turn for each message, until the other end is closed."""
    torch.manual_seed(0)
    shape = (geometry.batch, geometry.frames, geometry.side, geometry.side, 3)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8).to(device)
    labels = torch.randint(0, NUM_CLASSES, (geometry.batch,)).to(device)
    network = build_slowfast(name, num_classes=NUM_CLASSES)
    if contender == PLAIN:
        turn = _turns(_plain_step(network, clips, labels), device)
    else:
        turn = _our_turns(network, clips, labels, precision, frozen=contender == FROZEN)
    with suppress(EOFError):
        while pipe.recv():
            pipe.send(turn())


def _plain_step(network: nn.Module, clips: Tensor, labels: Tensor) -> Callable[[], object]:
    """pytorchvideo's model as it is built, on clips that are already normalised."""
    network.to(clips.device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    criterion = nn.CrossEntropyLoss()
    scaled = clips.permute(0, 4, 1, 2, 3).float() / 255
    pathways = pack_pathways(((scaled - MEAN) / STD).contiguous())

    def step() -> None:
        optimizer.zero_grad()
        loss = criterion(network(list(pathways)), labels)
        loss.backward()
        optimizer.step()

    return step


def _our_turns(
    network: nn.Module, clips: Tensor, labels: Tensor, precision: Precision, *, frozen: bool
) -> Contender:
    """Seconds a step of the training loop itself, on one batch that is in memory.

    Args:
        frozen: whether the statistics of the batch norms stand still.
    """
    batch = Batch(clips, labels)
    learner = resident_learner(network, precision, clips.device, frozen=frozen)
    return resident_turns(learner, batch, seconds=SECONDS_A_TURN)


def _matmul(size: int, device: torch.device, precision: Precision) -> Callable[[], object]:
    left, right = torch.randn(2, size, size, dtype=DTYPES[precision], device=device).unbind()
    return lambda: left @ right


def _turns(call: Callable[[], object], device: torch.device) -> Contender:
    """Seconds of a call, over as many as fill a turn."""

    def synchronise() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def turn() -> float:
        # Once before it counts, as in training one step follows another.
        call()
        synchronise()
        start = time.perf_counter()
        calls, seconds = 0, 0.0
        while seconds < SECONDS_A_TURN:
            call()
            synchronise()
            calls += 1
            seconds = time.perf_counter() - start
        return seconds / calls

    return turn


def _times(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f})"
