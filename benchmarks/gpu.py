"""What only a GPU can show: the same numbers as the CPU, speed, and whether clips come fast enough.

Every part runs in a forked process with a time limit, prints its lines as they come and leaves
its results in gpu.json at once: a failure, a hang or a broken CUDA context costs that part only.
On a machine without CUDA everything runs on the CPU: with ``--tiny`` in a minute, as a test.
"""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.comparison import in_turn, speed_ratio
from benchmarks.drawn_videos import draw_video, pictures, write_copies
from benchmarks.peak import check_below_peak, conv_peak
from benchmarks.report import finish, format_table
from benchmarks.resident import epoch_seconds, resident_feed, resident_learner
from benchmarks.stage_inputs import demo_params, manifest_of, quiet
from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.base.manifest_table import Split
from slowfast_finetune.base.params import ModelName, Params
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_reader import Batch
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.stored_frames import encode_jpeg
from slowfast_finetune.evaluation.evaluate import evaluate_checkpoint
from slowfast_finetune.exporting.model_export import export
from slowfast_finetune.model.checkpoint import load_checkpoint
from slowfast_finetune.model.device import Precision, make_fabric
from slowfast_finetune.model.slowfast import (
    MEAN,
    STD,
    ClipClassifier,
    build_slowfast,
    pack_pathways,
)
from slowfast_finetune.model.speed import fold_batch_norm, speed_up, to_channels_last, work_in_place
from slowfast_finetune.predicting.predictor import load_model
from slowfast_finetune.training import learner as learner_module
from slowfast_finetune.training.learner import Learner
from slowfast_finetune.training.memory import batch_size_that_fits, out_of_memory_advice
from slowfast_finetune.training.run import TrainingOutputs, TrainingRun
from slowfast_finetune.training.train import train_model
from slowfast_finetune.training.training_data import TrainingData

Results = dict[str, Any]
NUM_CLASSES = 10
# GFLOP of a clip and step: three times the forward pass, two for each multiply-add (fvcore).
GFLOP = {"slowfast_r50": 303.0, "slowfast_r101": 3 * 2 * 97.8}
SECONDS_A_FIGURE = 1.5


@dataclass(frozen=True)
class Bench:
    """Where and how large.

    Attributes:
        tiny: small clips and models, to test this benchmark on a CPU.
        rounds: of the contenders that run in turn.
    """

    device: torch.device
    folder: Path
    tiny: bool
    rounds: int

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def precisions(self) -> list[Precision]:
        """Those that the device has."""
        half: list[Precision] = ["bf16-mixed", "16-mixed"] if self.cuda else []
        return ["32-true", *half]

    def clips(self, count: int, *, side: int = 224) -> Tensor:
        """Random uint8 clips (count, 32, side, side, 3) on the device; small ones if tiny."""
        frames, side = (8, 32) if self.tiny else (32, side)
        shape = (count, frames, side, side, 3)
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return drawn.to(self.device)

    def network(self, name: ModelName) -> nn.Module:
        """A network with random weights, the same at each call; the shallow one if tiny."""
        torch.manual_seed(0)
        return build_slowfast("slowfast_shallow" if self.tiny else name, num_classes=NUM_CLASSES)

    def wait(self) -> None:
        """Until the device has computed everything."""
        if self.cuda:
            torch.cuda.synchronize(self.device)


def run(*, parts: Sequence[str], tiny: bool, minutes: float, rounds: int, out: Path) -> None:
    """Run the parts one after the other while there is time; write gpu.json after each."""
    # Counting asks the driver alone: the forked children need a parent without a CUDA context.
    has_cuda = torch.cuda.device_count() > 0
    ends = time.monotonic() + 60 * minutes
    results: Results = {"tiny": tiny}
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        bench = Bench(torch.device("cuda" if has_cuda else "cpu"), Path(folder), tiny, rounds)
        for name in parts or PARTS:
            left = ends - time.monotonic()
            print(f"\n== {name} ({left:.0f} s left)", flush=True)
            if left < 1:
                results[name] = {"error": "no time was left"}
                continue
            seconds, part = PARTS[name]
            results[name] = _in_a_child(
                partial(part, bench), min(left, seconds * (4 if tiny else 1))
            )
            with quiet():
                finish("gpu", out=out, results=results, targets=[])
    failed = [name for name in PARTS if "error" in results.get(name, {})]
    print(f"\nwritten to {out / 'gpu.json'}" + (f"; FAILED: {', '.join(failed)}" * bool(failed)))
    if failed:
        raise SystemExit(1)


