"""Videos a second of the cache stage, against ffmpeg processes and Python libraries."""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.comparison import Contender, in_turn, speed_ratio, timed
from benchmarks.decoders import FLOOR, RawJob, attempt, installed_peers, with_ffmpeg
from benchmarks.drawn_videos import draw_video, write_copies
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import demo_params, manifest_of, quiet
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.params import VIDEO_EXTENSIONS, Params
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow

STAGE, FFMPEG = "the cache stage", "ffmpeg processes"
TARGET_OF_FFMPEG = 0.95
SECONDS = 10
# About as long in all sizes; more of the small ones, so that starting processes does not count.
PIXELS_IN_ALL = 16 * 1280 * 720


@dataclass(frozen=True)
class Footage:
    """Videos that are measured together, as the stage sees them."""

    name: str
    manifest: list[ManifestRow]
    clips: list[ClipRow]


def run(
    *,
    sizes: Sequence[Sequence[str]],
    count: int | None,
    videos: Path | None,
    workers: int | None,
    rounds: int,
    scratch: Path | None,
    out: Path,
) -> None:
    """Measure each size and the given folder, print tables, write decode.json."""
    if shutil.which("ffmpeg") is None:
        raise SystemExit("error: ffmpeg is not on the PATH; it is what the stage is measured on")
    params = demo_params(
        clip={"num_frames": 8, "sample_fps": 15, "short_side": 256, "max_seconds": 60},
        runtime={"num_workers": workers or len(os.sched_getaffinity(0))},
    )
    results: dict[str, Any] = {}
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(dir=scratch, prefix="decode-") as folder:
        bench = _Bench(params, Path(folder))
        for size in itertools.chain.from_iterable(sizes):
            results[size] = bench.measure(bench.drawn(size, count), rounds=rounds)
        if videos is not None:
            results["real videos"] = bench.measure(bench.filmed(videos), rounds=rounds)
        starts = bench.start_seconds()
    print(
        f"Starting alone takes the stage {starts[STAGE]:.2f} s and each ffmpeg process "
        f"{starts[FFMPEG]:.2f} s; both are in the times above.\n"
    )
    for name, result in results.items():
        ratio = result["ratios"][FFMPEG]["median"]
        targets.append(Target(f"{name}: the stage, of ffmpeg", TARGET_OF_FFMPEG, ratio))
        for peer in (name for name in installed_peers() if name != FLOOR):
            ratio = result["ratios"][peer]["median"]
            targets.append(Target(f"{name}: the stage, of {peer}", 1.0, ratio))
    finish("decode", out=out, results={"starts": starts, **results}, targets=targets)


