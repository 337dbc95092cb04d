"""Seconds of index and cache when nothing changed, or one video came or went, as N grows."""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.comparison import slope, timed
from benchmarks.drawn_videos import draw_video, write_copies
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import PROJECT, changed_values

CLASS_NAMES = ("clap", "jump")
CASES = ("nothing changed", "one added", "one removed")
TARGET_VIDEOS, TARGET_SECONDS = 10_000, 5.0


@dataclass(frozen=True)
class Timing:
    """Seconds of each stage, as a person waits for it: Python's start is in them."""

    index: float
    cache: float

    @property
    def both(self) -> float:
        """Seconds of index and cache together."""
        return self.index + self.cache


def run(*, sizes: Sequence[int], rounds: int, out: Path) -> None:
    """Grow one collection through the sizes, measure at each, write incremental.json."""
    results: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="incremental-") as folder:
        collection = _Collection(Path(folder))
        for size in sorted(sizes):
            results[size] = _measure(collection, size, rounds=rounds)
    rows = [
        [f"{size:,}", *(_cell(result[case]) for case in (*CASES, "hashing alone"))]
        for size, result in results.items()
    ]
    print("seconds of index + cache (of index alone)")
    print(format_table(["videos", *CASES, "hashing the files alone"], rows), end="\n\n")
    growth = _growth(results)
    for case, seconds in growth.items():
        print(f"{case}: {seconds * 1000:.3f} ms for each video there is")
    largest = max(results)
    added = results[largest]["one added"]["both"]
    targets = [Target(f"one added at {largest:,}, seconds", TARGET_SECONDS, added, at_most=True)]
    if largest != TARGET_VIDEOS:
        print(f"the target is meant for {TARGET_VIDEOS:,} videos")
    report = {"by number of videos": results, "seconds a video": growth}
    finish("incremental", out=out, results=report, targets=targets)


def _cell(result: dict[str, float]) -> str:
    if "index" not in result:
        return f"{result['both']:.2f}"
    return f"{result['both']:.2f} ({result['index']:.2f})"


def _growth(results: dict[int, dict[str, Any]]) -> dict[str, float]:
    """Seconds that one more video costs in each case."""
    if len(results) < 2:
        return {}
    sizes = list(results)
    return {case: slope(sizes, [results[size][case]["both"] for size in sizes]) for case in CASES}


def _measure(collection: _Collection, size: int, *, rounds: int) -> dict[str, Any]:
    collection.grow_to(size)
    first = collection.run_stages()
    print(f"{size:,} videos, first run: index {first.index:.1f} s, cache {first.cache:.1f} s")
    timings: dict[str, list[Timing]] = {case: [] for case in CASES}
    hashing = []
    for _ in range(rounds):
        timings["nothing changed"].append(collection.run_stages())
        collection.grow_to(size + 1)
        timings["one added"].append(collection.run_stages())
        collection.remove_last()
        timings["one removed"].append(collection.run_stages())
        hashing.append(collection.hash_alone())
    result: dict[str, Any] = {"first run": {"index": first.index, "cache": first.cache}}
    for case, times in timings.items():
        result[case] = {
            "index": statistics.median(timing.index for timing in times),
            "cache": statistics.median(timing.cache for timing in times),
            "both": statistics.median(timing.both for timing in times),
            "lowest": min(timing.both for timing in times),
            "highest": max(timing.both for timing in times),
        }
    result["hashing alone"] = {"both": statistics.median(hashing)}
    return result


class _Collection:
    """A project folder with tiny videos, each of its own content, and a clip store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._videos: list[Path] = []
        self._original = draw_video(folder / "tiny.mp4", width=32, height=24, num_frames=8, fps=15)
        values = changed_values(
            data={"videos": "videos", "extensions": [".mp4"], "group_pattern": None},
            clip={"num_frames": 8, "sample_fps": 15, "short_side": 32, "max_seconds": 10},
        )
        text = yaml.safe_dump(values, sort_keys=False)
        (folder / "params.yaml").write_text(text, encoding="utf-8")

    def grow_to(self, size: int) -> None:
        """Add videos until there are so many, to the classes in turn."""
        for mark in range(len(self._videos), size):
            folder = self._folder / "videos" / CLASS_NAMES[mark % len(CLASS_NAMES)]
            self._videos += write_copies(self._original, folder, count=1, first=mark)

    def remove_last(self) -> None:
        """Delete the video that was added last; its entry stays in the store, as it would."""
        self._videos.pop().unlink()

    def run_stages(self) -> Timing:
        """Run both stages as DVC would."""
        return Timing(index=self._run("index.py"), cache=self._run("cache.py"))

    def _run(self, stage: str) -> float:
        with timed() as watch:
            done = subprocess.run(
                [sys.executable, str(PROJECT / "stages" / stage)],
                cwd=self._folder,
                env={**os.environ, "CLIP_STORE": str(self._folder / "clips")},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise SystemExit(f"error: stages/{stage} failed: {done.stderr[-2000:]}")
        return watch.seconds

    def hash_alone(self) -> float:
        """Read and hash every video in a plain loop: what knowing of a change costs at most."""
        with timed() as watch:
            for video in self._videos:
                hashlib.blake2b(video.read_bytes(), digest_size=16).hexdigest()
        return watch.seconds
