"""Frames of many videos: in order, whatever a decoder does, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from faulty_decoders import serve_with_faults
from synthetic import numbered_frame, read_number, steady, write_video

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.predicting import decoder_pool
from slowfast_finetune.predicting.decoded_video import DecodedVideo, VideoClosedError
from slowfast_finetune.predicting.decoder_pool import DecodeLimits, DecoderPool, decode_in_order
from slowfast_finetune.predicting.frame_pipe import FrameRun

WANTED = DecodeSettings(sample_fps=15, short_side=48, max_megapixels=1)
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
    monkeypatch.setattr(decoder_pool, "_serve", serve_with_faults)


def made(folder: Path, *names: str) -> list[Path]:
    paths = [folder / f"{name}.mp4" for name in names]
    for path in paths:
        path.write_bytes(b"x")
    return paths


def outcomes(paths: list[Path], *, num_workers: int) -> dict[str, int | str]:
    """Frames of each video, or why it was refused."""
    found: dict[str, int | str] = {}
    for path, frames in decode_in_order(paths, WANTED, LIMITS, num_workers=num_workers):
        try:
            found[path.stem] = sum(run.length for run in frames)
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
        (path, [read_number(run.frame) for run in runs])
        for path, runs in decode_in_order(paths, WANTED, LIMITS, num_workers=num_workers)
    ]
    assert found == [
        (path, list(range(length))) for path, length in zip(paths, lengths, strict=True)
    ]


@pytest.mark.process
def test_a_frame_shown_at_several_instants_comes_as_often(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slow.mp4", steady(4, 5))
    ((_, runs),) = [
        (path, list(runs)) for path, runs in decode_in_order([path], WANTED, LIMITS, num_workers=1)
    ]
    numbers = [read_number(run.frame) for run in runs for _ in range(run.length)]
    assert numbers == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert runs[0].frame.dtype == np.uint8
    assert runs[0].frame.shape == numbered_frame(0).shape


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
    for _, frames in decode_in_order(made(tmp_path, "crash"), WANTED, LIMITS, num_workers=1):
        assert int(next(frames).frame[0, 0, 0]) == 0
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
    for _, frames in decode_in_order(made(tmp_path, name, "a"), WANTED, LIMITS, num_workers=2):
        next(frames)
        break


@pytest.mark.process
def test_a_stream_left_unfinished_is_given_up(tmp_path: Path, faulty: None) -> None:
    started = time.monotonic()
    firsts = [
        int(next(frames).frame[0, 0, 0])
        for _, frames in decode_in_order(
            made(tmp_path, "long-1000000", "sleep", "a"), WANTED, LIMITS, num_workers=1
        )
    ]
    assert firsts == [0, 0, 0]
    assert time.monotonic() - started < 10


@pytest.mark.process
def test_an_exception_of_the_taker_leaves_nothing(tmp_path: Path, faulty: None) -> None:
    def take_one() -> None:
        for _, frames in decode_in_order(
            made(tmp_path, "spin", "b"), WANTED, LIMITS, num_workers=2
        ):
            next(frames)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_one()


def test_no_videos_no_decoders() -> None:
    assert list(decode_in_order([], WANTED, LIMITS, num_workers=2)) == []


CHILD = """
import sys
from pathlib import Path
from faulty_decoders import serve_with_faults
from slowfast_finetune.predicting import decoder_pool
from slowfast_finetune.decoding.sampling import DecodeSettings
decoder_pool._serve = serve_with_faults
limits = decoder_pool.DecodeLimits(seconds_without_frame=1.0)
settings = DecodeSettings(15, 48, max_megapixels=1)
paths = [Path(word) for word in sys.argv[1:]]
if __name__ == "__main__":
    for _, frames in decoder_pool.decode_in_order(paths, settings, limits, num_workers=2):
        next(frames)
        print("going", flush=True)
        for _ in frames: pass
