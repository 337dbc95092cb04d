"""Clips a second from the cache, against decoding on the fly and against memcpy."""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.comparison import Contender, Ratio, in_turn, speed_ratio, timed
from benchmarks.drawn_videos import draw_video, write_copies
from benchmarks.on_the_fly import NaiveDecordDataset, loader_of, pytorchvideo_dataset
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import demo_params, manifest_of, quiet
from slowfast_finetune.base.params import ClipShape
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_reader import ClipLoader, ClipReader
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.stored_frames import HEADER_BYTES
from slowfast_finetune.clips.windows import Window, plan_training_epoch
from slowfast_finetune.video_folder import VideoFolderDataset

NUM_FRAMES, SAMPLE_FPS, STRIDE, SECONDS = 32, 15, 2, 10
CROP, SHORT_SIDE, BATCH = 224, 256, 8
TARGET_CROP, TARGET_WHOLE = 0.35, 0.7
TARGETS_ON_THE_FLY = {"340x256": 100.0, "1280x720": 300.0}
# A pass over a few clips takes milliseconds; this many are read to time one.
CLIPS_A_TURN = 128
CACHE, GATHER = "cache", "cache, without the loader's thread"
MEMCPY, MEMCPY_NEW = "memcpy, into one buffer", "memcpy, into a new buffer for each batch"


@dataclass(frozen=True)
class Cached:
    """Videos and their clips in a store."""

    name: str
    videos: list[Path]
    rows: list[ClipRow]
    store: ClipStore


def run(*, count: int, rounds: int, out: Path) -> None:
    """Measure each size, print tables, write reader.json."""
    torch.set_num_threads(1)
    # decord's own default: with less patience it gives up on sound videos.
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "10240")
    results: dict[str, Any] = {}
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="reader-") as folder:
        for size in TARGETS_ON_THE_FLY:
            cached = _cached(Path(folder) / size, size, count)
            result = {
                "copying": _copying(cached, CROP, rounds=3 * rounds),
                "on the fly": _on_the_fly(cached, rounds=rounds),
            }
            results[size] = result
            targets += _targets(size, result)
        square = _cached(Path(folder) / "square", f"{SHORT_SIDE}x{SHORT_SIDE}", count)
        whole = _copying(square, SHORT_SIDE, rounds=3 * rounds)
        results[square.name] = {"copying": whole}
        ratio = whole["ratios"][MEMCPY]["median"]
        targets.append(Target("whole windows, of memcpy", TARGET_WHOLE, ratio))
    finish("reader", out=out, results=results, targets=targets)


def _targets(size: str, result: Mapping[str, Any]) -> list[Target]:
    naive = min(
        ratio["median"]
        for name, ratio in result["on the fly"]["ratios"].items()
        if name.startswith("decord")
    )
    memcpy = result["copying"]["ratios"][MEMCPY]["median"]
    return [
        Target(f"{size}: crops, of memcpy", TARGET_CROP, memcpy),
        Target(f"{size}: times decoding on the fly", TARGETS_ON_THE_FLY[size], naive),
    ]


def _cached(folder: Path, size: str, count: int) -> Cached:
    width, height = (int(side) for side in size.split("x"))
    original = draw_video(folder / "drawn.mp4", width=width, height=height, num_frames=SECONDS * 30)
    videos = write_copies(original, folder / "videos" / "drawn", count=count)
    params = demo_params(
        clip={
            "num_frames": NUM_FRAMES,
            "sample_fps": SAMPLE_FPS,
            "short_side": SHORT_SIDE,
            "max_seconds": 60,
        }
    )
    store = ClipStore(folder / "clips", params.clip)
    with quiet():
        rows, _ = cache_videos(
            manifest_of(videos, class_names=["drawn"] * count),
            params=params,
            store=store,
            project=folder,
        )
    return Cached(size, videos, rows, store)


def _copying(cached: Cached, crop_size: int, *, rounds: int) -> dict[str, Any]:
    """The reader against memcpy, for as many clips as make a turn long enough to time."""
    plan = _plan(cached.rows, crop_size, epochs=CLIPS_A_TURN)
    reader = ClipReader(
        cached.rows, folder=cached.store.folder, shape=ClipShape(NUM_FRAMES, crop_size)
    )
    entries = [
        np.memmap(cached.store.path(row.content_hash), np.uint8, "r", HEADER_BYTES)
        for row in cached.rows
    ]
    clip_bytes = NUM_FRAMES * crop_size * crop_size * 3
    contenders: dict[str, Contender] = {
        CACHE: lambda: _consume(ClipLoader(reader, plan)),
        GATHER: lambda: _consume(map(reader.gather, plan)),
        MEMCPY: lambda: _memcpy(entries, plan, clip_bytes, reuse=True),
        MEMCPY_NEW: lambda: _memcpy(entries, plan, clip_bytes, reuse=False),
    }
    seconds = in_turn(contenders, rounds=rounds)
    num_clips = sum(len(batch) for batch in plan)
    return _table(
        f"{cached.name}: {num_clips} windows of {NUM_FRAMES} frames of {crop_size} px",
        {name: (num_clips, times) for name, times in seconds.items()},
        bytes_a_clip=clip_bytes,
    )


