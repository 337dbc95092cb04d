"""What index and cache cost as a collection grows: seconds, memory, tables, the first clips."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shlex
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
from benchmarks.stage_inputs import DVC, PROJECT, changed_values, new_project

CLASS_NAMES = ("clap", "jump")
CASES = ("nothing changed", "one added", "one removed")
# What benchmarks.epoch_start prints of reading an epoch.
READING = ("first batch [s]", "clips/s", "after it [MB]", "at the end [MB]")
TABLES = ("manifest.csv", "clips.csv")
TARGET_VIDEOS, TARGET_SECONDS = 10_000, 5.0


@dataclass(frozen=True)
class Timing:
    """Seconds of each stage, as a person waits for it: Python's start is in them.

    Attributes:
        peak_mb: the larger of both stages' peaks of resident memory, worker processes aside [MB].
    """

    index: float
    cache: float
    peak_mb: float = 0.0

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
    header = ["videos", "first run [s]", "peak [MB]", "tables [MB]", "DVC's share [s]", *READING]
    header += ["evaluate [MB]", "report [MB]"]
    print(format_table(header, [_further_row(*item) for item in results.items()]), end="\n\n")
    growth = _growth(results)
    for case, seconds in growth.items():
        print(f"{case}: {seconds * 1000:.3f} ms for each video there is")
    largest = max(results)
    added = results[largest]["one added"]["both"]
    targets = [Target(f"one added at {largest:,}, seconds", TARGET_SECONDS, added, at_most=True)]
    if largest != TARGET_VIDEOS:
        print(f"the target is meant for {TARGET_VIDEOS:,} videos")
    if len(results) > 1:
        slowest = max(growth.values()) / 2 * 1000  # two stages
        targets.append(Target("ms for one more video and stage", 1.0, slowest, at_most=True))
    report = {"by number of videos": results, "seconds a video": growth}
    finish("incremental", out=out, results=report, targets=targets)


def _cell(result: dict[str, float]) -> str:
    if "index" not in result:
        return f"{result['both']:.2f}"
    return f"{result['both']:.2f} ({result['index']:.2f})"


def _further_row(size: int, result: dict[str, Any]) -> list[str]:
    first = result["first run"]
    return [
        f"{size:,}",
        f"{first['index'] + first['cache']:.0f}",
        f"{result['peak_mb']:.0f}",
        f"{result['tables_mb']:.2f}",
        f"{result['dvc']:.1f}",
        *(f"{result['reading'][name]:.2f}" for name in READING),
        *(f"{peak:.0f}" for peak in result["later_mb"].values()),
    ]


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
    result: dict[str, Any] = {
        "first run": {"index": first.index, "cache": first.cache},
        "peak_mb": max(timing.peak_mb for times in timings.values() for timing in times),
        "tables_mb": collection.tables_mb(),
        "dvc": collection.dvc_share(),
        "reading": collection.read_epoch(),
        "later_mb": collection.later_peaks(),
    }
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
            clip={
                "num_frames": 8,
                "sample_fps": 15,
                "short_side": 32,
                "max_seconds": 10,
                "encoding": "jpeg",
            },
            train={"epochs": 1, "warmup_epochs": 0},
            evaluate={"temporal_views": 1},
        )
        self._environment = new_project(folder, values)
        for command in (["git", "init", "--quiet"], [*DVC, "init", "--quiet"]):
            self._wait_for(command)

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
        seconds, peaks = {}, []
        for stage in ("index", "cache"):
            with timed() as watch:
                usage = self._wait_for([sys.executable, f"stages/{stage}.py"])
            seconds[stage] = watch.seconds
            peaks.append(usage.ru_maxrss / 1000)
        return Timing(seconds["index"], seconds["cache"], max(peaks))

    def dvc_share(self) -> float:
        """Processor time of `dvc repro cache` without changes, less the index stage's [s]."""
        command = [*DVC, "repro", "--quiet", "cache"]
        self._wait_for(command)
        usages = self._wait_for(command), self._wait_for([sys.executable, "stages/index.py"])
        both, index = (usage.ru_utime + usage.ru_stime for usage in usages)
        return both - index

    def later_peaks(self) -> dict[str, float]:
        """Peaks of evaluate and report [MB], with a model of one epoch on the smallest size."""
        stages = yaml.safe_load((self._folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        command_of = {name: shlex.split(stage["cmd"])[1:] for name, stage in stages.items()}
        if not (self._folder / "models/best.pt").is_file():
            self._wait_for(command_of["train"])
        self._wait_for(command_of["timelines"])
        return {
            name: self._wait_for(command_of[name]).ru_maxrss / 1000
            for name in ("evaluate", "report")
        }

    def tables_mb(self) -> float:
        """Size of manifest.csv and clips.csv together [MB]."""
        return sum((self._folder / "data" / name).stat().st_size for name in TABLES) / 1e6

    def read_epoch(self) -> dict[str, float]:
        """What a process of its own says of reading an epoch; see benchmarks.epoch_start."""
        output = self._folder / "reading.json"
        self._wait_for([sys.executable, str(PROJECT / "benchmarks/epoch_start.py"), str(output)])
        reading: dict[str, float] = json.loads(output.read_text(encoding="utf-8"))
        return reading

    def _wait_for(self, command: Sequence[str]) -> resource.struct_rusage:
        """Run a command in the collection's folder; what it and its children took."""
        log = self._folder / "log.txt"
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                command, cwd=self._folder, env=self._environment, stdout=file, stderr=file
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"error: {' '.join(command)} failed: {log.read_text()[-2000:]}")
        return usage

    def hash_alone(self) -> float:
        """Read and hash every video in a plain loop: what knowing of a change costs at most."""
        with timed() as watch:
            for video in self._videos:
                hashlib.blake2b(video.read_bytes(), digest_size=16).hexdigest()
        return watch.seconds
