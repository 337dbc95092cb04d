"""Many videos to the clip store, each decoded once, by workers that can be killed."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from slowfast_finetune.clips.clip_store import ClipStore, EntryError, EntryInfo
from slowfast_finetune.clips.tables import ClipRow, RejectedRow
from slowfast_finetune.console import progress, say
from slowfast_finetune.errors import DataError, VideoError
from slowfast_finetune.params import CacheParams, ClipParams, Params
from slowfast_finetune.videos.manifest import ManifestRow, hash_file

TIMEOUT_SECONDS_PER_MEGABYTE = 2.0
DAMAGED_BELOW = 0.95
# Marks the temporary files of this process's workers: another run may share the store.
RUN_NAME = f"{os.getpid():x}-{os.urandom(4).hex()}"


@dataclass(frozen=True)
class Job:
    """One video to decode: everything a worker needs, small enough to send."""

    video: Path
    content_hash: str
    store: ClipStore
    clip: ClipParams
    max_megapixels: float
    timeout_seconds: float
    worker_memory_mb: int
    run_name: str


@dataclass(frozen=True)
class Refusal:
    """Why a video is not in the store."""

    reason: str
    detail: str


def decode_to_store(job: Job) -> EntryInfo:
    """Decode one video into the store. Runs in a worker; imports the decoder only there.

    Raises:
        VideoError: the video is refused, with a reason code.
        OSError: the store cannot be written.
    """
    from slowfast_finetune.videos.decoding import DecodeReport, DecodeSettings, sampled_frames
    from slowfast_finetune.videos.sampling import padded_indices

    _check_file(job)
    limit_memory(job.worker_memory_mb)
    settings = DecodeSettings(
        sample_fps=job.clip.sample_fps,
        short_side=job.clip.short_side,
        max_seconds=job.clip.max_seconds,
        max_megapixels=job.max_megapixels,
    )
    report = DecodeReport()
    try:
        with job.store.writer(job.content_hash, run_name=job.run_name) as writer:
            for frame in sampled_frames(job.video, settings=settings, report=report):
                writer.append(frame)
            num_sampled = writer.num_frames
            indices = padded_indices(
                num_sampled, min_frames=job.clip.num_frames, padding=job.clip.padding
            )
            for index in indices[num_sampled:]:
                writer.append(writer.read_back(index))
            return writer.finish(
                num_sampled=num_sampled,
                source_height=report.source_height,
                source_width=report.source_width,
                codec=report.codec,
                num_packets=report.num_packets,
                num_decoded=report.num_decoded,
                num_errors=report.num_errors,
                duration_seconds=round(report.duration_seconds, 6),
                truncated=report.truncated,
            )
    except MemoryError as error:
        raise VideoError("out_of_memory", _out_of_memory(job)) from error
    except BlockingIOError as error:
        # FFmpeg's "try again" inside a decoder that could not start a thread or get a buffer.
        raise VideoError("out_of_memory", _out_of_memory(job)) from error


def _out_of_memory(job: Job) -> str:
    return f"decoding needs more than cache.worker_memory_mb: {job.worker_memory_mb}"


def limit_memory(megabytes: int) -> None:
    """Let this process allocate no more; where the system cannot limit it (macOS), do nothing."""
    import resource

    # Private writable memory, so that libraries and mapped files do not count.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = megabytes * 2**20
    if hard == resource.RLIM_INFINITY or wanted <= hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _check_file(job: Job) -> None:
    """Refuse a file that is not there, not readable, empty, or not the one that was indexed."""
    try:
        if job.video.stat().st_size == 0:
            raise VideoError("empty_file", "the file has no bytes")
        content_hash = hash_file(job.video)
    except FileNotFoundError as error:
        raise VideoError("missing", "the file is no longer there") from error
    except (OSError, DataError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError("unreadable", f"the file cannot be read: {error}") from error
    if content_hash != job.content_hash:
        raise VideoError("changed", "the file changed since it was indexed; run the index again")


def cache_videos(
    manifest: Sequence[ManifestRow],
    *,
    clip: ClipParams,
    cache: CacheParams,
    store: ClipStore,
    project: Path,
    num_workers: int | Literal["auto"],
) -> tuple[list[ClipRow], list[RejectedRow]]:
    """Bring every video of the manifest into the store and say what became of each.

    What the store already holds is not decoded again. Rows come in the manifest's order,
    whatever the number of workers.

    Raises:
        DataError: the store cannot be written.
    """
    try:
        store.prepare()
    except OSError as error:
        raise DataError(f"the clip store {store.folder}: {error.strerror or error}") from error
    outcomes = held_entries(store, {row.content_hash for row in manifest})
    # One job a content: copies of a video share an entry.
    first_rows: dict[str, ManifestRow] = {}
    for row in manifest:
        first_rows.setdefault(row.content_hash, row)
    jobs = [
        _job(row, clip, cache, store, project)
        for content_hash, row in first_rows.items()
        if content_hash not in outcomes
    ]
    say(f"{len(outcomes)} videos are in the clip store, {len(jobs)} to decode")
    results = decode_all(jobs, num_workers=num_workers)
    for job, outcome in progress(results, total=len(jobs), label="decoding"):
        outcomes[job.content_hash] = outcome
    return _tables(manifest, outcomes, cache=cache, settings=store.folder.name)


def restore_entries(
    rows: Sequence[ClipRow], *, params: Params, store: ClipStore, project: Path
) -> None:
    """Decode again what the store should hold for these rows and does not, or holds damaged.

    Raises:
        DataError: a video cannot be decoded again, or no longer gives the clip it gave.
    """
    if any(row.settings != store.folder.name for row in rows):
        raise DataError(
            "data/clips.csv was made with other clip: parameters than params.yaml holds now; "
            "run `dvc repro`"
        )
    held = held_entries(store, {row.content_hash for row in rows})
    missing = {row.content_hash: row for row in rows if not _matches(held, row)}
    if not missing:
        return
    say(f"{len(missing)} clips are missing from the clip store; decoding them again")
    jobs = [_job(row, params.clip, params.cache, store, project) for row in missing.values()]
    results = decode_all(jobs, num_workers=params.runtime.num_workers)
    for job, outcome in progress(results, total=len(jobs), label="decoding"):
        row = missing[job.content_hash]
        if isinstance(outcome, Refusal):
            raise DataError(
                f"{row.video_path}: its clip is missing and cannot be made again: {outcome.detail}"
            )
        if not _matches({job.content_hash: outcome}, row):
            raise DataError(
                f"{row.video_path}: gives another clip than data/clips.csv says; run `dvc repro`"
            )


def _matches(held: Mapping[str, EntryInfo | Refusal], row: ClipRow) -> bool:
    info = held.get(row.content_hash)
    return isinstance(info, EntryInfo) and (info.num_frames, info.height, info.width) == (
        row.num_frames,
        row.height,
        row.width,
    )


def _job(
    row: ManifestRow | ClipRow,
    clip: ClipParams,
    cache: CacheParams,
    store: ClipStore,
    project: Path,
) -> Job:
    return Job(
        video=project / row.video_path,
        content_hash=row.content_hash,
        store=store,
        clip=clip,
        max_megapixels=cache.max_megapixels,
        timeout_seconds=cache.timeout_seconds,
        worker_memory_mb=cache.worker_memory_mb,
        run_name=RUN_NAME,
    )


def held_entries(store: ClipStore, content_hashes: Iterable[str]) -> dict[str, EntryInfo | Refusal]:
    """The sound entries among those asked for; damaged ones are left out, to be made again."""
    held: dict[str, EntryInfo | Refusal] = {}
    for content_hash in content_hashes:
        try:
            held[content_hash] = store.info(content_hash)
        except EntryError:
            continue
    return held


def decode_all(
    jobs: Sequence[Job], *, num_workers: int | Literal["auto"]
) -> Iterator[tuple[Job, EntryInfo | Refusal]]:
    """Decode in worker processes; yield each job as it ends.

    A worker that hangs or dies costs its video, not the run.

    Raises:
        DataError: the store cannot be written.
    """
    if not jobs:
        return
    from pebble import ProcessFuture, ProcessPool

    workers = max(1, min(len(jobs), _worker_count(num_workers)))
    # forkserver: workers start from a small clean process, not from one with threads.
    with ProcessPool(max_workers=workers, context=get_context("forkserver")) as pool:
        waiting = iter(jobs)
        running: dict[ProcessFuture[EntryInfo], Job] = {}
        try:
            while True:
                while len(running) < 2 * workers and (job := next(waiting, None)):
                    limit = job.timeout_seconds + _extra_seconds(job.video)
                    future = pool.schedule(decode_to_store, args=[job], timeout=limit)
                    running[future] = job
                if not running:
                    return
                wait(running, return_when=FIRST_COMPLETED)
                for future in [future for future in running if future.done()]:
                    job = running.pop(future)
                    job.store.discard_temporary(job.content_hash, run_name=job.run_name)
                    yield job, _outcome(future, job)
        finally:
            # Also when the person or a full disk stops the loop: no worker outlives it.
            pool.stop()  # type: ignore[no-untyped-call]


def _worker_count(num_workers: int | Literal["auto"]) -> int:
    if num_workers != "auto":
        return max(1, num_workers)
    # A container or a scheduler may grant fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _extra_seconds(video: Path) -> float:
    try:
        return video.stat().st_size / 1e6 * TIMEOUT_SECONDS_PER_MEGABYTE
    except OSError:
        return 0.0


def _outcome(future: Future[EntryInfo], job: Job) -> EntryInfo | Refusal:
    from pebble import ProcessExpired

    try:
        return future.result()
    except VideoError as error:
        return Refusal(error.reason, error.detail)
    except TimeoutError:
        limit = job.timeout_seconds + _extra_seconds(job.video)
        return Refusal("timeout", f"decoding took longer than {limit:.0f} s and was stopped")
    except ProcessExpired as error:
        return Refusal("crashed", f"the decoder crashed (exit code {error.exitcode})")
    except OSError as error:
        # Not the video's fault: without a place to write, going on would refuse them all.
        raise DataError(f"the clip store {job.store.folder}: {error.strerror or error}") from error
    except Exception as error:
        detail = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Refusal("decoder_error", detail)


def _tables(
    manifest: Sequence[ManifestRow],
    outcomes: dict[str, EntryInfo | Refusal],
    *,
    cache: CacheParams,
    settings: str,
) -> tuple[list[ClipRow], list[RejectedRow]]:
    clips: list[ClipRow] = []
    rejected: list[RejectedRow] = []
    for row in manifest:
        outcome = _judge(outcomes[row.content_hash], cache)
        if isinstance(outcome, EntryInfo):
            clips.append(_clip_row(row, outcome, settings))
        else:
            rejected.append(
                RejectedRow(
                    video_path=row.video_path,
                    class_name=row.class_name,
                    split=row.split,
                    content_hash=row.content_hash,
                    reason=outcome.reason,
                    detail=outcome.detail,
                )
            )
    return clips, rejected


def _judge(outcome: EntryInfo | Refusal, cache: CacheParams) -> EntryInfo | Refusal:
    """Apply the limits to what decoding found, so that an older entry is judged like a new one."""
    if isinstance(outcome, Refusal):
        return outcome
    if outcome.source_height * outcome.source_width > cache.max_megapixels * 1e6:
        return Refusal(
            "too_large",
            f"frames of {outcome.source_width}×{outcome.source_height} px; "
            f"cache.max_megapixels is {cache.max_megapixels:g}",
        )
    if outcome.decodable_fraction >= cache.min_decodable_fraction:
        return outcome
    return Refusal(
        "mostly_damaged",
        f"{outcome.num_decoded} of {outcome.num_packets} frames decode; "
        f"cache.min_decodable_fraction is {cache.min_decodable_fraction:g}",
    )


def _clip_row(row: ManifestRow, info: EntryInfo, settings: str) -> ClipRow:
    return ClipRow(
        **row.model_dump(),
        num_frames=info.num_frames,
        num_sampled=info.num_sampled,
        height=info.height,
        width=info.width,
        source_height=info.source_height,
        source_width=info.source_width,
        duration_seconds=info.duration_seconds,
        decoder=f"pyav/{info.codec}",
        decodable_fraction=round(info.decodable_fraction, 4),
        damaged=info.num_errors > 0 or info.decodable_fraction < DAMAGED_BELOW,
        truncated=info.truncated,
        settings=settings,
    )


def summary(clips: Sequence[ClipRow], rejected: Sequence[RejectedRow]) -> str:
    """What became of the videos, by class and by reason, for a person to act on."""
    classes = sorted({row.class_name for row in clips} | {row.class_name for row in rejected})
    padded = Counter(row.class_name for row in clips if row.num_sampled < row.num_frames)
    usable = Counter(row.class_name for row in clips)
    refused = Counter(row.class_name for row in rejected)
    width = max(len(name) for name in ["class", *classes])
    lines = [f"{'class':{width}}  usable  padded  refused"]
    lines += [
        f"{name:{width}}  {usable[name]:6}  {padded[name]:6}  {refused[name]:7}" for name in classes
    ]
    marks = [
        (sum(row.damaged for row in clips), "partly damaged, used as far as they decode"),
        (sum(row.truncated for row in clips), "longer than clip.max_seconds, used up to there"),
    ]
    lines += [f"{count} {text}" for count, text in marks if count]
    by_reason: dict[str, list[RejectedRow]] = defaultdict(list)
    for row in rejected:
        by_reason[row.reason].append(row)
    for reason, rows in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        lines.append(f"{len(rows)} refused, {reason}: e.g. {rows[0].video_path}: {rows[0].detail}")
    return "\n".join(lines)


def check_rejected(
    clips: Sequence[ClipRow], rejected: Sequence[RejectedRow], *, cache: CacheParams, table: Path
) -> None:
    """Fail if too many videos were refused, or a class lost its last video in a split.

    Raises:
        DataError: saying which.
    """
    total = len(clips) + len(rejected)
    if total and len(rejected) / total > cache.max_rejected_fraction:
        raise DataError(
            f"{len(rejected)} of {total} videos are refused ({len(rejected) / total:.1%}); "
            f"cache.max_rejected_fraction allows {cache.max_rejected_fraction:.1%}; see {table}"
        )
    left = {(row.split, row.class_name) for row in clips}
    for row in rejected:
        if (row.split, row.class_name) not in left:
            raise DataError(
                f"class {row.class_name!r} has no usable video left in {row.split}; see {table}, "
                "then mend or add videos, or change data.split_seed"
            )
