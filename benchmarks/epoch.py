"""An epoch from the cache, against one batch in memory, and against decoding on the fly."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.comparison import Contender, in_turn, speed_ratio
from benchmarks.drawn_videos import draw_video, write_copies
from benchmarks.on_the_fly import NaiveDecordDataset, loader_of
from benchmarks.report import Target, finish, format_table
from benchmarks.resident import epoch_seconds, resident_feed, resident_learner
from benchmarks.stage_inputs import demo_params, manifest_of, quiet
from slowfast_finetune.base.params import ModelName
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_reader import Batch
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.windows import MicroBatch
from slowfast_finetune.model.device import choose_device, choose_precision
from slowfast_finetune.model.slowfast import build_slowfast
from slowfast_finetune.training.training_data import EpochFeed, TrainingData

CACHE, JPEG, RESIDENT = "from the cache, raw", "from the cache, JPEG", "one batch in memory"
ON_THE_FLY = "decord in a DataLoader, {} workers"
TARGET = 1.03
SECONDS, WIDTH, HEIGHT = 10, 340, 256


@dataclass(frozen=True)
class Setting:
    """A model, and the epoch it is measured on.

    Attributes:
        sample_fps: frames taken a second; the drawn videos have 30.
        decord_width: what decord scales to [px]; at 96, the true one, its frames are padded and it
            fails to hand them out.
    """

    num_videos: int
    batch: int
    frames: int
    sample_fps: int
    short_side: int
    decord_width: int
    crop: int


SETTINGS: dict[ModelName, Setting] = {
    "slowfast_r50": Setting(8, 2, 32, 15, 256, 340, 224),
    "slowfast_shallow": Setting(96, 8, 16, 10, 72, 128, 64),
}


def run(*, models: Sequence[ModelName], rounds: int, out: Path) -> None:
    """Measure each model, print tables, write epoch.json."""
    # decord's own default: with less patience it gives up on sound videos.
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "10240")
    results: dict[str, Any] = {}
    targets = []
    for name in models:
        seconds = _measure(name, SETTINGS[name], rounds=rounds)
        ratios = {other: speed_ratio(seconds[CACHE], turns) for other, turns in seconds.items()}
        rows = [
            [
                other,
                f"{statistics.median(turns):.2f}",
                f"{ratios[other].median:.3f} ({ratios[other].lowest:.3f} to "
                f"{ratios[other].highest:.3f})",
            ]
            for other, turns in seconds.items()
        ]
        setting = SETTINGS[name]
        print(f"{name}: {setting.num_videos} videos of {SECONDS} s, batches of {setting.batch}")
        print(format_table(["", "seconds", "times the cache's"], rows), end="\n\n", flush=True)
        results[name] = {
            **asdict(setting),
            "seconds": seconds,
            "times the cache": {other: asdict(ratio) for other, ratio in ratios.items()},
        }
        for ours in (CACHE, JPEG):
            share = 1 / speed_ratio(seconds[ours], seconds[RESIDENT]).median
            targets.append(Target(f"{name}, {ours}: of {RESIDENT}", TARGET, share, at_most=True))
    finish("epoch", out=out, results=results, targets=targets)


def _measure(name: ModelName, setting: Setting, *, rounds: int) -> dict[str, list[float]]:
    params = demo_params(
        clip={
            "num_frames": setting.frames,
            "sample_fps": setting.sample_fps,
            "short_side": setting.short_side,
        },
        augment={"max_zoom": 1.0},
    )
    recipe = params.train.model_copy(
        update={"crop_size": setting.crop, "batch_size": setting.batch}
    )
    params = params.model_copy(update={"train": recipe})
    device = choose_device(params.runtime)
    learner = resident_learner(
        build_slowfast(name, num_classes=2),
        choose_precision(params.runtime, device),
        device,
        frozen=False,
    )
    with tempfile.TemporaryDirectory(prefix="epoch-") as folder:
        original = draw_video(
            Path(folder) / "drawn.mp4", width=WIDTH, height=HEIGHT, num_frames=30 * SECONDS
        )
        videos = write_copies(original, Path(folder) / "videos", count=setting.num_videos, first=0)
        manifest = manifest_of(videos, class_names=["a", "b"] * (len(videos) // 2))
        feeds = {}
        for contender, encoding in ((CACHE, "raw"), (JPEG, "jpeg")):
            clip = params.clip.model_copy(update={"encoding": encoding})
            store = ClipStore(Path(folder) / "store", clip)
            with quiet():
                rows, _ = cache_videos(
                    manifest,
                    params=params,
                    store=store,
                    project=Path(folder),
                )
            data = TrainingData(rows, rows, params, store.folder, learner.fabric)
            feeds[contender] = data.feed(1, size=setting.batch)
        feed = feeds[CACHE]
        feeds[RESIDENT] = resident_feed(next(iter(feed.batches())), steps=len(feed.steps))
        contenders: dict[str, Contender] = {
            contender: partial(epoch_seconds, learner, each) for contender, each in feeds.items()
        }
        for workers in (0, os.cpu_count() or 1):
            decoded = _decoding_feed(feed, videos, setting, num_workers=workers)
            contenders[ON_THE_FLY.format(workers)] = partial(epoch_seconds, learner, decoded)
        return in_turn(contenders, rounds=rounds)


def _decoding_feed(
    feed: EpochFeed, videos: Sequence[Path], setting: Setting, *, num_workers: int
) -> EpochFeed:
    """The same steps, whose clips are decoded when they are asked for."""
    dataset = NaiveDecordDataset(
        videos,
        num_frames=setting.frames,
        stride=30 // setting.sample_fps,
        width=setting.decord_width,
        height=setting.short_side,
        crop_size=setting.crop,
    )
    loader = loader_of(dataset, batch_size=setting.batch, num_workers=num_workers)

    def load(_: Sequence[MicroBatch]) -> Any:
        return _batches(loader)

    return EpochFeed(feed.steps, load)


def _batches(loader: Any) -> Iterator[Batch]:
    for clips, labels in loader:
        yield Batch(clips, labels)