def _in_a_child(part: Callable[[], Results], seconds: float) -> Results:
    """What a part gives, computed in a forked process that is killed after so many seconds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(theirs, part))
    child.start()
    theirs.close()
    started = time.monotonic()
    try:
        result: Results = ours.recv() if ours.poll(seconds) else {"error": "took too long"}
    except EOFError:
        result = {"error": "the process died"}
    child.join(5)
    child.kill()
    child.join()
    if "error" in result:
        print(f"FAILED: {result['error']}", flush=True)
    return {**result, "seconds of the part": time.monotonic() - started}


def _send(pipe: Any, part: Callable[[], Results]) -> None:
    try:
        result = part()
    except BaseException as error:  # whatever it is, it must cost this part alone
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"[:2000]}
    pipe.send(result)


def _say(*words: object) -> None:
    print("  ", *words, flush=True)


# ---- right: the same numbers as on the CPU ----------------------------------------------------


def right_numbers(bench: Bench) -> Results:
    """Logits of each precision, and one training step in fp32, against the CPU."""
    clips = bench.clips(2)
    reference = _logits(bench, clips.cpu(), "32-true", torch.device("cpu"))
    found: Results = {"largest logit": reference.abs().max().item()}
    for precision in bench.precisions:
        logits = _logits(bench, clips, precision, bench.device)
        found[f"logits, {precision}: largest difference"] = (logits - reference).abs().max().item()
    step = _step(bench, clips, bench.device)
    for name, value in _step(bench, clips, torch.device("cpu")).items():
        found[f"a step in fp32, {name}: CPU"] = value
        found[f"a step in fp32, {name}: device"] = step[name]
    for name, value in found.items():
        _say(f"{name}: {value:.6g}")
    if bench.cuda:
        found["device"] = torch.cuda.get_device_name(bench.device)
    return found


def _logits(bench: Bench, clips: Tensor, precision: Precision, device: torch.device) -> Tensor:
    network = bench.network("slowfast_r50").eval()
    speed_up(network)
    classifier = ClipClassifier(network).to(device)
    with torch.inference_mode(), make_fabric(device, precision).autocast():
        logits: Tensor = classifier(clips)
    return logits.cpu()


def _step(bench: Bench, clips: Tensor, device: torch.device) -> dict[str, float]:
    """Loss and gradient norm of a step in fp32 with the statistics of the batch."""
    learner = resident_learner(bench.network("slowfast_r50"), "32-true", device, frozen=False)
    learner.begin_epoch(1)
    for module in learner.classifier.modules():
        if isinstance(module, nn.Dropout):
            module.eval()  # a device draws random numbers of its own
    labels = torch.arange(len(clips), device=device)
    loss = learner.criterion(learner.classifier(clips.to(device)), labels).mean()
    loss.backward()
    gradients = [p.grad.norm() for p in learner.classifier.parameters() if p.grad is not None]
    return {"loss": loss.item(), "gradient norm": torch.stack(gradients).norm().item()}


def right_pipeline(bench: Bench) -> Results:
    """Train, interrupt and resume, evaluate, export, predict: the demo's model on drawn clips."""
    params, rows, store = _drawn_clips(bench, count=24, side=72, encoding="jpeg")
    found: Results = {}
    for precision in ("fp32", *(["bf16", "fp16"] if bench.cuda else [])):
        runtime = params.runtime.model_copy(update={"precision": precision})
        chosen = params.model_copy(update={"runtime": runtime})
        whole = bench.folder / f"whole-{precision}"
        resumed = bench.folder / f"resumed-{precision}"
        _train(rows, chosen, store, whole)
        with mock.patch.object(TrainingRun, "after_epoch", _interrupt(TrainingRun.after_epoch)):
            try:
                _train(rows, chosen, store, resumed)
            except KeyboardInterrupt:
                found[f"{precision}: interrupted after an epoch"] = True
        _train(rows, chosen, store, resumed)
        log = (resumed / "train.log").read_text(encoding="utf-8")
        found[f"{precision}: resumed"] = "resuming an unfinished run: 1 epochs" in log
        found[f"{precision}: largest difference of the weights"] = _difference(whole, resumed)
        _say({name: value for name, value in found.items() if name.startswith(precision)})
    trained = bench.folder / "whole-fp32/best.pt"
    probabilities = []
    for device in ("cpu", "auto"):
        runtime = params.runtime.model_copy(update={"device": device, "precision": "fp32"})
        with quiet():
            evaluate_checkpoint(
                rows,
                checkpoint_path=trained,
                params=params.model_copy(update={"runtime": runtime}),
                store=store,
                project=bench.folder,
                results=bench.folder / f"evaluated-{device}",
            )
        answer = load_model(trained, device=device, precision="fp32").predict(rows[0].video_path)
        probabilities.append(np.array(list(answer.probabilities.values())))
    difference = np.abs(probabilities[0] - probabilities[1]).max()
    found["predict: largest difference from the CPU"] = float(difference)
    for file_format in ("pt2", "onnx"):
        found[f"export to {file_format}"] = export(
            trained, file_format=file_format, project=bench.folder
        )
    _say({name: value for name, value in found.items() if name.startswith(("predict", "export"))})
    return found


