"""Thousands of damaged videos through the cache stage: every one must come out as a row."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.comparison import timed
from benchmarks.drawn_videos import draw_video
from benchmarks.mutations import mutate
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import PROJECT, changed_values, manifest_of
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_store import ClipStore, EntryError
from slowfast_finetune.clips.clip_tables import CLIPS, REJECTED, ClipRow, RejectedRow

# Suffix, encoder, its pixel format.
KINDS: tuple[tuple[str, str, str], ...] = (
    ("mp4", "libx264", "yuv420p"),
    ("mp4", "mpeg4", "yuv420p"),
    ("mp4", "libx265", "yuv420p"),
    ("mov", "mjpeg", "yuvj420p"),
    ("mkv", "libx264", "yuv420p"),
    ("mkv", "ffv1", "yuv420p"),
    ("avi", "mpeg4", "yuv420p"),
    ("avi", "mjpeg", "yuvj420p"),
    ("webm", "libvpx", "yuv420p"),
    ("webm", "libvpx-vp9", "yuv420p"),
    ("ts", "libx264", "yuv420p"),
    ("ts", "mpeg2video", "yuv420p"),
)
ENCODER_OPTIONS = {"libx264": {"g": "8", "bf": "2"}, "libx265": {"x265-params": "log-level=none"}}
CLIP, DAMAGED, UNACCOUNTED = "clip", "clip, damaged", "UNACCOUNTED"
# Of one video, in seconds; of a whole batch, a multiple of what it takes when all is well.
TIMEOUT_SECONDS, HANG_SECONDS = 20, 3600
LARGEST_ORIGINAL = 200_000  # of a given folder [bytes]
WORTH_KEEPING = frozenset((UNACCOUNTED, "crashed", "timeout", "out_of_memory", "decoder_error"))


@dataclass
class Findings:
    """What became of the files.

    Attributes:
        rows: one a file: file, kind, damage, outcome (a clip or a reason code), frames, detail.
        outcomes: files by outcome.
        by_kind, by_damage: the same for each kind of file, and each kind of damage.
        faults: what the stage did wrong, in words.
        kept: files worth a look, with outcome and detail.
    """

    rows: list[tuple[str | int, ...]] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    by_kind: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    by_damage: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Damaged:
    """One file of a batch: what it was made of, and how it was damaged ("none" for a sound one)."""

    path: Path
    kind: str
    damage: str


def run(
    *,
    count: int,
    seed: int,
    batch: int,
    originals_folder: Path | None,
    keep: Path | None,
    out: Path,
) -> None:
    """Damage, run the stage, count. Ends with exit code 1 if anything is amiss."""
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, timed() as watch:
        folder = Path(name)
        originals = (
            _draw_originals(folder / "originals")
            if originals_folder is None
            else _small_files(originals_folder)
        )
        for first in range(0, count, batch):
            indices = range(first, min(first + batch, count))
            project = folder / f"batch_{first}"
            _run_batch(
                project,
                originals,
                indices,
                seed=seed,
                are_sound=originals_folder is None,
                keep=keep,
                findings=findings,
            )
            shutil.rmtree(project)
            print(f"{indices.stop} of {count} files; {len(findings.faults)} faults", flush=True)
    print()
    _print_tables(findings)
    print(f"{count} files in {watch.seconds:.0f} s\n")
    for line in [*findings.kept, *(f"FAULT: {fault}" for fault in findings.faults)]:
        print(line)
    results: dict[str, Any] = {
        "files": count,
        "seed": seed,
        "seconds": watch.seconds,
        "outcomes": findings.outcomes,
        "by kind": findings.by_kind,
        "by damage": findings.by_damage,
        "faults": findings.faults,
        "kept": findings.kept,
    }
    out.mkdir(parents=True, exist_ok=True)
    with (out / "fuzz.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "kind", "damage", "outcome", "frames", "detail"))
        writer.writerows(findings.rows)
    faults = len(findings.faults)
    finish("fuzz", out=out, results=results, targets=[Target("faults", 0, faults, at_most=True)])
    if findings.faults:
        raise SystemExit(1)


def _draw_originals(folder: Path) -> dict[str, bytes]:
    """One small sound video of each kind, by a name such as mp4-libx264."""
    return {
        f"{suffix}-{codec}": draw_video(
            folder / f"{codec}.{suffix}",
            width=96,
            height=72,
            num_frames=24,
            fps=15 if codec != "mpeg2video" else 25,
            codec=codec,
            options=ENCODER_OPTIONS.get(codec, {}),
            pixel_format=pixel_format,
        ).read_bytes()
        for suffix, codec, pixel_format in KINDS
    }


def _small_files(folder: Path) -> dict[str, bytes]:
    """The small files below a folder, by a name such as mp4-07-walking."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and 0 < path.stat().st_size <= LARGEST_ORIGINAL
        and path.suffix not in {".md", ".csv", ".txt", ".json"}
    )
    if not paths:
        raise SystemExit(f"error: no file of up to {LARGEST_ORIGINAL} bytes lies below {folder}")
    return {
        f"{path.suffix[1:]}-{number:02}-{path.stem}": path.read_bytes()
        for number, path in enumerate(paths)
    }


