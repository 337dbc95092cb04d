"""From the store to batches: every pixel where it belongs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import make_params, make_rows, write_entry

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.params import ClipShape, Params
from slowfast_finetune.clips import clip_reader
from slowfast_finetune.clips.clip_reader import Batch, ClipLoader, ClipReader
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.stored_frames import Frames
from slowfast_finetune.clips.windows import Window, plan_training_epoch

NUM_ROWS = 6


@pytest.fixture
def store(tmp_path: Path, small_params: Callable[..., Params]) -> ClipStore:
    return ClipStore(tmp_path / "clips", small_params().clip)


@pytest.fixture
def rows() -> list[ClipRow]:
    """Six videos: 20 frames of 48×64, and 12 of 64×48."""
    wide, tall = make_rows(NUM_ROWS), make_rows(NUM_ROWS, num_frames=12, height=64, width=48)
    return [*wide[:3], *tall[3:]]


@pytest.fixture
def videos(store: ClipStore, rows: list[ClipRow]) -> list[Frames]:
    """The frames that the store holds for each row: noise, so that each pixel tells its place."""
    rng = np.random.default_rng(0)
    videos = []
    for row in rows:
        shape = (row.num_frames, row.height, row.width, 3)
        frames = rng.integers(0, 256, shape, dtype=np.uint8)
        write_entry(store, row, frames)
        videos.append(frames)
    return videos


@pytest.fixture
def reader_of_two(
    store: ClipStore, rows: list[ClipRow], videos: list[Frames], monkeypatch: pytest.MonkeyPatch
) -> ClipReader:
    """It keeps two maps open."""
    monkeypatch.setattr(clip_reader, "MAX_OPEN_MAPS", 2)
    return ClipReader(rows, folder=store.folder, shape=ClipShape(8, 32))


@pytest.fixture
def reader(store: ClipStore, rows: list[ClipRow], videos: list[Frames]) -> ClipReader:
    return ClipReader(rows, folder=store.folder, shape=ClipShape(8, 32))


def test_a_batch_by_hand(reader: ClipReader, videos: list[Frames]) -> None:
    batch = reader.gather(
        [Window(4, 4, 32, 16, 32), Window(0, 0, 0, 0, 32), Window(2, 12, 16, 32, 32)]
    )
    assert batch.clips.dtype == torch.uint8
    assert batch.clips.shape == (3, 8, 32, 32, 3)
    expected = [videos[4][4:12, 32:64, 16:48], videos[0][:8, :32, :32], videos[2][12:, 16:, 32:]]
    assert np.array_equal(batch.clips.numpy(), np.stack(expected))
    # Labels count 0 1 2 0 1 2.
    assert batch.labels.tolist() == [1, 0, 2]
    assert batch.labels.dtype == torch.int64


def test_a_smaller_window_fills_the_corner(reader: ClipReader, videos: list[Frames]) -> None:
    batch = reader.gather([Window(1, 3, 5, 7, side=20, mirrored=True)])
    assert batch.clips.shape == (1, 8, 32, 32, 3)
    corner = batch.clips[0, :, :20, :20].numpy()
    assert np.array_equal(corner, videos[1][3:11, 5:25, 7:27]), "mirrored later, on the device"


def test_the_same_video_twice_in_a_batch(reader: ClipReader, videos: list[Frames]) -> None:
    batch = reader.gather([Window(0, 0, 0, 0, 32), Window(0, 5, 1, 2, 32)])
    assert np.array_equal(batch.clips[1].numpy(), videos[0][5:13, 1:33, 2:34])


def test_a_batch_is_the_callers_own(reader: ClipReader, videos: list[Frames]) -> None:
    first = reader.gather([Window(0, 0, 0, 0, 32)])
    first.clips.zero_()
    assert np.array_equal(reader.gather([Window(0, 0, 0, 0, 32)]).clips[0], videos[0][:8, :32, :32])


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"short")])
def test_an_entry_that_is_gone_is_named(
    reader: ClipReader,
    store: ClipStore,
    rows: list[ClipRow],
    damage: Callable[[Path], object],
) -> None:
    damage(store.path(rows[3].content_hash))
    with pytest.raises(DataError, match=r"jump/3\.mp4: its clip is gone or .*0003\.safetensors"):
        reader.gather([Window(3, 0, 0, 0, 32)])


# Maps


def open_maps(folder: Path) -> int:
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc on this system")
def test_the_number_of_open_maps_is_bounded(
    reader_of_two: ClipReader, store: ClipStore, videos: list[Frames]
) -> None:
    for clip in [*range(NUM_ROWS), *range(NUM_ROWS)]:
        batch = reader_of_two.gather([Window(clip, 0, 0, 0, 32)])
        assert np.array_equal(batch.clips[0], videos[clip][:8, :32, :32])
        assert open_maps(store.folder) <= 2
    assert open_maps(store.folder) == 2


def test_the_bound_is_below_the_usual_limits() -> None:
    # 1024 open files, 65530 maps.
    assert 16 <= clip_reader.MAX_OPEN_MAPS < 1000


def test_what_was_used_last_stays_open(
    reader_of_two: ClipReader, store: ClipStore, rows: list[ClipRow]
) -> None:
    for clip in (0, 1, 0, 2):
        reader_of_two.gather([Window(clip, 0, 0, 0, 32)])
    # 1 is the one that was not used for longest. An open map outlives its file's name.
    store.path(rows[0].content_hash).unlink()
    store.path(rows[2].content_hash).unlink()
    reader_of_two.gather([Window(0, 0, 0, 0, 32), Window(2, 0, 0, 0, 32)])


# The loader


def plan_of(rows: Sequence[ClipRow], batch_size: int = 2) -> list[Sequence[Window]]:
    params = make_params(train={"batch_size": batch_size})
    steps = plan_training_epoch(rows, params.train, params.augment, ClipShape(8, 32), epoch=0)
    return [step.windows for step in steps]


def assert_same(given: Batch, expected: Batch) -> None:
    for one, other in zip(given, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("read_ahead", [0, 1, 3, 100])
def test_batches_come_in_the_order_of_the_plan(
    reader: ClipReader, rows: list[ClipRow], monkeypatch: pytest.MonkeyPatch, read_ahead: int
) -> None:
    monkeypatch.setattr(clip_reader, "BATCHES_AHEAD", read_ahead)
    plan = plan_of(rows)
    loader = ClipLoader(reader, plan)
    assert len(loader) == 3
    # And again, for a second pass.
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(plan)
        for batch, windows in zip(batches, plan, strict=True):
            assert_same(batch, reader.gather(windows))


@pytest.mark.parametrize("num_threads", [2, 5])
def test_threads_change_nothing(reader: ClipReader, rows: list[ClipRow], num_threads: int) -> None:
    plan = plan_of(rows, batch_size=1) * 20
    several = ClipLoader(reader, plan, num_threads=num_threads)
    for batch, windows in zip(several, plan, strict=True):
        assert_same(batch, reader.gather(windows))


def test_three_batches_are_read_ahead(
    reader: ClipReader, rows: list[ClipRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = [[Window(0, 0, 0, 0, 32)]] * 20
    # Before a batch is read, room is made for it.
    begun = []
    allocate = reader.allocate
    monkeypatch.setattr(reader, "allocate", lambda windows: (begun.append(1), allocate(windows))[1])
    loader: Any = iter(ClipLoader(reader, plan))
    for given in range(1, 4):
        next(loader)
        assert len(begun) == given + 3
    loader.close()


def test_a_loader_without_a_plan_is_empty(reader: ClipReader) -> None:
    assert list(ClipLoader(reader, [])) == []


def test_a_fault_reaches_the_one_who_asks(
    reader: ClipReader, store: ClipStore, rows: list[ClipRow], videos: list[Frames]
) -> None:
    store.path(rows[4].content_hash).unlink()
    plan = [[Window(clip, 0, 0, 0, 32)] for clip in range(NUM_ROWS)]
    loader: Any = iter(ClipLoader(reader, plan))
    for clip in range(4):
        assert np.array_equal(next(loader).clips[0], videos[clip][:8, :32, :32])
    with pytest.raises(DataError, match=r"jump/4\.mp4"):
        next(loader)


def test_no_thread_outlives_the_loop(reader: ClipReader, rows: list[ClipRow]) -> None:
    before = threading.active_count()
    list(ClipLoader(reader, plan_of(rows)))
    loader: Any = iter(ClipLoader(reader, plan_of(rows)))
    next(loader)
    assert threading.active_count() == before + 1
    loader.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("device", "num_devices", "cores", "threads"),
    [
        ("cpu", 1, 16, 4),
        ("cpu", 1, 64, 8),
        ("cpu", 1, 2, 1),
        ("cpu", 4, 16, 1),
        ("cuda", 1, 16, 15),
        ("cuda", 2, 16, 7),
        ("cuda", 1, 1, 1),
        ("cuda", 8, 4, 1),
    ],
)
def test_a_gpu_is_fed_by_all_cores_but_one_and_a_cpu_by_a_quarter(
    device: str, num_devices: int, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert clip_reader.reading_threads(torch.device(device), num_devices) == threads