def _train(rows: Sequence[ClipRow], params: Params, store: ClipStore, folder: Path) -> None:
    names = ("best.pt", "best_model.pt2", "history.csv", "train.json", "train.log", "events")
    outputs = TrainingOutputs(*(folder / name for name in names))
    with quiet():
        train_model(rows, params=params, store=store, project=folder, outputs=outputs)


def _interrupt(after_epoch: Callable[..., None]) -> Callable[..., None]:
    def interrupted(*arguments: Any, **named: Any) -> None:
        after_epoch(*arguments, **named)
        raise KeyboardInterrupt

    return interrupted


def _difference(one: Path, other: Path) -> float:
    states = [load_checkpoint(folder / "best.pt").model_state for folder in (one, other)]
    return max(
        (value.double() - states[1][name].double()).abs().max().item()
        for name, value in states[0].items()
    )


def right_memory(bench: Bench) -> Results:
    """The advice when a batch does not fit, and the batch size that is found."""
    if not bench.cuda:
        return {"left out": "needs CUDA"}
    fabric = make_fabric(bench.device, "bf16-mixed")
    network = bench.network("slowfast_r50")
    speed_up(network)
    classifier = ClipClassifier(network).to(bench.device).train()
    clip, criterion = bench.clips(1), nn.CrossEntropyLoss(reduction="none")
    found: Results = {}
    try:
        with out_of_memory_advice(2048, fabric), fabric.autocast():
            classifier(clip.expand(2048, *clip.shape[1:]))
    except TrainingError as error:
        found["advice"] = str(error)
    gc.collect()
    torch.cuda.empty_cache()
    found["clips at once of 1024"] = batch_size_that_fits(
        1024, classifier=classifier, clip=clip, criterion=criterion, fabric=fabric
    )
    _say(found)
    return found