def _run_batch(
    project: Path,
    originals: dict[str, bytes],
    indices: range,
    *,
    seed: int,
    are_sound: bool,
    keep: Path | None,
    findings: Findings,
) -> None:
    files = _write_batch(project / "videos", originals, indices, seed=seed)
    # One class: a class that loses all its videos would stop the stage, as it should.
    manifest = manifest_of([file.path for file in files], class_names=["damaged"] * len(files))
    params = _write_project(project, manifest)
    fault = _run_stage(project)
    if fault is not None:
        findings.faults.append(f"files {indices.start} to {indices.stop - 1}: {fault}")
    clips, rejected = _read_rows(project)
    findings.faults += _faults(manifest, clips, rejected)
    findings.faults += _store_faults(project, clips, params)
    outcome_of = {
        row.video_path: (DAMAGED if row.damaged else CLIP, row.num_sampled, row.remarks or "")
        for row in clips
    }
    outcome_of |= {row.video_path: (row.reason, 0, row.detail) for row in rejected}
    for file in files:
        outcome, frames, detail = outcome_of.get(str(file.path), (UNACCOUNTED, 0, ""))
        findings.rows.append((file.path.name, file.kind, file.damage, outcome, frames, detail))
        if file.damage == "none":
            if outcome != CLIP and are_sound:
                findings.faults.append(f"{file.path.name}: sound, but {outcome}: {detail}")
            continue
        findings.outcomes[outcome] += 1
        findings.by_kind[file.kind][outcome] += 1
        findings.by_damage[file.damage][outcome] += 1
        if outcome in WORTH_KEEPING:
            findings.kept.append(f"{file.path.name} ({file.damage}): {outcome}: {detail}")
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.path, keep)


def _write_batch(
    folder: Path, originals: dict[str, bytes], indices: range, *, seed: int
) -> list[Damaged]:
    """The damaged files of these numbers, and a sound one of each kind."""
    kinds = list(originals)
    files = []
    for kind, original in originals.items():
        (folder / kind).mkdir(parents=True)
        files.append(Damaged(folder / kind / f"sound.{_suffix(kind)}", kind, "none"))
        files[-1].path.write_bytes(original)
    for index in indices:
        kind = kinds[index % len(kinds)]
        other = kinds[int(np.random.default_rng([seed, index, 1]).integers(len(kinds)))]
        damage, content = mutate(originals[kind], originals[other], seed=seed, index=index)
        path = folder / kind / f"{kind}_{index:06}.{_suffix(kind)}"
        path.write_bytes(content)
        files.append(Damaged(path, kind, damage))
    return files


def _suffix(kind: str) -> str:
    return kind.partition("-")[0]


def _write_project(project: Path, manifest: Sequence[ManifestRow]) -> Params:
    """What stages/cache.py reads."""
    values = changed_values(
        clip={"num_frames": 8, "sample_fps": 15, "short_side": 32, "max_seconds": 10},
        cache={"max_rejected_fraction": 1.0, "timeout_seconds": TIMEOUT_SECONDS},
    )
    text = yaml.safe_dump(values, sort_keys=False)
    (project / "params.yaml").write_text(text, encoding="utf-8")
    MANIFEST.write(project / "data" / "manifest.csv", manifest)
    return Params.model_validate(values)


def _run_stage(project: Path) -> str | None:
    """Run the stage as DVC would; what went wrong, or None."""
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "stages" / "cache.py")],
        cwd=project,
        env={**os.environ, "CLIP_STORE": str(project / "clips")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # A group of its own, so that a stage that hangs can be ended with all its workers.
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=HANG_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"the stage hung for {HANG_SECONDS} s"
    if process.returncode != 0:
        return f"the stage ended with {process.returncode}: {output[-500:]}"
    return None


def _read_rows(project: Path) -> tuple[list[ClipRow], list[RejectedRow]]:
    clips, rejected = project / "data" / "clips.csv", project / "data" / "rejected.csv"
    return (
        CLIPS.read_rows(clips) if clips.exists() else [],
        REJECTED.read_rows(rejected) if rejected.exists() else [],
    )


def _faults(
    manifest: Sequence[ManifestRow], clips: Sequence[ClipRow], rejected: Sequence[RejectedRow]
) -> list[str]:
    """Videos that are no row, more than one row, or a row that nobody asked for."""
    rows = Counter([row.video_path for row in clips] + [row.video_path for row in rejected])
    asked = {row.video_path for row in manifest}
    return [
        f"{Path(path).name}: {rows[path]} rows"
        for path in sorted(asked | set(rows))
        if rows[path] != 1 or path not in asked
    ]


def _store_faults(project: Path, clips: Sequence[ClipRow], params: Params) -> list[str]:
    """Entries that are missing or damaged, and files that nobody cleared away."""
    store = ClipStore(project / "clips", params.clip)
    faults = []
    for row in clips:
        try:
            info = store.verify(row.content_hash)
        except EntryError as error:
            faults.append(f"{Path(row.video_path).name}: {error}")
        else:
            if (info.num_frames, info.height, info.width) != (
                row.num_frames,
                row.height,
                row.width,
            ):
                faults.append(f"{Path(row.video_path).name}: the row and the entry differ")
    left = list((project / "clips").rglob("*.tmp"))
    return faults + [f"{len(left)} temporary files are left in the store"] * bool(left)


def _print_tables(findings: Findings) -> None:
    outcomes = [name for name, _ in findings.outcomes.most_common()]
    for title, groups in (("kind", findings.by_kind), ("damage", findings.by_damage)):
        rows = [
            [name, *(str(counts[outcome]) for outcome in outcomes)]
            for name, counts in groups.items()
        ]
        rows.append(["all", *(str(findings.outcomes[outcome]) for outcome in outcomes)])
        print(format_table([title, *outcomes], rows), end="\n\n")
