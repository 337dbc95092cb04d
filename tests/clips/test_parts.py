"""Parts of videos: which frames their clips hold, and what is decoded and stored for them."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import COMMAND, run_here
from synthetic import (
    make_manifest,
    make_params,
    read_numbers,
    steady,
    write_video,
)

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.base.manifest_table import ManifestRow, case_name
from slowfast_finetune.base.params import ClipParams, ClipShape
from slowfast_finetune.clip_maintenance import damaged_entries, find_leftovers, remove
from slowfast_finetune.clips import caching, parts, workers
from slowfast_finetune.clips.caching import cache_videos, entries_of, restore_entries, summary
from slowfast_finetune.clips.clip_reader import ClipReader
from slowfast_finetune.clips.clip_store import ClipStore, settings_digest
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow, RejectedRow
from slowfast_finetune.clips.decode_job import DecodeJob
from slowfast_finetune.clips.windows import ViewPlan, plan_training_epoch, plan_views
from slowfast_finetune.decoding.sampling import FrameRange

# Frame k shows the number k and is shown at k / 15 s; clips have 8 frames at 15 a second.
PARAMS = make_params(clip={"max_seconds": 10})
LENGTH = 900


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_video(root / "x/long.mp4", steady(LENGTH, 15), b_frames=3)
    write_video(root / "x/tiny.mp4", steady(5, 15))
    return root


def rows_of(project: Path, name: str, *times: tuple[float | None, float | None]) -> list[Any]:
    (row,) = make_manifest(project, [name])
    return [row._replace(start_seconds=start, end_seconds=end) for start, end in times]


class Cache:
    """Caches rows, and counts the videos and entries that are decoded for it."""

    def __init__(
        self,
        project: Path,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        clip: ClipParams = PARAMS.clip,
    ) -> None:
        self.project = project
        self.jobs: list[DecodeJob] = []
        self.store = ClipStore(root, clip)
        decode_all = workers.decode_all

        def counting(jobs: Sequence[DecodeJob], **options: Any) -> Any:
            self.jobs = [*jobs]
            return decode_all(jobs, **options)

        monkeypatch.setattr(caching, "decode_all", counting)

    def __call__(self, rows: Sequence[ManifestRow]) -> tuple[list[ClipRow], list[RejectedRow]]:
        return cache_videos(
            rows,
            params=PARAMS,
            store=self.store,
            project=self.project,
        )

    def numbers(self, row: ClipRow) -> list[int]:
        stored = self.store.clip(row)
        return read_numbers(stored[index] for index in range(stored.shape[0]))


@pytest.fixture
def cache(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    return Cache(project, tmp_path / "store", monkeypatch)


# Names


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, "a.mp4"),
        (3.2, 8.0, "a.mp4#t=3.2,8"),
        (0.0, 7384.125, "a.mp4#t=0,7384.125"),
        (60.0, None, "a.mp4#t=60"),
    ],
)
def test_the_name_of_a_case(start: float | None, end: float | None, expected: str) -> None:
    assert case_name("a.mp4", start, end) == expected


# Frames


@pytest.mark.parametrize(
    ("times", "expected", "sampled", "around"),
    [
        # A frame belongs to the part in which it appears: 30/15 is 2 s, 45/15 is 3 s.
        ((2.0, 3.0), range(30, 45), 15, 0),
        ((2.01, 3.01), range(31, 46), 15, 0),
        ((1.9995, 3.0), range(30, 45), 15, 0),  # half a millisecond is forgiven
        ((0.0, 1.0), range(15), 15, 0),
        # Too short: 4 frames of its own, 2 from before it and 2 from after it.
        ((2.0, 2.266), range(28, 36), 4, 4),
        ((0.0, 0.266), range(8), 4, 4),
        ((0.1, 0.2), range(8), 1, 7),
        ((59.9, 60.0), range(892, 900), 1, 7),
        # To the end of the video, and at most max_seconds.
        ((59.0, None), range(885, 900), 15, 0),
        ((3.0, None), range(45, 195), 150, 0),
        ((3.0, 33.0), range(45, 195), 150, 0),
        # Where it ends does not matter: what is used of it lies in the video.
        ((50.0, 900.0), range(750, 900), 150, 0),
        ((30.0, 900.0), range(450, 600), 150, 0),
        # Up to a second past the end is taken for rounding.
        ((59.0, 60.9), range(885, 900), 15, 0),
        ((59.8, 60.9), range(892, 900), 3, 5),
        ((2.0, 2.001), range(27, 35), 1, 7),
    ],
)
def test_the_frames_of_a_part(
    cache: Cache,
    times: tuple[float, float | None],
    expected: range,
    sampled: int,
    around: int,
) -> None:
    (row,), rejected = cache(rows_of(cache.project, "x/long.mp4", times))
    assert not rejected
    assert cache.numbers(row) == [*expected]
    assert (row.first_frame, row.num_frames) == (expected.start, len(expected))
    assert (row.num_sampled, row.num_around) == (sampled, around)
    assert row.truncated == (len(expected) == 150)
    assert row.stored_bytes == 0


def test_a_part_of_a_video_shorter_than_a_clip(cache: Cache) -> None:
    (row,), _ = cache(rows_of(cache.project, "x/tiny.mp4", (0.1, 0.2)))
    assert cache.numbers(row) == [0, 1, 2, 3, 4, 4, 4, 4]
    assert (row.num_frames, row.num_sampled, row.num_around) == (8, 1, 4)
    assert row.duration_seconds == 0.1


@pytest.mark.parametrize(
    ("times", "detail"),
    [
        ((61.0, 70.0), "the part begins at 61.00 s, the video ends at 60.00 s"),
        ((90.0, 95.0), "the part begins after the end of the video at 60.00 s"),
        ((60.0, None), "the part begins at 60.00 s, the video ends at 60.00 s"),
        ((58.0, 61.1), "the part ends at 61.10 s, the video ends at 60.00 s"),
        # Longer than max_seconds, 10 s, of which the video has 5.
        ((55.0, 900.0), "the part ends at 900.00 s, the video ends at 60.00 s"),
    ],
)
def test_a_part_past_the_end_is_refused(
    cache: Cache, times: tuple[float, float | None], detail: str
) -> None:
    rows = rows_of(cache.project, "x/long.mp4", (1.0, 2.0), times)
    clips, (rejected,) = cache(rows)
    assert [clip.start_seconds for clip in clips] == [1.0]
    assert (rejected.reason, rejected.case) == ("past_end", rows[1].case)
    assert rejected.detail == detail
    _, (rejected,) = cache([rows[0], rows[1]._replace(table_row=3)])
    assert rejected.detail == f"row 3 of the table of labels: {detail}"


def test_parts_padded_by_their_surroundings_are_counted(cache: Cache) -> None:
    clips, rejected = cache(rows_of(cache.project, "x/long.mp4", (1.0, 2.0), (5.0, 5.1)))
    text = summary(clips, rejected)
    assert "1 parts shorter than a clip, padded by what lies around them in the video" in text


def test_a_part_is_what_the_whole_video_holds_there(cache: Cache) -> None:
    whole = rows_of(cache.project, "x/tiny.mp4", (None, None))
    clips, _ = cache([*whole, *rows_of(cache.project, "x/tiny.mp4", (0.0, 0.3))])
    assert np.array_equal(*(cache.store.clip(row)[2] for row in clips))
    assert sorted(path.name for path in cache.store.folder.iterdir()) == sorted(
        [whole[0].content_hash, f"{whole[0].content_hash}.safetensors", "settings.json"]
    )


# What is decoded


PARTS = ((5.0, 6.0), (20.0, 22.0), (24.0, 25.0), (40.0, 41.0))


def test_one_pass_stores_the_parts_and_their_margins(cache: Cache) -> None:
    clips, _ = cache(rows_of(cache.project, "x/long.mp4", *PARTS))
    assert len(cache.jobs) == 1
    # 2 s are 30 frames. Parts that would be shorter than a clip if they lost the second that may
    # be past the end keep 8 frames more. The second and the third part share an entry.
    folder = cache.store.folder / clips[0].content_hash
    assert sorted(path.stem for path in folder.iterdir()) == ["270-413", "37-128", "562-653"]
    stored = sum(path.stat().st_size - 4096 for path in folder.iterdir())
    assert stored == (91 + 143 + 91) * 48 * 64 * 3


@pytest.mark.parametrize(
    "moved",
    [(3.01, 7.99), (6.9, 7.0), (5.0, 6.0), (5.5, 5.6), (4.0, 5.0)],
)
def test_a_boundary_moved_by_less_than_the_margin_decodes_nothing(
    cache: Cache, moved: tuple[float, float]
) -> None:
    cache(rows_of(cache.project, "x/long.mp4", *PARTS))
    ((row, *_), _) = cache(rows_of(cache.project, "x/long.mp4", moved, *PARTS[1:]))
    assert cache.jobs == []
    assert cache.numbers(row)[0] == row.first_frame


def test_a_part_more_decodes_that_part(cache: Cache) -> None:
    rows = rows_of(cache.project, "x/long.mp4", *PARTS, (50.0, 51.0))
    before, _ = cache(rows[:-1])
    after, _ = cache(rows)
    assert [job.ranges for job in cache.jobs] == [(FrameRange(712, 803),)]
    assert after[:-1] == before
    assert cache.numbers(after[-1]) == [*range(750, 765)]


def test_the_tables_do_not_depend_on_what_was_stored_before(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(cache.project, "x/long.mp4", (4.0, 5.9), (20.5, 21.5), (24.0, 25.0))
    cache(rows_of(cache.project, "x/long.mp4", *PARTS))
    grown = cache(rows)
    fresh = Cache(cache.project, tmp_path / "other", monkeypatch)
    assert fresh(rows) == grown
    assert [fresh.numbers(row) for row in grown[0]] == [cache.numbers(row) for row in grown[0]]


def test_many_ranges_are_several_jobs(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "MAX_RANGES", 2)
    clips, _ = cache(rows_of(cache.project, "x/long.mp4", *PARTS))
    assert [len(job.ranges) for job in cache.jobs] == [2, 1]
    assert [cache.numbers(row)[0] for row in clips] == [75, 300, 360, 600]


def test_nothing_is_left_of_a_video_that_fails_on_the_way(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(cache.project, "x/long.mp4", *PARTS)
    fake = [row._replace(content_hash="0" * 32) for row in rows]
    clips, rejected = cache(fake)
    assert not clips
    assert {row.reason for row in rejected} == {"changed"}
    assert [path.name for path in cache.store.folder.rglob("*")] == ["settings.json"]


# Reading


def test_a_part_to_the_end_is_padded_from_far_before_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 15 frames are left of the video, and a clip needs 64: 49 from before it, more than the margin.
    clip = make_params(clip={"num_frames": 64, "max_seconds": 10}).clip
    rows = rows_of(project, "x/long.mp4", (59.0, None))
    with monkeypatch.context() as patch:  # a store of a version that kept the margin alone
        patch.setattr(caching, "needed_range", lambda part, *_, **__: part)
        Cache(project, tmp_path / "store", patch, clip=clip)(rows)
    cache = Cache(project, tmp_path / "store", monkeypatch, clip=clip)
    clips, rejected = cache(rows)
    assert not rejected
    assert cache.numbers(clips[0]) == [*range(836, 900)]
    assert len(cache.jobs) == 1
    restore_entries(clips, params=PARAMS, store=cache.store, project=project)
    assert cache(rows) == (clips, [])
    assert cache.jobs == []


def test_windows_lie_in_their_part(cache: Cache) -> None:
    clips, _ = cache(rows_of(cache.project, "x/long.mp4", (20.0, 22.0), (24.0, 24.1)))
    reader = ClipReader(clips, folder=cache.store.folder, shape=ClipShape(8, 32))
    seen = {0: set[int](), 1: set[int]()}
    shape = ClipShape(8, 32)
    for epoch in range(60):
        (step,) = plan_training_epoch(clips, PARAMS.train, PARAMS.augment, shape, epoch=epoch)
        for window in step.windows:
            seen[window.clip].add(window.start + clips[window.clip].first_frame)
    assert min(seen[0]) == 300  # 20 s
    assert max(seen[0]) == 322  # the last window ends with frame 329, before 22 s
    assert seen[1] == {357}
    views = plan_views(clips, ClipShape(8, 48), ViewPlan(3))
    reader = ClipReader(clips, folder=cache.store.folder, shape=ClipShape(8, 48))
    batch = reader.gather(views)
    assert batch.clips.dtype == torch.uint8
    own = [clips[window.clip].first_frame + window.start for window in views]
    assert own == [300, 311, 322, 357, 357, 357]
    stored = cache.store.clip(clips[0])
    assert np.array_equal(batch.clips[1, 0].numpy(), stored[11][:48, 8:56])


def test_clips_that_are_gone_are_made_again(cache: Cache) -> None:
    clips, _ = cache(rows_of(cache.project, "x/long.mp4", *PARTS))
    lost = cache.store.path(f"{clips[0].content_hash}/37-128")
    lost.write_bytes(lost.read_bytes()[:5000])
    restore_entries(clips, params=PARAMS, store=cache.store, project=cache.project)
    assert [job.ranges for job in cache.jobs] == [(FrameRange(37, 128),)]
    assert cache.numbers(clips[0]) == [*range(75, 90)]
    lost.unlink()
    reader = ClipReader(clips, folder=cache.store.folder, shape=ClipShape(8, 32))
    with pytest.raises(DataError, match=r"^x/long.mp4#t=5,6: its clip is gone or damaged"):
        reader.gather(plan_views(clips, ClipShape(8, 32)))


@pytest.mark.parametrize("how", ["cut short", "unreadable"])
def test_looking_at_the_store_deletes_nothing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    rows = rows_of(cache.project, "x/long.mp4", *PARTS)
    clips, _ = cache(rows)
    victim = cache.store.path(f"{clips[0].content_hash}/37-128")
    whole = victim.read_bytes()
    with monkeypatch.context() as patch:
        if how == "cut short":
            victim.write_bytes(whole[:-1000])
        else:
            fail_to_open(victim, patch)
        keys, held = entries_of(rows, cache.store)
        assert keys[rows[0].case] not in held
        assert victim.stat().st_size == len(whole) - (1000 if how == "cut short" else 0)
        kept = victim.stat().st_ino
        assert cache(rows) == (clips, [])
        assert [job.ranges for job in cache.jobs] == [(FrameRange(37, 128),)]
    assert victim.stat().st_ino != kept, "written anew, and then renamed"
    assert victim.read_bytes()[4096:] == whole[4096:]


def fail_to_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk fail to read one file."""
    real = Path.open

    def fail(self: Path, *args: Any, **options: Any) -> Any:
        if self == path:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "open", fail)


