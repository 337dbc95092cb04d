"""Many videos to the store: each accounted for once, decoded once, whatever goes wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import synthetic
from in_process import run_here
from synthetic import make_manifest, make_rows, read_entry, read_numbers, steady, write_video

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.base.files import hash_file
from slowfast_finetune.base.hash_memo import MEMO_NAME, HashMemo, hash_files
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.base.params import Params
from slowfast_finetune.clip_maintenance import find_leftovers
from slowfast_finetune.clips import caching, decode_job, workers
from slowfast_finetune.clips.caching import (
    cache_videos,
    check_rejected,
    restore_entries,
    summary,
)
from slowfast_finetune.clips.clip_store import ClipStore, EntryInfo, settings_digest
from slowfast_finetune.clips.clip_tables import CLIPS, REJECTED, ClipRow, RejectedRow
from slowfast_finetune.clips.decode_job import DecodeJob, decode_to_store
from slowfast_finetune.decoding import sampled_frames

PROJECT = Path(__file__).resolve().parents[2]
PARAMS = synthetic.make_params(clip={"max_seconds": 2}, cache={"max_megapixels": 0.02})
AS_JPEG = synthetic.make_params(
    clip={"max_seconds": 2, "encoding": "jpeg"}, cache={"max_megapixels": 0.02}
)

GOOD = ["jump/fast.mp4", "jump/copy of fast.mp4", "jump/short.mp4", "wave/long.mp4"]
DAMAGED = ["wave/cut.mp4", "wave/partly.mp4", "wave/scratched.mp4"]
REASONS = {
    "jump/gone.mp4": "missing",
    "jump/replaced.mp4": "changed",
    "wave/empty.mp4": "empty_file",
    "wave/empty too.mp4": "empty_file",
    "wave/huge.mp4": "too_large",
    "wave/mostly.mp4": "mostly_damaged",
    "wave/none.mp4": "no_frames",
    "wave/sound.mp4": "no_video_stream",
    "wave/text.mp4": "not_a_video",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of every kind, good and bad. Shared: change nothing in it."""
    root = tmp_path_factory.mktemp("project")
    write_video(root / "jump/fast.mp4", steady(60, 60))
    shutil.copy(root / "jump/fast.mp4", root / "jump/copy of fast.mp4")
    write_video(root / "jump/short.mp4", steady(5, 15), width=48, height=64)
    write_video(root / "wave/long.mp4", steady(45, 15))
    for name, packets in (("partly", [3]), ("mostly", range(2, 12)), ("none", range(15))):
        path = write_video(root / f"wave/{name}.mp4", steady(15, 15), every_frame_alone=True)
        synthetic.overwrite_packets(path, indices=packets)
    path = write_video(root / "wave/scratched.mp4", steady(30, 15), every_frame_alone=True)
    synthetic.overwrite_packets(path, indices=[7])
    path = write_video(
        root / "wave/cut.mp4",
        steady(15, 15),
        every_frame_alone=True,
        container_options=synthetic.FASTSTART,
    )
    synthetic.cut_before_packet(path, index=12)
    write_video(root / "jump/gone.mp4", steady(4, 15))
    write_video(root / "jump/replaced.mp4", steady(3, 15))
    (root / "wave/empty.mp4").write_bytes(b"")
    (root / "wave/empty too.mp4").write_bytes(b"")
    write_video(root / "wave/huge.mp4", steady(3, 15), width=160, height=128)
    synthetic.write_sound(root / "wave/sound.mp4")
    (root / "wave/text.mp4").write_text("I am not a video.")
    return root


@pytest.fixture(scope="module")
def manifest(project: Path) -> list[ManifestRow]:
    rows = make_manifest(project, sorted([*GOOD, *DAMAGED, *REASONS]))
    # After the index: one video disappears, one becomes another.
    (project / "jump/gone.mp4").unlink()
    write_video(project / "jump/replaced.mp4", steady(6, 15))
    return rows


def cache(
    manifest: Sequence[ManifestRow],
    *,
    project: Path,
    store_root: Path,
    params: Params = PARAMS,
    num_workers: int = 1,
) -> tuple[list[ClipRow], list[RejectedRow]]:
    runtime = params.runtime.model_copy(update={"num_workers": num_workers})
    return cache_videos(
        manifest,
        params=params.model_copy(update={"runtime": runtime}),
        store=ClipStore(store_root, params.clip),
        project=project,
    )