def _plan(rows: Sequence[ClipRow], crop_size: int, *, epochs: int) -> list[Sequence[Window]]:
    params = demo_params(augment={"max_zoom": 1.0}, train={"batch_size": BATCH})
    shape = ClipShape(NUM_FRAMES, crop_size)
    return [
        step.windows
        for epoch in range(-(-epochs // len(rows)))
        for step in plan_training_epoch(rows, params.train, params.augment, shape, epoch=epoch)
    ]


def _consume(batches: Iterable[Any]) -> float:
    gc.collect()
    with timed() as watch:
        for _ in batches:
            pass
    return watch.seconds


def _memcpy(
    entries: Sequence[npt.NDArray[np.uint8]],
    plan: Sequence[Sequence[Window]],
    clip_bytes: int,
    *,
    reuse: bool,
) -> float:
    """Copy as many bytes, each clip in one piece, from the mapped entries to a batch."""
    buffer = torch.empty((max(map(len, plan)), clip_bytes), dtype=torch.uint8)
    with timed() as watch:
        for batch in plan:
            if not reuse:
                buffer = torch.empty((len(batch), clip_bytes), dtype=torch.uint8)
            target = buffer.numpy()
            for position, window in enumerate(batch):
                entry = entries[window.clip]
                start = min(window.start * 3 * SHORT_SIDE * SHORT_SIDE, len(entry) - clip_bytes)
                np.copyto(target[position], entry[start : start + clip_bytes])
    return watch.seconds


def _on_the_fly(cached: Cached, *, rounds: int) -> dict[str, Any]:
    """The reader against datasets that decode, one pass over the videos each."""
    num_clips = len(cached.videos)
    plan = _plan(cached.rows, CROP, epochs=CLIPS_A_TURN)
    reader = ClipReader(cached.rows, folder=cached.store.folder, shape=ClipShape(NUM_FRAMES, CROP))

    def from_cache() -> float:
        # Once before it counts: the others take so long that the kernel may have taken back the
        # pages meanwhile. In training nothing lies between one batch and the next.
        _consume(ClipLoader(reader, plan))
        return _consume(ClipLoader(reader, plan))

    contenders: dict[str, Contender] = {CACHE: from_cache}
    row = cached.rows[0]
    naive = NaiveDecordDataset(
        cached.videos,
        num_frames=NUM_FRAMES,
        stride=STRIDE,
        width=row.width,
        height=row.height,
        crop_size=CROP,
    )
    ours = VideoFolderDataset(
        cached.videos[0].parents[1],
        num_frames=NUM_FRAMES,
        sample_fps=SAMPLE_FPS,
        short_side=SHORT_SIDE,
        crop_size=CROP,
    )
    for workers in (0, 2):
        contenders[f"decord in a DataLoader, {workers} workers"] = _pass_over(naive, workers)
    contenders["VideoFolderDataset, 0 workers"] = _pass_over(ours, 0)
    complaint = _pytorchvideo_complaint(cached.videos)
    if complaint is None:
        contenders["pytorchvideo's dataset, 0 workers"] = lambda: _consume(
            pytorchvideo_dataset(cached.videos, clip_seconds=NUM_FRAMES / SAMPLE_FPS)
        )
    seconds = in_turn(contenders, rounds=rounds)
    counts = dict.fromkeys(contenders, num_clips)
    counts[CACHE] = sum(len(batch) for batch in plan)
    result = _table(
        f"{cached.name}: on the fly",
        {name: (counts[name], seconds[name]) for name in contenders},
    )
    if complaint is not None:
        print(f"pytorchvideo's dataset does not run here: {complaint}\n")
    return {**result, "pytorchvideo": complaint or "runs"}


def _pass_over(dataset: Any, num_workers: int) -> Contender:
    loader = loader_of(dataset, batch_size=BATCH, num_workers=num_workers)
    return lambda: _consume(loader)


def _pytorchvideo_complaint(videos: Sequence[Path]) -> str | None:
    """Why pytorchvideo's dataset does not run here; None if it does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pytorchvideo_dataset(videos, clip_seconds=NUM_FRAMES / SAMPLE_FPS)
            next(iter(dataset))
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return None


def _table(
    title: str, timings: Mapping[str, tuple[int, list[float]]], *, bytes_a_clip: int | None = None
) -> dict[str, Any]:
    """Print clips a second and how many times faster the cache is; the same for the JSON."""
    per_clip = {
        name: [turn / clips for turn in seconds] for name, (clips, seconds) in timings.items()
    }
    ratios = {name: speed_ratio(per_clip[CACHE], times) for name, times in per_clip.items()}
    print(title)
    rows = []
    for name, times in per_clip.items():
        middle = statistics.median(times)
        row = [name, f"{1 / middle:.1f}", _times(ratios[name])]
        rows.append(row if bytes_a_clip is None else [*row, f"{bytes_a_clip / middle / 1e9:.1f}"])
    header = ["", "clips/s", "the cache is so many times as fast"]
    print(format_table(header if bytes_a_clip is None else [*header, "GB/s"], rows))
    print(flush=True)
    return {
        "seconds_a_clip": per_clip,
        "ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
    }


def _times(ratio: Ratio) -> str:
    return f"{ratio.median:.3g} ({ratio.lowest:.3g} to {ratio.highest:.3g})"
