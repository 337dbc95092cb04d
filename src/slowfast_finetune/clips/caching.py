"""Many videos to the clip store, each decoded once; and what became of each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from slowfast_finetune.base.console import progress, say
from slowfast_finetune.base.errors import DataError, VideoError, frame_too_large
from slowfast_finetune.base.hash_memo import MEMO_NAME, HashMemo
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.params import CacheParams, ClipParams, Engine, Params
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.clips.clip_store import ClipStore, EntryError, EntryInfo
from slowfast_finetune.clips.clip_tables import ClipRow, RejectedRow
from slowfast_finetune.clips.decode_job import DecodeJob, Refusal
from slowfast_finetune.clips.workers import decode_all, refusal_of


def cache_videos(
    manifest: Sequence[ManifestRow],
    *,
    clip: ClipParams,
    cache: CacheParams,
    store: ClipStore,
    project: Path,
    num_workers: int | Literal["auto"],
    engine: Engine = "local",
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
    outcomes: dict[str, EntryInfo | Refusal] = {
        **held_entries(store, {row.content_hash for row in manifest})
    }
    # One job a content: copies of a video share an entry, made from one that is still there.
    first_rows: dict[str, ManifestRow] = {}
    for row in manifest:
        known = first_rows.setdefault(row.content_hash, row)
        if known is not row and not locate(known.video_path, project=project).is_file():
            first_rows[row.content_hash] = row
    wanted = [row for content_hash, row in first_rows.items() if content_hash not in outcomes]
    jobs = _jobs(wanted, clip, cache, store, project)
    say(f"{len(outcomes)} videos are in the clip store, {len(jobs)} to decode")
    results = decode_all(jobs, num_workers=num_workers, engine=engine)
    for job, outcome in progress(results, total=len(jobs), label="decoding"):
        outcomes[job.content_hash] = outcome
    return _tables(manifest, outcomes, cache=cache, settings=store.folder.name)


def restore_entries(
    rows: Sequence[ClipRow], *, params: Params, store: ClipStore, project: Path
) -> None:
    """Decode again what the store should hold for these rows and does not, or not in full.

    Entries of the right length are trusted; `slowfast clips verify` compares their checksums.

    Raises:
        DataError: a video cannot be decoded again, or no longer gives the clip it gave.
    """
    if any(row.settings != store.folder.name for row in rows):
        raise DataError(
            "data/clips.csv was made with other clip: parameters than params.yaml holds now; "
            "run `dvc repro`"
        )
    # One look at the folder: opening a hundred thousand files would take seconds.
    sizes = store.sizes()
    suspected = {
        row.content_hash: row for row in rows if sizes.get(row.content_hash) != row.stored_bytes
    }
    # Another machine's JPEG library may give other bytes: then the header tells.
    held = held_entries(store, suspected.keys() & sizes.keys())
    missing = {
        key: row
        for key, row in suspected.items()
        if key not in held or _shape(held[key]) != _shape(row)
    }
    if not missing:
        return
    say(f"{len(missing)} clips are missing from the clip store; decoding them again")
    jobs = _jobs([*missing.values()], params.clip, params.cache, store, project)
    results = decode_all(jobs, num_workers=params.runtime.num_workers, engine=params.runtime.engine)
    for job, outcome in progress(results, total=len(jobs), label="decoding"):
        row = missing[job.content_hash]
        if isinstance(outcome, Refusal):
            raise DataError(
                f"{row.video_path}: its clip is missing and cannot be made again: {outcome.detail}"
            )
        if _shape(outcome) != _shape(row):
            raise DataError(
                f"{row.video_path}: gives another clip than data/clips.csv says; run `dvc repro`"
            )


def _shape(clip: EntryInfo | ClipRow) -> tuple[int, int, int]:
    return clip.num_frames, clip.height, clip.width


def _jobs(
    rows: Sequence[ManifestRow | ClipRow],
    clip: ClipParams,
    cache: CacheParams,
    store: ClipStore,
    project: Path,
) -> list[DecodeJob]:
    videos = [locate(row.video_path, project=project) for row in rows]
    hashes = {video: row.content_hash for video, row in zip(videos, rows, strict=True)}
    # What index has read and hashed is not read once more to hash it, unless it has changed.
    hashed_as = HashMemo(store.folder.parent / MEMO_NAME).fingerprints(hashes) if rows else {}
    return [
        DecodeJob(
            video=video,
            content_hash=row.content_hash,
            hashed_as=hashed_as.get(video),
            store=store,
            clip=clip,
            max_megapixels=cache.max_megapixels,
            timeout_seconds=cache.timeout_seconds,
            worker_memory_mb=cache.worker_memory_mb,
        )
        for video, row in zip(videos, rows, strict=True)
    ]


def held_entries(store: ClipStore, content_hashes: Iterable[str]) -> dict[str, EntryInfo]:
    """The sound entries among those asked for; damaged ones are left out, to be made again."""
    held: dict[str, EntryInfo] = {}
    for content_hash in content_hashes:
        try:
            held[content_hash] = store.info(content_hash)
        except EntryError:
            continue
    return held


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
    facts = outcome.facts
    try:
        if facts.source_height * facts.source_width > cache.max_megapixels * 1e6:
            raise frame_too_large(
                facts.source_width, facts.source_height, max_megapixels=cache.max_megapixels
            )
        facts.check_decodable(min_fraction=cache.min_decodable_fraction)
    except VideoError as error:
        return refusal_of(error)
    return outcome


def _clip_row(row: ManifestRow, info: EntryInfo, settings: str) -> ClipRow:
    return ClipRow(
        **row._asdict(),
        num_frames=info.num_frames,
        num_sampled=info.num_sampled,
        height=info.height,
        width=info.width,
        **info.facts.model_dump(),
        stored_bytes=info.stored_bytes,
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