@pytest.fixture(scope="module")
def cached(
    project: Path, manifest: list[ManifestRow], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[ClipRow], list[RejectedRow]]:
    """The store and the tables of the whole project. Shared: change nothing in it."""
    root = tmp_path_factory.mktemp("store")
    return (root, *cache(manifest, project=project, store_root=root, num_workers=2))


Cached = tuple[Path, list[ClipRow], list[RejectedRow]]


def contents(store_root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store_root)): path.read_bytes()
        for path in store_root.rglob("*")
        if path.is_file()
    }


def stamps(store_root: Path) -> dict[str, tuple[int, int]]:
    """What changes when an entry is written again: inode and time."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in store_root.rglob("*.safetensors")
    }


# What becomes of the videos


@pytest.mark.process
def test_every_video_is_accounted_for_exactly_once(
    cached: Cached, manifest: list[ManifestRow]
) -> None:
    _, clips, rejected = cached
    ends = [row.video_path for row in clips] + [row.video_path for row in rejected]
    assert sorted(ends) == sorted(row.video_path for row in manifest)
    assert {row.video_path for row in clips} == {*GOOD, *DAMAGED}


def test_each_refusal_has_its_reason(cached: Cached) -> None:
    _, _, rejected = cached
    assert {row.video_path: row.reason for row in rejected} == REASONS
    details = {row.video_path: row.detail for row in rejected}
    assert details["wave/mostly.mp4"] == (
        "33.3% of the frames decode; cache.min_decodable_fraction is 0.5"
    )
    assert details["wave/huge.mp4"] == (
        "frames of 160×128 px; at most 0.02 million pixels (in the pipeline cache.max_megapixels)"
    )
    assert all(detail and "\n" not in detail for detail in details.values())


def test_tables_keep_the_order_and_the_columns_of_the_manifest(
    cached: Cached, manifest: list[ManifestRow]
) -> None:
    _, clips, rejected = cached
    order = [row.video_path for row in manifest]
    for table in (clips, rejected):
        places = [order.index(row.video_path) for row in table]
        assert places == sorted(places)
    columns = [name for name in ManifestRow._fields if name != "table_row"]
    assert list(ClipRow._fields)[: len(columns)] == columns
    known = {row.video_path: row for row in manifest}
    for clip in clips:
        assert ManifestRow(*clip[: len(columns)]) == known[clip.video_path]


def test_facts_of_the_clips(cached: Cached) -> None:
    _, clips, _ = cached
    facts = {row.video_path: row for row in clips}
    # One second at 60 fps, 15 instants; nothing to pad.
    fast = facts["jump/fast.mp4"]
    assert (fast.num_frames, fast.num_sampled, fast.duration_seconds) == (15, 15, 1.0)
    assert (fast.height, fast.width, fast.source_height, fast.source_width) == (48, 64, 48, 64)
    assert (fast.decodable_fraction, fast.damaged, fast.truncated) == (1.0, False, False)
    assert fast.decoder == "pyav/h264"
    # Five frames, padded to eight; upright.
    short = facts["jump/short.mp4"]
    assert (short.num_frames, short.num_sampled, short.height, short.width) == (8, 5, 64, 48)
    # Three seconds, of which two are kept.
    long = facts["wave/long.mp4"]
    assert (long.num_frames, long.truncated, long.damaged) == (30, True, False)
    # 14 of 15.
    partly = facts["wave/partly.mp4"]
    assert (partly.num_frames, partly.decodable_fraction, partly.damaged) == (15, 0.9333, True)
    # 29 of 30: little is lost, but something is.
    scratched = facts["wave/scratched.mp4"]
    assert (scratched.decodable_fraction, scratched.damaged) == (0.9667, True)
    # Nothing fails to decode, but 3 of the 15 that the index tells of are not there.
    cut = facts["wave/cut.mp4"]
    assert (cut.num_frames, cut.decodable_fraction, cut.damaged) == (12, 0.8, True)


def test_the_store_holds_the_frames(cached: Cached) -> None:
    root, clips, _ = cached
    store = ClipStore(root, PARAMS.clip)
    assert {row.settings for row in clips} == {store.folder.name}
    numbers = {row.video_path: read_numbers(read_entry(store, row.content_hash)) for row in clips}
    every_fourth = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56]
    assert numbers == {
        "jump/fast.mp4": every_fourth,
        "jump/copy of fast.mp4": every_fourth,
        "jump/short.mp4": [0, 1, 2, 3, 4, 4, 4, 4],
        "wave/long.mp4": list(range(30)),
        "wave/partly.mp4": [0, 1, 2, 2, *range(4, 15)],
        "wave/scratched.mp4": [*range(7), 6, *range(8, 30)],
        "wave/cut.mp4": list(range(12)),
    }


def test_the_store_holds_nothing_else(cached: Cached, manifest: list[ManifestRow]) -> None:
    root, clips, _ = cached
    mostly = next(row for row in manifest if row.video_path == "wave/mostly.mp4")
    hashes = {row.content_hash for row in clips} | {mostly.content_hash}
    names = {path.name for path in root.rglob("*") if path.is_file()}
    assert names == {f"{h}.safetensors" for h in hashes} | {"settings.json"}
    # A copy shares its entry: seven clips, six entries.
    assert (len(clips), len({row.content_hash for row in clips})) == (7, 6)


def test_tables_come_back_from_disk(cached: Cached, tmp_path: Path) -> None:
    _, clips, rejected = cached
    CLIPS.write(tmp_path / "clips.csv", clips)
    REJECTED.write(tmp_path / "rejected.csv", rejected)
    assert CLIPS.read_rows(tmp_path / "clips.csv") == clips
    assert REJECTED.read_rows(tmp_path / "rejected.csv") == rejected


@pytest.mark.process
def test_another_encoding_decodes_anew_into_a_corner_of_its_own(
    few: Callable[..., list[ManifestRow]], tmp_path: Path
) -> None:
    rows = few("jump/short.mp4")
    root = tmp_path / "store"
    raw, _ = cache(rows, project=tmp_path, store_root=root)
    small, _ = cache(rows, project=tmp_path, store_root=root, params=AS_JPEG)
    assert {row.settings for row in raw}.isdisjoint(row.settings for row in small)
    for row, other in zip(raw, small, strict=True):
        assert row._replace(settings="", stored_bytes=0) == other._replace(
            settings="", stored_bytes=0
        )
        assert other.stored_bytes < row.stored_bytes / 3
        frames = read_entry(ClipStore(root, AS_JPEG.clip), row.content_hash)
        expected = read_numbers(read_entry(ClipStore(root, PARAMS.clip), row.content_hash))
        assert read_numbers(frames) == expected
    left = find_leftovers(
        root,
        current=settings_digest(AS_JPEG.clip),
        keys={row.content_hash for row in rows},
    )
    raw_names = {path.name for path in ClipStore(root, PARAMS.clip).folder.iterdir()}
    assert {path.name for files in left.values() for path in files} == raw_names


@pytest.mark.process
def test_loop_padding(tmp_path: Path) -> None:
    write_video(tmp_path / "jump/a.mp4", steady(3, 15))
    params = synthetic.make_params(clip={"padding": "loop"})
    rows = make_manifest(tmp_path, ["jump/a.mp4"])
    clips, _ = cache(rows, project=tmp_path, store_root=tmp_path / "store", params=params)
    store = ClipStore(tmp_path / "store", params.clip)
    frames = read_entry(store, clips[0].content_hash)
    assert read_numbers(frames) == [0, 1, 2, 0, 1, 2, 0, 1]


# Workers


@pytest.mark.process
@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_number_of_workers_changes_nothing(
    cached: Cached,
    manifest: list[ManifestRow],
    project: Path,
    tmp_path: Path,
    num_workers: int,
) -> None:
    root, clips, rejected = cached
    again = cache(manifest, project=project, store_root=tmp_path, num_workers=num_workers)
    assert again == (clips, rejected)
    assert contents(tmp_path) == contents(root)


def test_auto_uses_the_cores_that_are_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert workers.worker_count("auto") == 3
    assert [workers.worker_count(number) for number in (0, 1, 7)] == [1, 1, 7]


@pytest.fixture
def few(tmp_path: Path) -> Callable[..., list[ManifestRow]]:
    """A maker of a project in ``tmp_path``: some good videos and the one that is named."""

    def make(bad: str) -> list[ManifestRow]:
        names = [f"jump/{i}.mp4" for i in range(4)]
        for index, name in enumerate([*names[:2], bad, *names[2:]]):
            write_video(tmp_path / name, steady(5 + index, 15))
        return make_manifest(tmp_path, [*names[:2], bad, *names[2:]])

    return make


@pytest.mark.process
@pytest.mark.parametrize(
    ("worker", "bad", "reason", "detail"),
    [
        (synthetic.decode_or_crash, "crash", "crashed", "the decoder crashed (exit code -6)"),
        (
            synthetic.decode_or_hang,
            "hang",
            "timeout",
            "decoding took longer than 2 s and was stopped",
        ),
        (
            synthetic.decode_or_eat,
            "eat",
            "out_of_memory",
            "decoding needs more than cache.worker_memory_mb: 512",
        ),
        (synthetic.decode_or_fail, "fail", "decoder_error", "LookupError: nobody foresaw this"),
    ],
)
def test_a_worker_that_goes_wrong_costs_only_its_video(
    few: Callable[..., list[ManifestRow]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    worker: Callable[[DecodeJob], EntryInfo],
    bad: str,
    reason: str,
    detail: str,
) -> None:
    rows = few(f"jump/{bad}.mp4")
    params = synthetic.make_params(
        cache={"timeout_seconds": 2 if bad == "hang" else 60, "worker_memory_mb": 512}
    )
    monkeypatch.setattr(workers, "decode_to_store", worker)
    clips, rejected = cache(
        rows, project=tmp_path, store_root=tmp_path / "store", params=params, num_workers=2
    )
    assert [row.video_path for row in clips] == [f"jump/{i}.mp4" for i in range(4)]
    assert [(row.video_path, row.reason, row.detail) for row in rejected] == [
        (f"jump/{bad}.mp4", reason, detail)
    ]
    # Nor does it leave half an entry lying about.
    left = [path.suffix for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert sorted(left) == [".json", *[".safetensors"] * 4]


@pytest.mark.process
def test_copy_is_decoded_when_the_first_of_them_has_gone(tmp_path: Path) -> None:
    write_video(tmp_path / "jump/0.mp4", steady(5, 15))
    (tmp_path / "jump/1.mp4").write_bytes((tmp_path / "jump/0.mp4").read_bytes())
    rows = make_manifest(tmp_path, ["jump/0.mp4", "jump/1.mp4"])
    (tmp_path / "jump/0.mp4").unlink()
    clips, rejected = cache(
        rows, project=tmp_path, store_root=tmp_path / "store", params=PARAMS, num_workers=1
    )
    assert len(clips) == 2
    assert rejected == []


def test_a_list_of_other_files_is_no_video(tmp_path: Path) -> None:
    write_video(tmp_path / "jump/0.mp4", steady(5, 15))
    other = tmp_path / "jump/0.mp4"
    os.utime(other, (1, 1))  # a reading sets the time of access even where the system is lazy
    (tmp_path / "jump/list.mp4").write_text("ffconcat version 1.0\nfile 0.mp4\n")
    job = make_job(tmp_path / "jump/list.mp4", store_root=tmp_path / "store")
    with pytest.raises(VideoError, match="a list of other files"):
        decode_to_store(job)
    assert other.stat().st_atime == 1, "nor is anything else opened"


def test_limits_of_a_worker_end_with_its_video(tmp_path: Path) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_DATA)
    decode_to_store(
        make_job(write_video(tmp_path / "0.mp4", steady(5, 15)), store_root=tmp_path / "store")
    )
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_time_allowed_grows_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x" * 3_000_000)
    job = make_job(path, store_root=tmp_path)
    assert job.seconds_allowed == 60 + 3 * 2.0
    path.unlink()
    assert job.seconds_allowed == 60


@pytest.mark.process
def test_a_full_disk_stops_the_run(
    few: Callable[..., list[ManifestRow]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = few("jump/x.mp4")
    monkeypatch.setattr(workers, "decode_to_store", synthetic.decode_on_full_disk)
    with pytest.raises(DataError, match=r"the clip store .*store/\w+: No space left on device"):
        cache(rows, project=tmp_path, store_root=tmp_path / "store")


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="clip store"):
        cache([], project=tmp_path, store_root=tmp_path / "store")


@synthetic.needs_permissions
@pytest.mark.parametrize("place", ["jump/0.mp4", "jump"])
def test_a_video_that_may_not_be_read_is_refused(
    few: Callable[..., list[ManifestRow]], tmp_path: Path, place: str
) -> None:
    rows = few("wave/x.mp4")
    (tmp_path / place).chmod(0)
    try:
        clips, rejected = cache(rows, project=tmp_path, store_root=tmp_path / "store")
    finally:
        (tmp_path / place).chmod(0o755)
    assert "wave/x.mp4" in {row.video_path for row in clips}
    assert {row.reason for row in rejected} == {"unreadable"}


def make_job(video: Path, *, store_root: Path) -> DecodeJob:
    return DecodeJob(
        video=video,
        cache=synthetic.make_params(
            cache={"max_megapixels": 1, "timeout_seconds": 60, "worker_memory_mb": 1024}
        ).cache,
        content_hash=hash_file(video),
        hashed_as=None,
        store=ClipStore(store_root, PARAMS.clip),
    )


def test_a_video_that_becomes_unreadable_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root, too: the disk fails while the file is read."""
    job = make_job(write_video(tmp_path / "a.mp4", steady(3, 15)), store_root=tmp_path / "store")
    opened = Path.open

    def open_or_fail(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == job.video:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_or_fail)
    with pytest.raises(VideoError) as caught:
        decode_to_store(job)
    assert caught.value.reason == "unreadable"