"""


@pytest.mark.process
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_or_killed_leaves_no_decoder(
    tmp_path: Path, how: signal.Signals, request: pytest.FixtureRequest
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
    request.addfinalizer(partial(_end, child))
    assert child.stdout.readline() == b"going\n"
    started = [process.pid for process in psutil.Process(child.pid).children(recursive=True)]
    decoders = [pid for pid in started if "forkserver" in Path(f"/proc/{pid}/cmdline").read_text()]
    # Also one that has only just been started, and still has the handlers of Python.
    assert len(decoders) >= 2
    assert all(_blocks(pid, signal.SIGINT) for pid in decoders)
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


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _blocks(pid: int, number: signal.Signals) -> bool:
    (mask,) = re.findall(r"^SigBlk:\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    return bool(int(mask, 16) >> (number - 1) & 1)


def _session(leader: int) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (ProcessLookupError, psutil.NoSuchProcess, PermissionError):
            continue
    return found


# The pool


@pytest.mark.process
def test_a_pool_decodes_in_the_order_of_opening_and_closing_it_ends_all(
    tmp_path: Path, faulty: None
) -> None:
    pool = DecoderPool(LIMITS, num_workers=1)
    ready = threading.Event()
    first, endless, never = made(tmp_path, "a", "long-100000000", "b")
    opened = pool.open(DecodedVideo(first, WANTED, on_ready=ready.set))
    assert ready.wait(10)
    assert sum(run.length for run in opened.runs()) == 5
    taken = pool.open(DecodedVideo(endless, WANTED)).runs()
    assert int(next(taken).frame[0, 0, 0]) == 0
    waiting = pool.open(DecodedVideo(never, WANTED)).runs()
    pool.close()
    for runs in (taken, waiting, pool.open(DecodedVideo(first, WANTED)).runs()):
        with pytest.raises(VideoClosedError):
            list(runs)


@pytest.mark.process
def test_a_video_that_is_closed_frees_its_decoder(tmp_path: Path, faulty: None) -> None:
    """Even one that hangs, long before its limit."""
    limits = DecodeLimits(seconds_without_frame=600, worker_memory_mb=512)
    hanging, good = made(tmp_path, "sleep", "a")
    with contextlib.closing(DecoderPool(limits, num_workers=1)) as pool:
        ready = threading.Event()
        video = pool.open(DecodedVideo(hanging, WANTED, on_ready=ready.set))
        assert ready.wait(10)
        video.close()
        assert sum(run.length for run in pool.open(DecodedVideo(good, WANTED)).runs()) == 5


@pytest.mark.process
def test_a_decoder_that_is_suspended_is_given_up(tmp_path: Path, faulty: None) -> None:
    """Wherever it stands, be it in the middle of a frame: the next video gets another one."""
    endless, good = made(tmp_path, "large-100000000", "a")
    before = {process.pid for process in decoders()}
    with contextlib.closing(DecoderPool(LIMITS, num_workers=1)) as pool:
        runs = pool.open(DecodedVideo(endless, WANTED)).runs()
        next(runs)
        (decoder,) = [process for process in decoders() if process.pid not in before]
        decoder.suspend()
        with pytest.raises(VideoError, match="no frame for 1 s"):
            list(runs)
        assert sum(run.length for run in pool.open(DecodedVideo(good, WANTED)).runs()) == 5


# The buffer of a video


def buffered(max_bytes: int, **values: Any) -> DecodedVideo:
    return DecodedVideo(Path("a.mp4"), WANTED, max_bytes=max_bytes, **values)


def small(value: int) -> FrameRun:
    return FrameRun(np.full(10, value, np.uint8), 1)


def values(video: DecodedVideo) -> list[int]:
    return [int(run.frame[0]) for run in video.runs()]


def test_the_buffer_bounds_what_waits_until_more_is_allowed() -> None:
    video = buffered(30)
    put: list[int] = []
    third, fifth = threading.Event(), threading.Event()

    def fill() -> None:
        for value in range(10):
            video.put(small(value))
            put.append(value)
            third.set() if value == 2 else fifth.set() if value == 4 else None
        video.end()

    thread = threading.Thread(target=fill)
    thread.start()
    assert third.wait(5)
    assert len(put) == 3
    video.allow(50)
    assert fifth.wait(5)
    assert len(put) == 5
    assert values(video) == list(range(10))
    thread.join(timeout=5)


def test_a_frame_larger_than_the_buffer_still_comes() -> None:
    video = buffered(5)
    thread = threading.Thread(
        target=lambda: [video.put(small(1)), video.put(small(2)), video.end()]
    )
    thread.start()
    assert values(video) == [1, 2]
    thread.join(timeout=5)


def test_frames_come_before_the_error_behind_them() -> None:
    told: list[int] = []
    video = buffered(100, on_ready=lambda: told.append(1))
    video.put(small(1))
    video.end(VideoError("timeout", "too late"))
    runs = video.runs()
    assert int(next(runs).frame[0]) == 1
    with pytest.raises(VideoError, match="too late"):
        next(runs)
    assert told == [1], "once"


def test_closing_wakes_both_sides() -> None:
    empty, full = buffered(10), buffered(10)
    full.put(small(0))
    results: list[object] = []

    def take() -> None:
        with pytest.raises(VideoClosedError):
            list(empty.runs())
        results.append("taker woken")

    threads = [
        threading.Thread(target=take),
        threading.Thread(target=lambda: results.append(full.put(small(1)))),
    ]
    for thread in threads:
        thread.start()
    empty.close()
    full.close()
    for thread in threads:
        thread.join(timeout=5)
    assert set(results) == {"taker woken", False}