def test_what_cannot_be_read_now_is_not_removed_as_damaged(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, _ = cache(rows_of(cache.project, "x/long.mp4", *PARTS))
    cut, unreadable, _ = sorted((cache.store.folder / clips[0].content_hash).iterdir())
    cut.write_bytes(cut.read_bytes()[:-1])
    fail_to_open(unreadable, monkeypatch)
    verify = run_here(tmp_path, COMMAND, "clips", "verify", "--remove")
    assert verify.returncode == 1
    assert f"{unreadable}: cannot be read: Input/output error" in verify.stdout
    assert "cannot be read, and kept: 1 file" in verify.stderr
    assert not cut.exists()
    assert unreadable.exists()


def test_the_store_is_looked_after(cache: Cache, tmp_path: Path) -> None:
    rows = rows_of(cache.project, "x/long.mp4", *PARTS)
    cache(rows)
    root, folder = cache.store.folder.parent, cache.store.folder / rows[0].content_hash
    current = settings_digest(PARAMS.clip)
    keys, _ = entries_of(rows, cache.store)
    assert not find_leftovers(root, current=current, keys={*keys.values()})
    data = bytearray((folder / "37-128.safetensors").read_bytes())
    data[9000] ^= 1
    (folder / "37-128.safetensors").write_bytes(data)
    assert [path.stem for path, _ in damaged_entries(root)] == ["37-128"]
    keys, _ = entries_of(rows[1:3], cache.store)
    found = find_leftovers(root, current=current, keys={*keys.values()})
    (files,) = found.values()
    assert sorted(path.stem for path in files) == ["37-128", "562-653"]
    remove(files)
    assert [path.stem for path in folder.iterdir()] == ["270-413"]
    (files,) = find_leftovers(root, current=current, keys=set()).values()
    remove(files)
    assert [path.name for path in cache.store.folder.iterdir()] == ["settings.json"]


def test_rows_of_parts_are_written_and_read(cache: Cache, tmp_path: Path) -> None:
    clips, _ = cache(rows_of(cache.project, "x/long.mp4", (1.5, 2.0), (3.0, None)))
    CLIPS.write(tmp_path / "clips.csv", clips)
    assert CLIPS.read_rows(tmp_path / "clips.csv") == clips


# Ranges


def test_what_is_stored_holds_every_clip() -> None:
    """On random lists of parts, of videos that end anywhere in them."""
    rng = np.random.default_rng(0)
    for _ in range(3000):
        frames = int(rng.choice([8, 16, 64]))
        fps = float(rng.choice([4, 8, 29.97]))
        most = max(float(rng.choice([2, 5, 60])), frames / fps)
        clip = PARAMS.clip.model_copy(
            update={"num_frames": frames, "sample_fps": fps, "max_seconds": most}
        )
        video_end = math.ceil(rng.uniform(0.2, 30) * fps)
        times = np.cumsum(rng.uniform(0.001, 8, 4)).round(3).tolist()
        rows = [
            ManifestRow("v", "c", 0, "train", None, "h", start, end)
            for start, end in zip(times[::2], times[1::2], strict=True)
        ][rng.integers(2) :]
        if rng.random() < 0.3:
            rows[-1] = rows[-1]._replace(end_seconds=None)
        needed = [
            parts.needed_range(parts.part_range(row, clip), clip, is_open=row.end_seconds is None)
            for row in rows
        ]
        stored = parts.ranges_to_store(needed, clip)
        for row, need in zip(rows, needed, strict=True):
            (held,) = (each for each in stored if each.covers(need))
            end = video_end if video_end < held.end else None
            try:
                part = parts.place_clip(row, clip, video_end=end)
            except VideoError:  # past the end
                continue
            assert held.first <= part.first_frame, row
            # A whole video that is shorter than a clip is padded.
            assert part.first_frame + part.num_frames <= max(min(held.end, video_end), frames), row


def test_a_margin_is_kept_and_ranges_that_touch_are_one() -> None:
    clip = PARAMS.clip
    margin = int(parts.MARGIN_SECONDS * 15)
    found = parts.ranges_to_store([FrameRange(200, 210), FrameRange(10, 40)], clip)
    assert found == [FrameRange(0, 40 + margin), FrameRange(200 - margin, 210 + margin)]
    close = [FrameRange(100, 110), FrameRange(110 + 2 * margin, 200 + margin)]
    assert parts.ranges_to_store(close, clip) == [FrameRange(100 - margin, 200 + 2 * margin)]


def test_times_of_a_table_are_taken_exactly() -> None:
    # 0.1 + 0.2 is more than 0.3 in binary; 2.3 × 10 is 23 − ε.
    row = ManifestRow("v", "c", 0, "train", None, "h", 0.3, 2.3)
    clip = make_params(clip={"sample_fps": 10}).clip
    assert parts.part_range(row, clip) == (3, 23)