# ---- fast: a training step, an answer ----------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """One way to compute a step of training.

    Attributes:
        plain: pytorchvideo's model as it is built, in a plain fp32 loop with Adam.
        compiled: the mode of torch.compile; None without it.
        graphed: forward and backward pass are recorded once as CUDA graphs.
    """

    name: str
    precision: Precision = "bf16-mixed"
    plain: bool = False
    tf32: bool = True
    frozen: bool = True
    folded: bool = True
    channels_last: bool = True
    cudnn_benchmark: bool = False
    compiled: str | None = None
    graphed: bool = False
    fused: bool = True


FIGURES = ("clips/s", "TFLOP/s", "MFU", "memory [GB]", "warm-up [s]")
PLAIN = Recipe("plain loop, fp32", "32-true", plain=True, tf32=False)
OURS = Recipe("ours, bf16")
GRAPHED = replace(OURS, name="ours, bf16, CUDA graphs", graphed=True)
# PyTorch's own default: its convolutions use TF32.
DEFAULT = replace(PLAIN, name="plain loop, fp32 with TF32", tf32=True)
RECIPES = (
    PLAIN,
    DEFAULT,
    Recipe("ours, fp32", "32-true", tf32=False),
    Recipe("ours, fp32 with TF32", "32-true"),
    OURS,
    replace(OURS, name="ours, fp16", precision="16-mixed"),
    replace(OURS, name="ours, bf16, batch statistics", frozen=False),
    replace(OURS, name="ours, bf16, not folded", folded=False),
    replace(OURS, name="ours, bf16, contiguous", channels_last=False),
    replace(OURS, name="ours, bf16, optimiser not fused", fused=False),
    GRAPHED,
)
# cuDNN keeps what it chose for a shape as long as a process lives: these have a part of their own.
TUNED = tuple(
    replace(recipe, name=f"{recipe.name}, cudnn.benchmark", cudnn_benchmark=True)
    for recipe in (OURS, GRAPHED)
)
COMPILED = tuple(
    replace(OURS, name=f"ours, bf16, compiled, {mode}", compiled=mode)
    for mode in ("default", "reduce-overhead")
)


def fast_steps(
    bench: Bench, *, name: ModelName, recipes: Sequence[Recipe], sizes: Sequence[int]
) -> Results:
    """Clips a second of a step by recipe and batch size, TFLOP/s and share of the peak, memory."""
    flops = 0.0 if bench.tiny else GFLOP[name] * 1e9
    seconds = 0.1 if bench.tiny else 1.0
    peaks = {kind: conv_peak(bench.device, kind, seconds=seconds) for kind in bench.precisions}
    matmul = _matmul_peak(bench)
    _say(f"peaks [TFLOP/s]: matmul {matmul / 1e12:.1f}", _in_tera(peaks))
    rows: list[list[str]] = []
    steps: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for size in [2] if bench.tiny else sizes:
        for recipe in recipes:
            if not bench.cuda and (recipe.precision != "32-true" or recipe.graphed):
                continue
            try:
                with _settings(recipe):
                    rate, memory, warm_up = _clips_a_second(bench, name, recipe, size)
            except torch.OutOfMemoryError:
                _say(f"{recipe.name}, {size} clips: does not fit")
                continue
            except Exception as error:  # a recipe that fails must not cost the others
                reason = " ".join(str(error).split())[:300]
                _say(f"{recipe.name}, {size} clips: {type(error).__name__}: {reason}")
                failed[f"{recipe.name}, {size} clips"] = reason
                continue
            finally:
                gc.collect()
                torch.cuda.empty_cache()
            values = (rate, rate * flops / 1e12, rate * flops / matmul, memory, warm_up)
            figures = dict(zip(FIGURES, values, strict=True))
            steps[f"{recipe.name}, {size} clips"] = figures
            rows.append([recipe.name, str(size), *(f"{value:.3g}" for value in figures.values())])
            _say(*rows[-1])
    # TF32 and fp32 differ by much: only the fastest of all peaks is a bound that holds for each.
    rates = {key: figures["clips/s"] * flops for key, figures in steps.items()}
    check_below_peak(rates, max(matmul, *peaks.values()))
    print(format_table([name, "batch", *FIGURES], rows))
    return {"matmul": matmul, "convolution": peaks, "steps": steps, "failed": failed}


def _in_tera(rates: dict[Precision, float]) -> dict[str, float]:
    return {name: round(rate / 1e12, 2) for name, rate in rates.items()}


def _matmul_peak(bench: Bench) -> float:
    size = 8192 if bench.cuda else 512
    dtype = torch.bfloat16 if bench.cuda else torch.float32
    left, right = torch.randn(2, size, size, dtype=dtype, device=bench.device).unbind()
    return 2 * size**3 / _seconds_a_call(bench, lambda: left @ right)


@contextmanager
def _settings(recipe: Recipe) -> Iterator[None]:
    """TF32, cudnn.benchmark and the parts of ``speed_up`` as a recipe wants them."""

    def prepared(network: nn.Module) -> None:
        if recipe.folded:
            fold_batch_norm(network)
        work_in_place(network)
        if recipe.channels_last:
            to_channels_last(network)

    torch.set_float32_matmul_precision("high" if recipe.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = recipe.tf32
    torch.backends.cudnn.benchmark = recipe.cudnn_benchmark
    with mock.patch.object(learner_module, "speed_up", prepared):
        yield


def _clips_a_second(
    bench: Bench, name: ModelName, recipe: Recipe, size: int
) -> tuple[float, float, float]:
    """Clips a second, the peak of memory [GB], and seconds of the first steps."""
    clips = bench.clips(size)
    labels = torch.arange(size, device=bench.device) % NUM_CLASSES
    network = bench.network(name)
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    if recipe.plain:
        step = _plain_step(network.to(bench.device), clips, labels)
    else:
        learner = resident_learner(network, recipe.precision, bench.device, frozen=recipe.frozen)
        if not recipe.fused:
            for group in learner.optimizer.param_groups:
                group.update(fused=False, foreach=True)
        if recipe.compiled is not None:
            learner.compiled = cast(
                "nn.Module",
                torch.compile(
                    learner.classifier, dynamic=False, fullgraph=True, mode=recipe.compiled
                ),
            )
        if recipe.graphed:
            learner.compiled = _graphed(learner, clips)
        feed = resident_feed(Batch(clips, labels), steps=4)
        step = partial(epoch_seconds, learner, feed)
    started = time.perf_counter()
    step()
    bench.wait()
    warm_up = time.perf_counter() - started
    seconds = _seconds_a_call(bench, step) / (1 if recipe.plain else 4)
    memory = torch.cuda.max_memory_allocated() / 1e9 if bench.cuda else float("nan")
    return size / seconds, memory, warm_up


def _graphed(learner: Learner, clips: Tensor) -> nn.Module:
    """The classifier with its forward and backward pass recorded for clips of this shape."""
    learner.begin_epoch(1)
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        return cast(
            "nn.Module", torch.cuda.make_graphed_callables(learner.classifier, (clips.clone(),))
        )


def _plain_step(network: nn.Module, clips: Tensor, labels: Tensor) -> Callable[[], object]:
    """A step of what people write: the model as it is built, Adam, clips normalised already."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
    scaled = clips.permute(0, 4, 1, 2, 3).float() / 255
    pathways = pack_pathways(((scaled - MEAN) / STD).contiguous())

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(list(pathways)), labels).backward()
        optimizer.step()

    return step


