"""Many videos to the clip store, each decoded once; and what became of each."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from slowfast_finetune.base.console import count, progress, say
from slowfast_finetune.base.errors import DataError, VideoError, frame_too_large
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.hash_memo import MEMO_NAME, HashMemo
from slowfast_finetune.base.manifest_table import ManifestRow, case_noun
from slowfast_finetune.base.params import CacheParams, Params
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.clips.clip_store import ClipStore, EntryError, EntryInfo, range_key, range_of
from slowfast_finetune.clips.clip_tables import ClipRow, RejectedRow
from slowfast_finetune.clips.decode_job import DecodeJob, Outcomes
from slowfast_finetune.clips.parts import needed_range, part_range, place_clip, ranges_to_store
from slowfast_finetune.clips.workers import decode_all
from slowfast_finetune.decoding.sampling import FrameRange
from slowfast_finetune.decoding.video_facts import VideoFacts

# Each of a job's entries is a file that is open until the video has been read.
MAX_RANGES = 100


def cache_videos(
    manifest: Sequence[ManifestRow], *, params: Params, store: ClipStore, project: Path
) -> tuple[list[ClipRow], list[RejectedRow]]:
    """Bring every case of the manifest into the store and say what became of each.

    What the store already holds is not decoded again. Rows come in the manifest's order,
    whatever the number of workers.

    Raises:
        DataError: the store cannot be written.
    """
    try:
        store.prepare()
    except OSError as error:
        raise DataError(f"the clip store {store.folder}: {error.strerror or error}") from error
    keys, held = entries_of(manifest, store)
    jobs = _jobs(keys.values() - held.keys(), manifest, params.cache, store, project)
    num_held = len({key.partition("/")[0] for key in held})
    num_missing = len({job.content_hash for job in jobs})
    say(f"{count(num_held, 'video')} in the clip store, {num_missing} to decode")
    outcomes: Outcomes = {**held}
    results = decode_all(jobs, runtime=params.runtime)
    for entries in progress(results, total=len(jobs), label="decoding"):
        outcomes |= entries
    clips: list[ClipRow] = []
    rejected: list[RejectedRow] = []
    for row in manifest:
        outcome = outcomes[keys[row.case]]
        try:
            if isinstance(outcome, VideoError):
                raise outcome
            _check_limits(outcome.facts, params.cache)
            clips.append(clip_row(row, outcome, store))
        except VideoError as error:
            rejected.append(RejectedRow.of(row, error))
    return clips, rejected


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
    parts = [row for row in rows if row.start_seconds is not None]
    keys, held = entries_of(parts, store)
    row_of = {keys[row.case]: row for row in parts if keys[row.case] not in held}
    # One look at the folder: opening a hundred thousand files would take seconds.
    sizes = store.sizes()
    suspected = {
        row.content_hash: row
        for row in rows
        if row.start_seconds is None and sizes.get(row.content_hash) != row.stored_bytes
    }
    # Another machine's JPEG library may give other bytes: then the header tells.
    held = held_entries(store, suspected.keys() & sizes.keys())
    row_of |= {
        key: row for key, row in suspected.items() if key not in held or not _fits(held[key], row)
    }
    if not row_of:
        return
    say(f"decoding again, as not in the clip store: {count(len(row_of), 'clip')}")
    jobs = _jobs(row_of, [*row_of.values()], params.cache, store, project)
    results = decode_all(jobs, runtime=params.runtime)
    for entries in progress(results, total=len(jobs), label="decoding"):
        for key, outcome in entries.items():
            row = row_of[key]
            if isinstance(outcome, VideoError):
                raise DataError(
                    f"{row.case}: its clip is missing and cannot be made again: {outcome.detail}"
                )
            if not _fits(outcome, row):
                raise DataError(
                    f"{row.case}: gives another clip than data/clips.csv says; run `dvc repro`"
                )


def _fits(info: EntryInfo, row: ClipRow) -> bool:
    """Whether an entry has frames of the size of a row's, and of a whole video as many."""
    is_part = row.start_seconds is not None
    size = (info.height, info.width)
    return size == (row.height, row.width) and (is_part or info.num_frames == row.num_frames)


def entries_of(
    rows: Sequence[ManifestRow | ClipRow], store: ClipStore
) -> tuple[dict[str, str], dict[str, EntryInfo]]:
    """The key of the entry of each case, and the sound entries of them that the store holds.

    A part may lie in an entry that was made for others. A damaged one of these has to be replaced:
    a reader would find it.
    """
    keys = {row.case: row.content_hash for row in rows if row.start_seconds is None}
    missing: dict[str, list[tuple[str, FrameRange]]] = defaultdict(list)
    for row in rows:
        if row.start_seconds is None:
            continue
        part, is_open = part_range(row, store.params), row.end_seconds is None
        needed = needed_range(part, store.params, is_open=is_open)
        if found := store.find(row.content_hash, needed):
            keys[row.case] = range_key(row.content_hash, found)
        else:
            missing[row.content_hash].append((row.case, needed))
    for content_hash, cases in missing.items():
        ranges = ranges_to_store((needed for _, needed in cases), store.params)
        for case, needed in cases:
            made = next(each for each in ranges if each.covers(needed))
            keys[case] = range_key(content_hash, made)
    return keys, held_entries(store, set(keys.values()))