def test_a_video_is_read_again_to_hash_it_only_if_it_has_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "a.mp4", steady(3, 15))
    os.utime(video, (1e9, 1e9))
    rows = make_manifest(tmp_path, ["a.mp4"])
    store = ClipStore(tmp_path / "store", PARAMS.clip)
    hash_files([video], memo=HashMemo(tmp_path / "store" / MEMO_NAME))
    hashed: list[Path] = []
    monkeypatch.setattr(
        decode_job, "hash_file", lambda path: (hashed.append(path), hash_file(path))[1]
    )

    def decode_here(jobs: Sequence[DecodeJob], **_: Any) -> Iterator[Any]:
        yield from map(decode_to_store, jobs)

    monkeypatch.setattr(caching, "decode_all", decode_here)
    cache(rows, project=tmp_path, store_root=tmp_path / "store")
    assert hashed == []
    # The same bytes at another time; then other bytes, of which the memo knows nothing.
    os.utime(video, (1e9, 2e9))
    store.path(rows[0].content_hash).unlink()
    cache(rows, project=tmp_path, store_root=tmp_path / "store")
    assert hashed == [video]
    video.write_bytes(video.read_bytes() + b"\0")
    store.path(rows[0].content_hash).unlink()
    with pytest.raises(VideoError, match="changed since it was indexed"):
        cache(rows, project=tmp_path, store_root=tmp_path / "store")