def _seconds_a_call(bench: Bench, call: Callable[[], object]) -> float:
    """Mean seconds of a call over as many as fill some time, after one more."""
    call()
    bench.wait()
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < (0.1 if bench.tiny else SECONDS_A_FIGURE):
        call()
        calls += 1
        if calls % 4 == 0:  # a GPU is asked for work faster than it does it
            bench.wait()
    bench.wait()
    return (time.perf_counter() - started) / calls


def fast_profile(bench: Bench) -> Results:
    """Where the time of a step goes: the kernels that take most of it, and the time without any."""
    size = 2 if bench.tiny else 16
    learner = resident_learner(
        bench.network("slowfast_r50"), bench.precisions[:2][-1], bench.device, frozen=True
    )
    clips, labels = bench.clips(size), torch.arange(size, device=bench.device) % NUM_CLASSES
    feed = resident_feed(Batch(clips, labels), steps=4)
    epoch_seconds(learner, feed)
    activity = torch.profiler.ProfilerActivity
    kind = activity.CUDA if bench.cuda else activity.CPU
    with torch.profiler.profile(activities=[kind]) as profile:
        seconds = epoch_seconds(learner, feed)
    events = profile.key_averages()
    spent = {
        event.key: (event.self_device_time_total if bench.cuda else event.self_cpu_time_total) / 4e3
        for event in events
        if "#" not in event.key  # the optimiser's step is there twice: as its name and its kernels
    }
    calls = {event.key: event.count / 4 for event in events if event.key in spent}
    top = sorted(spent, key=spent.__getitem__, reverse=True)[:40]
    _say(f"a step takes {seconds / 4 * 1e3:.1f} ms, of which {sum(spent.values()):.1f} ms in")
    _say(f"{sum(calls.values()):.0f} kernels")
    for name in top:
        _say(f"{spent[name]:8.2f} ms {calls[name]:6.0f} calls  {name[:110]}")
    return {
        "milliseconds": seconds / 4 * 1e3,
        "in kernels": sum(spent.values()),
        "kernels": {name: [spent[name], calls[name]] for name in top},
    }


