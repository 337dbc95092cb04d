"""Frames of many videos: in order, whatever a decoder does, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from faulty_decoders import serve_with_faults
from synthetic import numbered_frame, read_number, steady, write_video

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.predicting import streams
from slowfast_finetune.predicting.shelf import Shelf
from slowfast_finetune.predicting.streams import DecodeLimits, Wanted, frame_streams

WANTED = Wanted(sample_fps=15, short_side=48)
LIMITS = DecodeLimits(seconds_without_frame=1.0, worker_memory_mb=512)


def decoders() -> list[psutil.Process]:
    """Decoding processes of ours: children of the fork server."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            parent = process.parent()
            if parent and "forkserver" in " ".join(parent.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No thread and no decoding process outlives what is tested."""
    threads = set(threading.enumerate())
    before = {process.pid for process in decoders()}
    yield
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        left = set(threading.enumerate()) - threads
        processes = {process.pid for process in decoders()} - before
        if not left and not processes:
            return
        time.sleep(0.02)
    raise AssertionError(f"{left} and {processes} are left")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_serve", serve_with_faults)


def made(folder: Path, *names: str) -> list[Path]:
    paths = [folder / f"{name}.mp4" for name in names]
    for path in paths:
        path.write_bytes(b"x")
    return paths


def outcomes(paths: list[Path], *, num_workers: int) -> dict[str, int | str]:
    """Frames of each video, or why it was refused."""
    found: dict[str, int | str] = {}
    for path, frames in frame_streams(paths, WANTED, LIMITS, num_workers=num_workers):
        try:
            found[path.stem] = sum(1 for _ in frames)
        except VideoError as error:
            found[path.stem] = error.reason
    return found


@pytest.mark.process
@pytest.mark.parametrize("num_workers", [1, 3])
def test_videos_come_in_order_with_all_of_their_frames(tmp_path: Path, num_workers: int) -> None:
    lengths = [12, 1, 30, 7, 20]
    paths = [
        write_video(tmp_path / f"{i}.mp4", steady(length, 15)) for i, length in enumerate(lengths)
    ]
    found = [
        (path, [read_number(frame) for frame in frames])
        for path, frames in frame_streams(paths, WANTED, LIMITS, num_workers=num_workers)
    ]
    assert found == [
        (path, list(range(length))) for path, length in zip(paths, lengths, strict=True)
    ]


@pytest.mark.process
def test_a_frame_shown_at_several_instants_comes_as_often(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slow.mp4", steady(4, 5))
    ((_, frames),) = [(p, list(f)) for p, f in frame_streams([path], WANTED, LIMITS, num_workers=1)]
    assert [read_number(frame) for frame in frames] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert frames[0].dtype == np.uint8
    assert frames[0].shape == numbered_frame(0).shape


@pytest.mark.process
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_fault_costs_its_video_only(tmp_path: Path, faulty: None, num_workers: int) -> None:
    names = ["a", "crash", "b-40", "spin", "refuse", "c", "stumble", "eat", "d-2", "sleep", "e"]
    paths = made(tmp_path, *names)
    assert outcomes(paths, num_workers=num_workers) == {
        "a": 5,
        "crash": "crashed",
        "b-40": 40,
        "spin": "timeout",
        "refuse": "no_frames",
        "c": 5,
        "stumble": "decoder_error",
        "eat": "out_of_memory",
        "d-2": 2,
        "sleep": "timeout",
        "e": 5,
    }


@pytest.mark.process
def test_frames_before_a_fault_come_first(tmp_path: Path, faulty: None) -> None:
    for _, frames in frame_streams(made(tmp_path, "crash"), WANTED, LIMITS, num_workers=1):
        assert int(next(frames)[0, 0, 0]) == 0
        with pytest.raises(VideoError, match="crashed"):
            list(frames)  # of those that came just before the fault some may be lost


@pytest.mark.process
def test_files_that_cannot_be_opened_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    paths = [tmp_path / name for name in ("empty.mp4", "gone.mp4", "text.mp4")]
    assert outcomes(paths, num_workers=2) == {
        "empty": "empty_file",
        "gone": "missing",
        "text": "not_a_video",
    }


@pytest.mark.process
@pytest.mark.parametrize("name", ["long-1000000", "sleep", "spin"])
def test_who_stops_in_the_middle_leaves_nothing(tmp_path: Path, faulty: None, name: str) -> None:
    for _, frames in frame_streams(made(tmp_path, name, "a"), WANTED, LIMITS, num_workers=2):
        next(frames)
        break


@pytest.mark.process
def test_a_stream_left_unfinished_is_given_up(tmp_path: Path, faulty: None) -> None:
    started = time.monotonic()
    firsts = [
        int(next(frames)[0, 0, 0])
        for _, frames in frame_streams(
            made(tmp_path, "long-1000000", "sleep", "a"), WANTED, LIMITS, num_workers=1
        )
    ]
    assert firsts == [0, 0, 0]
    assert time.monotonic() - started < 10


@pytest.mark.process
def test_an_exception_of_the_taker_leaves_nothing(tmp_path: Path, faulty: None) -> None:
    def take_one() -> None:
        for _, frames in frame_streams(made(tmp_path, "spin", "b"), WANTED, LIMITS, num_workers=2):
            next(frames)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_one()


def test_no_videos_no_decoders() -> None:
    assert list(frame_streams([], WANTED, LIMITS, num_workers=2)) == []


CHILD = """
import sys
from pathlib import Path
from faulty_decoders import serve_with_faults
from slowfast_finetune.predicting import streams
streams._serve = serve_with_faults
limits = streams.DecodeLimits(seconds_without_frame=1.0)
paths = [Path(word) for word in sys.argv[1:]]
if __name__ == "__main__":
    for _, frames in streams.frame_streams(paths, streams.Wanted(15, 48), limits, num_workers=2):
        next(frames)
        print("going", flush=True)
        for _ in frames: pass
"""


@pytest.mark.process
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_or_killed_leaves_no_decoder(
    tmp_path: Path, how: signal.Signals
) -> None:
    """Ctrl-C reaches all processes at once; after a kill, decoders must notice by themselves."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    paths = made(tmp_path, "spin-1", "long-100000000", "sleep")
    here = str(Path(__file__).parents[1] / "support")
    with (tmp_path / "errors.txt").open("w") as errors:
        child = subprocess.Popen(
            [sys.executable, str(script), *map(str, [paths[1], paths[0], paths[2]])],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([here, *sys.path])},
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert child.stdout is not None
    assert child.stdout.readline() == b"going\n"
    if how == signal.SIGINT:
        os.killpg(child.pid, how)
    else:
        child.kill()
    child.wait(timeout=20)
    child.stdout.close()
    deadline = time.monotonic() + 20
    while _session(child.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _session(child.pid) == []
    if how == signal.SIGINT:
        assert (tmp_path / "errors.txt").read_text().count("Traceback") == 1, "only the parent's"


def _session(leader: int) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (ProcessLookupError, psutil.NoSuchProcess, PermissionError):
            continue
    return found


# The shelf


def small(value: int) -> list[np.ndarray]:
    return [np.full(10, value, np.uint8)]


def test_frames_put_together_are_taken_one_by_one() -> None:
    shelf = Shelf(1, ahead_bytes=100)
    assert shelf.put(0, small(1) + small(2))
    assert shelf.put(0, small(3))
    assert shelf.put(0, None)
    assert [int(frame[0]) for frame in shelf.take(0)] == [1, 2, 3]


def test_the_shelf_bounds_the_stream_that_is_taken_and_all_later_ones() -> None:
    shelf = Shelf(3, ahead_bytes=30)
    assert [shelf.claim() for _ in range(4)] == [0, 1, 2, None]
    put: list[int] = []

    def fill(stream: int) -> None:
        for value in range(10):
            if not shelf.put(stream, small(value)):
                return
            put.append(stream)
        shelf.put(stream, None)

    threads = [threading.Thread(target=fill, args=(stream,)) for stream in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    # Three of the first; three of the others together, but at least one of each.
    assert put.count(0) == 3
    assert 3 <= put.count(1) + put.count(2) <= 4
    taken = [[int(frame[0]) for frame in shelf.take(stream)] for stream in range(3)]
    assert taken == [list(range(10))] * 3
    for thread in threads:
        thread.join(timeout=5)


def test_a_frame_larger_than_the_shelf_still_comes() -> None:
    shelf = Shelf(1, ahead_bytes=5)
    thread = threading.Thread(
        target=lambda: [shelf.put(0, item) for item in (small(1), small(2), None)]
    )
    thread.start()
    assert [int(frame[0]) for frame in shelf.take(0)] == [1, 2]
    thread.join(timeout=5)


def test_closing_wakes_both_sides() -> None:
    shelf = Shelf(2, ahead_bytes=10)
    assert (shelf.claim(), shelf.claim()) == (0, 1)
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(list(shelf.take(0)))),
        threading.Thread(
            target=lambda: results.append([shelf.put(1, small(value)) for value in range(3)])
        ),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    shelf.close()
    for thread in threads:
        thread.join(timeout=5)
    assert [] in results
    assert [True, False, False] in results
    assert shelf.claim() is None