def _jobs(
    keys: Iterable[str],
    rows: Sequence[ManifestRow | ClipRow],
    cache: CacheParams,
    store: ClipStore,
    project: Path,
) -> list[DecodeJob]:
    """The jobs that make entries, in the order of the rows: one a video, if it has few parts."""
    wanted = grouped(keys, key=lambda key: key.partition("/")[0])
    # Copies of a video share an entry, made from one that is still there.
    videos: dict[str, Path] = {}
    for row in rows:
        known = videos.get(row.content_hash)
        if row.content_hash in wanted and not (known and known.is_file()):
            path = locate(row.video_path, project=project)
            if known is None or path.is_file():
                videos[row.content_hash] = path
    # What index has read and hashed is not read once more to hash it, unless it has changed.
    memo = HashMemo(store.folder.parent / MEMO_NAME)
    hashed_as = memo.fingerprints({path: key for key, path in videos.items()}) if videos else {}
    jobs = []
    for content_hash, video in videos.items():
        ranges = sorted(each for key in wanted[content_hash] if (each := range_of(key)))
        chunks: list[list[FrameRange]] = [[]] if content_hash in wanted[content_hash] else []
        chunks += [ranges[i : i + MAX_RANGES] for i in range(0, len(ranges), MAX_RANGES)]
        jobs += [
            DecodeJob(
                video=video,
                cache=cache,
                content_hash=content_hash,
                hashed_as=hashed_as.get(video),
                store=store,
                ranges=tuple(chunk),
            )
            for chunk in chunks
        ]
    return jobs


def held_entries(store: ClipStore, content_hashes: Iterable[str]) -> dict[str, EntryInfo]:
    """The sound entries among those asked for; damaged ones are left out, to be made again."""
    held: dict[str, EntryInfo] = {}
    for content_hash in content_hashes:
        with suppress(EntryError):
            held[content_hash] = store.info(content_hash)
    return held


def _check_limits(facts: VideoFacts, cache: CacheParams) -> None:
    """Apply the limits to what decoding found, so that an older entry is judged like a new one."""
    if facts.source_height * facts.source_width > cache.max_megapixels * 1e6:
        raise frame_too_large(
            facts.source_width, facts.source_height, max_megapixels=cache.max_megapixels
        )
    facts.check_decodable(min_fraction=cache.min_decodable_fraction)


def clip_row(row: ManifestRow, info: EntryInfo, store: ClipStore) -> ClipRow:
    """The row of a case whose frames are in an entry of the store.

    Raises:
        VideoError: the case is a part that reaches past the end of the video.
    """
    values = {**row._asdict(), **info.facts.model_dump()}
    values |= {"height": info.height, "width": info.width, "settings": store.folder.name}
    del values["table_row"]  # another row above it changes no clip
    if info.frames is not None:
        part = place_clip(row, store.params, video_end=info.video_end)
        return ClipRow(**values | part._asdict(), stored_bytes=0)
    return ClipRow(
        **values,
        first_frame=0,
        num_frames=info.num_frames,
        num_sampled=info.num_sampled,
        num_around=0,
        stored_bytes=info.stored_bytes,
    )


def summary(clips: Sequence[ClipRow], rejected: Sequence[RejectedRow]) -> str:
    """What became of the videos, by class and by reason, for a person to act on."""
    classes = sorted({row.class_name for row in clips} | {row.class_name for row in rejected})
    padded = Counter(row.class_name for row in clips if row.num_sampled < row.num_frames)
    around = sum(row.num_around > 0 for row in clips)
    usable = Counter(row.class_name for row in clips)
    refused = Counter(row.class_name for row in rejected)
    width = max(len(name) for name in ["class", *classes])
    lines = [f"{'class':{width}}  usable  padded  refused"]
    lines += [
        f"{name:{width}}  {usable[name]:6}  {padded[name]:6}  {refused[name]:7}" for name in classes
    ]
    marks = [
        (sum(row.damaged for row in clips), "partly damaged, used as far as they decode"),
        (around, "parts shorter than a clip, padded by what lies around them in the video"),
        (sum(row.truncated for row in clips), "longer than clip.max_seconds, used up to there"),
    ]
    lines += [f"{count} {text}" for count, text in marks if count]
    by_reason = grouped(rejected, key=lambda row: row.reason)
    for reason, rows in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        lines.append(f"{len(rows)} refused, {reason}: e.g. {rows[0].case}: {rows[0].detail}")
    return "\n".join(lines)


def check_rejected(
    clips: Sequence[ClipRow],
    rejected: Sequence[RejectedRow],
    *,
    manifest: Sequence[ManifestRow],
    cache: CacheParams,
    table: Path,
) -> None:
    """Fail if too many videos were refused, or a class lost its last video in a split.

    Classes of data.background do not count: where their parts lie depends on labelled ones, and one
    of these that lies past the end of its video would refuse many of them.

    Args:
        table: where the refused ones are listed, for the message.

    Raises:
        DataError: saying which.
    """
    background = {row.class_name for row in manifest if row.is_background}
    refused = sum(row.class_name not in background for row in rejected)
    total = refused + sum(row.class_name not in background for row in clips)
    noun = case_noun([*clips, *rejected])
    if total and refused / total > cache.max_rejected_fraction:
        raise DataError(
            f"{refused} of {total} {noun}s are refused ({refused / total:.1%}); "
            f"cache.max_rejected_fraction allows {cache.max_rejected_fraction:.1%}; see {table}"
        )
    left = {(row.split, row.class_name) for row in clips}
    for row in rejected:
        if (row.split, row.class_name) not in left:
            raise DataError(
                f"class {row.class_name!r} has no usable video left in {row.split}; see {table}, "
                "then mend or add videos, or change data.split_seed"
            )