def fast_answers(bench: Bench) -> Results:
    """Clips a second without gradients, 30 views of 256 px of a video, by precision and folding."""
    clips = bench.clips(30, side=256)
    found: Results = {}
    for precision in bench.precisions:
        for speed in (False, True):
            network = bench.network("slowfast_r50").eval()
            if speed:
                speed_up(network)
            classifier = ClipClassifier(network).to(bench.device)
            with torch.inference_mode(), make_fabric(bench.device, precision).autocast():
                rate = len(clips) / _seconds_a_call(bench, partial(classifier, clips))
            name = f"{precision}, {'ours' if speed else 'as it is built'}"
            found[name] = {"clips/s": rate, "videos of 30 views/s": rate / 30}
            _say(f"{name}: {rate:.1f} clips/s, {rate / 30:.2f} videos/s")
    return found


# ---- fed: clips from the store -----------------------------------------------------------------


def fed_epoch(bench: Bench) -> Results:
    """An epoch of R50 from the store, raw and JPEG, against one batch in memory."""
    size = 2 if bench.tiny else 16
    learner = resident_learner(
        bench.network("slowfast_r50"), bench.precisions[:2][-1], bench.device, frozen=True
    )
    feeds = {}
    for encoding in ("raw", "jpeg"):
        count = 8 if bench.tiny else 512
        side = 72 if bench.tiny else 256
        params, rows, store = _drawn_clips(bench, count=count, side=side, encoding=encoding)
        params = params.model_copy(
            update={"train": params.train.model_copy(update={"batch_size": size})}
        )
        data = TrainingData(rows, rows, params, store.folder, learner.fabric)
        feeds[encoding] = data.feed(1, size=size)
    batch = next(iter(feeds["raw"].batches()))
    feeds["one batch in memory"] = resident_feed(
        Batch(*(part.to(bench.device) for part in batch)), steps=len(feeds["raw"].steps)
    )
    seconds = in_turn(
        {name: partial(epoch_seconds, learner, feed) for name, feed in feeds.items()},
        rounds=bench.rounds,
    )
    memory = seconds["one batch in memory"]
    found: Results = {"seconds": seconds}
    for name, turns in seconds.items():
        share = 1 / speed_ratio(turns, memory).median
        rate = size * len(feeds["raw"].steps) / statistics.median(turns)
        found[name] = {"of one batch in memory": share, "clips/s": rate}
        _say(f"{name}: {rate:.1f} clips/s, {share:.3f} of one batch in memory")
    return found