@pytest.mark.parametrize(
    "change", [lambda path: path.write_bytes(path.read_bytes() + b"\0"), Path.unlink]
)
def test_a_video_that_changes_while_it_is_decoded_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    job = make_job(write_video(tmp_path / "a.mp4", steady(3, 15)), store_root=tmp_path / "store")
    runs = sampled_frames.sampled_runs

    def change_and_decode(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from runs(*args, **kwargs)
        change(job.video)

    monkeypatch.setattr(sampled_frames, "sampled_runs", change_and_decode)
    with pytest.raises(VideoError) as caught:
        decode_to_store(job)
    assert caught.value.reason == "changed"
    assert not job.store.path(job.content_hash).exists()


# The second time


def no_decoding(jobs: Sequence[DecodeJob], **_: Any) -> Iterator[Any]:
    assert not jobs, f"{[job.video.name for job in jobs]} would be decoded"
    return iter(())


@pytest.mark.process
def test_a_second_run_decodes_nothing(
    few: Callable[..., list[ManifestRow]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = few("jump/x.mp4")
    first = cache(rows, project=tmp_path, store_root=tmp_path / "store")
    before = stamps(tmp_path)
    monkeypatch.setattr(caching, "decode_all", no_decoding)
    assert cache(rows, project=tmp_path, store_root=tmp_path / "store") == first
    # Nor does another name, split, label or group.
    renamed = [
        row._replace(video_path=f"x{i}", split="test", label=1, group="g")
        for i, row in enumerate(rows)
    ]
    clips, _ = cache(renamed, project=tmp_path, store_root=tmp_path / "store")
    assert [(row.video_path, row.split) for row in clips] == [(f"x{i}", "test") for i in range(5)]
    assert stamps(tmp_path) == before


@pytest.mark.process
def test_what_is_refused_does_not_depend_on_what_the_store_holds(
    few: Callable[..., list[ManifestRow]], tmp_path: Path
) -> None:
    rows = few("jump/x.mp4")
    cache(rows, project=tmp_path, store_root=tmp_path / "warm")
    # 64 · 48 = 3072 px are too many now.
    params = synthetic.make_params(clip={"max_seconds": 2}, cache={"max_megapixels": 0.003})
    fresh = cache(rows, project=tmp_path, store_root=tmp_path / "fresh", params=params)
    warm = cache(rows, project=tmp_path, store_root=tmp_path / "warm", params=params)
    assert {row.reason for row in fresh[1]} == {"too_large"}
    assert warm == fresh


def test_min_decodable_fraction_is_judged_anew_without_decoding(
    cached: Cached, manifest: list[ManifestRow], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _, _ = cached
    monkeypatch.setattr(caching, "decode_all", no_decoding)
    damaged = [row for row in manifest if row.video_path in {"wave/mostly.mp4", "wave/partly.mp4"}]
    for fraction, usable in ((0.3, 2), (0.34, 1), (0.93, 1), (0.94, 0)):
        params = synthetic.make_params(
            clip={"max_seconds": 2}, cache={"min_decodable_fraction": fraction}
        )
        clips, rejected = cache(damaged, project=project, store_root=root, params=params)
        assert (len(clips), len(rejected)) == (usable, 2 - usable)


@pytest.mark.process
def test_one_more_video_is_one_more_to_decode(
    few: Callable[..., list[ManifestRow]], tmp_path: Path
) -> None:
    rows = few("jump/x.mp4")
    cache(rows[:4], project=tmp_path, store_root=tmp_path / "store")
    before = stamps(tmp_path)
    cache(rows, project=tmp_path, store_root=tmp_path / "store")
    after = stamps(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut short":
        path.write_bytes(content[:-1])
    elif how == "header":
        path.write_bytes(b"\0" * 100 + content[100:])
    elif how == "another":
        path.write_bytes(content.replace(path.stem.encode(), b"0" * 32))
    else:
        path.unlink()


@pytest.mark.process
@pytest.mark.parametrize(
    ("how", "params"),
    [
        ("cut short", PARAMS),
        ("cut short", AS_JPEG),
        ("header", AS_JPEG),
        ("another", PARAMS),
        ("gone", PARAMS),
    ],
)
def test_a_damaged_entry_is_made_again(
    few: Callable[..., list[ManifestRow]], tmp_path: Path, how: str, params: Params
) -> None:
    rows = few("jump/x.mp4")
    first = cache(rows, project=tmp_path, store_root=tmp_path / "store", params=params)
    whole, before = contents(tmp_path / "store"), stamps(tmp_path)
    victim = ClipStore(tmp_path / "store", params.clip).path(rows[1].content_hash)
    damage(victim, how)

    assert cache(rows, project=tmp_path, store_root=tmp_path / "store", params=params) == first

    assert contents(tmp_path / "store") == whole
    after = stamps(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {victim.name}


@pytest.mark.process
def test_restoring_makes_again_what_is_missing_or_damaged(
    few: Callable[..., list[ManifestRow]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = few("jump/x.mp4")
    store = ClipStore(tmp_path / "store", PARAMS.clip)
    clips, _ = cache(rows, project=tmp_path, store_root=tmp_path / "store")
    whole = contents(tmp_path / "store")
    damage(store.path(rows[0].content_hash), "gone")
    damage(store.path(rows[3].content_hash), "cut short")
    restore_entries(clips, params=PARAMS, store=store, project=tmp_path)
    assert contents(tmp_path / "store") == whole

    monkeypatch.setattr(caching, "decode_all", no_decoding)
    restore_entries(clips, params=PARAMS, store=store, project=tmp_path)


@pytest.mark.process
def test_a_sound_entry_of_another_length_is_not_decoded_again(
    few: Callable[..., list[ManifestRow]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = few("jump/x.mp4")
    clips, _ = cache(rows, project=tmp_path, store_root=tmp_path / "store")
    monkeypatch.setattr(caching, "decode_all", no_decoding)
    # As a JPEG library of another version on the machine that wrote the table would have it.
    others = [row._replace(stored_bytes=row.stored_bytes + 1) for row in clips]
    store = ClipStore(tmp_path / "store", PARAMS.clip)
    restore_entries(others, params=PARAMS, store=store, project=tmp_path)


@pytest.mark.process
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "cannot be made again: there is no such file"),
        (lambda path: path.write_bytes(b"x"), "cannot be made again: the file changed"),
    ],
)
def test_restoring_says_which_video_it_cannot_restore(
    few: Callable[..., list[ManifestRow]],
    tmp_path: Path,
    change: Callable[[Path], object],
    said: str,
) -> None:
    rows = few("jump/x.mp4")
    store = ClipStore(tmp_path / "store", PARAMS.clip)
    clips, _ = cache(rows, project=tmp_path, store_root=tmp_path / "store")
    damage(store.path(rows[2].content_hash), "gone")
    change(tmp_path / "jump/x.mp4")
    with pytest.raises(DataError, match=rf"jump/x\.mp4: its clip is missing and {said}"):
        restore_entries(clips, params=PARAMS, store=store, project=tmp_path)


@pytest.mark.process
def test_restoring_notices_another_clip(
    few: Callable[..., list[ManifestRow]], tmp_path: Path
) -> None:
    rows = few("jump/x.mp4")
    clips, _ = cache(rows, project=tmp_path, store_root=tmp_path / "store")
    wrong = [clips[0]._replace(num_frames=99, stored_bytes=99), *clips[1:]]
    with pytest.raises(DataError, match=r"jump/0\.mp4: gives another clip than data/clips\.csv"):
        restore_entries(
            wrong,
            params=PARAMS,
            store=ClipStore(tmp_path / "store", PARAMS.clip),
            project=tmp_path,
        )


def test_restoring_notices_other_parameters(tmp_path: Path) -> None:
    params = synthetic.make_params()
    store = ClipStore(tmp_path / "store", params.clip)
    right = make_rows(2, settings=store.folder.name)
    with pytest.raises(DataError, match=r"made with other clip: parameters .* run `dvc repro`"):
        restore_entries(
            [right[0], right[1]._replace(settings="f" * 16)],
            params=params,
            store=store,
            project=tmp_path,
        )


# Too many refused


def make_rejected(count: int, **changes: Any) -> list[RejectedRow]:
    return [
        RejectedRow(
            **{
                "video_path": f"jump/bad {index}.mp4",
                "class_name": "jump",
                "split": "train",
                "content_hash": f"{index:032x}",
                "reason": "not_a_video",
                "detail": "cannot be opened: Invalid data",
                **changes,
            }
        )
        for index in range(count)
    ]


def check(clips: list[ClipRow], rejected: list[RejectedRow], allowed: float) -> None:
    params = synthetic.make_params(cache={"max_rejected_fraction": allowed})
    table = Path("data/rejected.csv")
    check_rejected(clips, rejected, manifest=[], cache=params.cache, table=table)


@pytest.mark.parametrize(
    ("usable", "refused", "allowed"),
    [(10, 0, 0), (9, 1, 0.1), (1, 1, 0.5), (1, 9, 1), (71, 29, 0.29), (42, 58, 0.58), (0, 0, 0)],
)
def test_as_many_refused_as_allowed(usable: int, refused: int, allowed: float) -> None:
    check(make_rows(usable), make_rejected(refused), allowed)


@pytest.mark.parametrize(
    ("usable", "refused", "allowed", "said"),
    [
        (9, 1, 0, r"1 of 10 videos are refused \(10\.0%\).*allows 0\.0%"),
        (8, 2, 0.1, r"2 of 10 videos are refused \(20\.0%\).*allows 10\.0%.*data/rejected\.csv"),
        (70, 30, 0.29, r"30 of 100 videos"),
    ],
)
def test_more_refused_than_allowed(usable: int, refused: int, allowed: float, said: str) -> None:
    with pytest.raises(DataError, match=said):
        check(make_rows(usable), make_rejected(refused), allowed)


def test_refused_parts_of_the_background_do_not_count() -> None:
    params = synthetic.make_params(cache={"max_rejected_fraction": 0.1})
    clips = [*make_rows(9), *make_rows(20, class_name="nothing")]
    rejected = [*make_rejected(1), *make_rejected(20, class_name="nothing", reason="past_end")]
    # The part from 0 s is named by no table; the whole video has no row of one either.
    manifest = [
        ManifestRow("a.mp4", "nothing", 0, "train", None, "0" * 32, 0.0, 1.5),
        ManifestRow("a.mp4", "jump", 1, "train", None, "0" * 32, 2.0, 3.0, 2),
        ManifestRow("b.mp4", "jump", 1, "train", None, "1" * 32),
    ]
    found = {"manifest": manifest, "cache": params.cache, "table": Path("data/rejected.csv")}
    check_rejected(clips, rejected, **found)
    with pytest.raises(DataError, match=r"^2 of 11 videos are refused \(18\.2%\)"):
        check_rejected(clips, [*rejected, *make_rejected(1)], **found)


def test_a_class_that_lost_its_last_video_in_a_split() -> None:
    clips = [*make_rows(8), *make_rows(2, split="test", class_name="wave")]
    with pytest.raises(DataError, match="class 'jump' has no usable video left in test"):
        check(clips, make_rejected(1, split="test"), 0.5)
    # One of several lost is no harm.
    check([*clips, *make_rows(1, split="test")], make_rejected(1, split="test"), 0.5)


def test_summary_for_the_person() -> None:
    clips = [
        *make_rows(3),
        *make_rows(2, num_sampled=5, num_frames=8),
        *make_rows(1, class_name="long name", damaged=True, truncated=True),
    ]
    rejected = [
        *make_rejected(1, reason="timeout", detail="too long", class_name="wave"),
        *make_rejected(2),
    ]
    assert summary(clips, rejected).splitlines() == [
        "class      usable  padded  refused",
        "jump            5       2        2",
        "long name       1       0        0",
        "wave            0       0        1",
        "1 partly damaged, used as far as they decode",
        "1 longer than clip.max_seconds, used up to there",
        "2 refused, not_a_video: e.g. jump/bad 0.mp4: cannot be opened: Invalid data",
        "1 refused, timeout: e.g. jump/bad 0.mp4: too long",
    ]


# The stage


@pytest.mark.process
def test_the_stage_writes_both_tables_even_when_it_fails(tmp_path: Path) -> None:
    names = [f"videos/jump/{i}.mp4" for i in range(3)]
    for index, name in enumerate(names):
        write_video(tmp_path / name, steady(5 + index, 15))
    (tmp_path / names[1]).write_bytes(b"no video")
    MANIFEST.write(tmp_path / "data/manifest.csv", make_manifest(tmp_path, names))
    params = synthetic.make_params(cache={"max_rejected_fraction": 0.3})
    synthetic.write_params(tmp_path / "params.yaml", params)
    done = run_here(tmp_path, "stages/cache.py")
    assert done.returncode == 1
    assert "error: 1 of 3 videos are refused (33.3%)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "1 refused, not_a_video: e.g. videos/jump/1.mp4" in done.stdout
    clips = CLIPS.read_rows(tmp_path / "data/clips.csv")
    rejected = REJECTED.read_rows(tmp_path / "data/rejected.csv")
    assert [row.video_path for row in clips] == [names[0], names[2]]
    assert [row.video_path for row in rejected] == [names[1]]
    store = ClipStore(tmp_path / "store", params.clip)
    assert [store.verify(row.content_hash).num_frames for row in clips] == [8, 8]