class _Bench:
    """Runs the contenders in a scratch folder that it leaves empty after each."""

    def __init__(self, params: Params, folder: Path) -> None:
        self._params = params
        self._folder = folder
        self._workers = int(params.runtime.num_workers)

    def drawn(self, size: str, count: int | None) -> Footage:
        """10-s videos of one size; one is encoded, the others are copies with other bytes."""
        width, height = (int(side) for side in size.split("x"))
        if count is None:
            count = max(8, min(48, PIXELS_IN_ALL // (width * height)))
        folder = self._folder / size
        original = draw_video(
            folder / "drawn.mp4", width=width, height=height, num_frames=SECONDS * 30
        )
        copies = write_copies(original, folder / "copies", count=count)
        return self._footage(f"{count} drawn videos of {size}, {SECONDS} s", copies)

    def filmed(self, folder: Path) -> Footage:
        """The sound videos of a folder that both the stage and ffmpeg can read."""
        found = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_EXTENSIONS
        )
        footage = self._footage(f"{len(found)} videos of a folder", found)
        readable = {
            row.video_path
            for row, job in zip(footage.clips, self._raw_jobs(footage), strict=True)
            if not row.damaged and with_ffmpeg(job) and job.target.stat().st_size > 0
        }
        self._clear()
        return Footage(
            f"{len(readable)} of {len(found)} videos of a folder: sound, and read by ffmpeg too",
            [row for row in footage.manifest if row.video_path in readable],
            [row for row in footage.clips if row.video_path in readable],
        )

    def _footage(self, name: str, videos: Sequence[Path]) -> Footage:
        manifest = manifest_of(videos, class_names=["measured"] * len(videos))
        clips = self._cache(manifest)
        self._clear()
        usable = {row.video_path for row in clips}
        return Footage(name, [row for row in manifest if row.video_path in usable], clips)

    def measure(self, footage: Footage, *, rounds: int) -> dict[str, Any]:
        """Time every contender in turn and print a table of them."""
        with ExitStack() as stack:
            contenders: dict[str, Contender] = {
                STAGE: lambda: self._time_stage(footage),
                FFMPEG: lambda: self._time_ffmpeg(footage),
            }
            failed: dict[str, int] = {}
            for peer in installed_peers():
                contenders[peer] = self._peer(footage, peer, failed, stack)
            seconds = in_turn(contenders, rounds=rounds)
        ratios = {name: speed_ratio(seconds[STAGE], seconds[name]) for name in contenders}
        print(f"{footage.name}; {self._workers} processes, {rounds} rounds")
        rows = [
            [
                name,
                f"{len(footage.clips) / statistics.median(seconds[name]):.2f}",
                f"{ratios[name].median:.2f}",
                f"{ratios[name].lowest:.2f} to {ratios[name].highest:.2f}",
                str(failed.get(name, 0)),
            ]
            for name in contenders
        ]
        header = [
            "",
            "videos/s",
            "the stage is so many times as fast",
            "lowest to highest",
            "failed",
        ]
        print(format_table(header, rows), end="\n\n", flush=True)
        return {
            "videos": len(footage.clips),
            "frames": sum(row.num_sampled for row in footage.clips),
            "seconds": seconds,
            "failed": failed,
            "ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
        }

    def start_seconds(self) -> dict[str, float]:
        """What one tiny video costs: starting processes, and next to nothing else [s]."""
        tiny = draw_video(self._folder / "tiny.mp4", width=64, height=48, num_frames=2)
        footage = self._footage("tiny", [tiny])
        contenders: dict[str, Contender] = {
            STAGE: lambda: self._time_stage(footage),
            FFMPEG: lambda: self._time_ffmpeg(footage),
        }
        times = in_turn(contenders, rounds=3)
        return {name: statistics.median(seconds) for name, seconds in times.items()}

    def _time_stage(self, footage: Footage) -> float:
        with timed() as watch:
            self._cache(footage.manifest)
        self._clear()
        return watch.seconds

    def _cache(self, manifest: Sequence[ManifestRow]) -> list[ClipRow]:
        store = ClipStore(self._folder / "frames", self._params.clip)
        with quiet():
            clips, _ = cache_videos(
                manifest,
                params=self._params,
                store=store,
                project=self._folder,
            )
        return clips

    def _time_ffmpeg(self, footage: Footage) -> float:
        jobs = self._raw_jobs(footage)
        with timed() as watch, ThreadPoolExecutor(self._workers) as pool:
            ended_well = all(pool.map(with_ffmpeg, jobs))
        if not ended_well:
            raise SystemExit("error: an ffmpeg process failed")
        self._clear()
        return watch.seconds

    def _peer(
        self, footage: Footage, peer: str, failed: dict[str, int], stack: ExitStack
    ) -> Contender:
        """A library in as many processes, which are started and warm before the clock runs.

        How many videos it could not decode goes to ``failed``.
        """
        context = get_context("forkserver")
        pool = stack.enter_context(ProcessPoolExecutor(self._workers, mp_context=context))

        def run_all() -> float:
            jobs = self._raw_jobs(footage)
            with timed() as watch:
                decoded = list(pool.map(attempt, [peer] * len(jobs), jobs))
            failed[peer] = decoded.count(False)
            self._clear()
            return watch.seconds

        return run_all

    def _raw_jobs(self, footage: Footage) -> list[RawJob]:
        folder = self._folder / "frames"
        folder.mkdir(exist_ok=True)
        return [
            RawJob(
                video=Path(row.video_path),
                target=folder / f"{index}.raw",
                width=row.width,
                height=row.height,
                sample_fps=self._params.clip.sample_fps,
                max_seconds=self._params.clip.max_seconds,
            )
            for index, row in enumerate(footage.clips)
        ]

    def _clear(self) -> None:
        shutil.rmtree(self._folder / "frames", ignore_errors=True)