def fed_jpeg(bench: Bench) -> Results:
    """JPEG frames of 340×256 decoded a second: torchvision on the device, simplejpeg on a core."""
    import simplejpeg

    from slowfast_finetune.model.library_imports import import_torchvision

    import_torchvision()
    count = 8 if bench.tiny else 512
    jpegs = [encode_jpeg(frame, quality=90) for frame in pictures(340, 256, count, fps=15)]
    tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in jpegs]

    def on_a_core() -> None:
        for data in jpegs:
            simplejpeg.decode_jpeg(data)

    found: Results = {"simplejpeg, one core": count / _seconds_a_call(bench, on_a_core)}
    _say(f"simplejpeg, one core: {found['simplejpeg, one core']:.0f} frames/s")
    if bench.cuda:
        from torchvision.io import decode_jpeg

        call = partial(decode_jpeg, tensors, device=bench.device)
        found["torchvision on the GPU"] = count / _seconds_a_call(bench, call)
        _say(f"torchvision on the GPU: {found['torchvision on the GPU']:.0f} frames/s")
    return found


def _drawn_clips(
    bench: Bench, *, count: int, side: int, encoding: str
) -> tuple[Params, list[ClipRow], ClipStore]:
    """Drawn videos in a clip store, a third of them for each split, of two classes."""
    small = side < 200
    params = demo_params(
        clip={
            "num_frames": 16 if small else 32,
            "sample_fps": 15,
            "short_side": side,
            "encoding": encoding,
        },
        train={"epochs": 2, "warmup_epochs": 1, "batch_size": 4},
        runtime={"num_workers": "auto"},
    )
    crop = {"crop_size": 64 if small else 224}
    params = params.model_copy(update={"train": params.train.model_copy(update=crop)})
    folder = bench.folder / f"videos-{side}"
    if not folder.exists():
        width, frames = round(side * 4 / 3) // 2 * 2, 60 if small else 120
        original = draw_video(folder / "drawn.mp4", width=width, height=side, num_frames=frames)
        write_copies(original, folder / "copies", count=count, first=0)
    videos = sorted((folder / "copies").iterdir())
    manifest = manifest_of(videos, class_names=["a", "b"] * (len(videos) // 2))
    splits: tuple[Split, ...] = ("train", "train", "val", "val", "test", "test")
    store = ClipStore(bench.folder / "store", params.clip)
    with quiet():
        rows, _ = cache_videos(
            [row._replace(split=splits[at % 6]) for at, row in enumerate(manifest)],
            params=params,
            store=store,
            project=bench.folder,
        )
    return params, rows, store


# Seconds that a part may take, and the part; the most telling first.
PARTS: dict[str, tuple[float, Callable[[Bench], Results]]] = {
    "right_numbers": (60, right_numbers),
    "fast_r50": (120, partial(fast_steps, name="slowfast_r50", recipes=RECIPES, sizes=[16])),
    "fed_epoch": (90, fed_epoch),
    "right_memory": (30, right_memory),
    "right_pipeline": (90, right_pipeline),
    "fast_profile": (60, fast_profile),
    "fast_answers": (40, fast_answers),
    "fast_r50_sizes": (
        60,
        partial(
            fast_steps, name="slowfast_r50", recipes=[DEFAULT, OURS, GRAPHED], sizes=[4, 8, 32, 64]
        ),
    ),
    "fed_jpeg": (20, fed_jpeg),
    "fast_r101": (
        60,
        partial(fast_steps, name="slowfast_r101", recipes=[DEFAULT, OURS, GRAPHED], sizes=[16]),
    ),
    "fast_r50_tuned": (60, partial(fast_steps, name="slowfast_r50", recipes=TUNED, sizes=[16])),
    "fast_r50_compiled": (
        240,
        partial(fast_steps, name="slowfast_r50", recipes=COMPILED, sizes=[16]),
    ),
}
