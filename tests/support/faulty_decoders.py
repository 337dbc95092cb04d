"""Decoders that go wrong, by a video's name or content. They run in processes that import this."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.decoding import sampled_frames
from slowfast_finetune.predicting import decoder_pool

REAL_SERVE = decoder_pool._serve


def serve_with_faults(channel: socket.socket, limits: decoder_pool.DecodeLimits) -> None:
    """As the decoding process, but each name strikes after three frames."""
    sampled_frames.sampled_runs = faulty_runs
    REAL_SERVE(channel, limits)


def serve_with_faulty_files(channel: socket.socket, limits: decoder_pool.DecodeLimits) -> None:
    """As the decoding process, but hang on a file that begins with HANG, die of CRASH."""
    really = sampled_frames.sampled_runs

    def runs(path: Path, **values: Any) -> Iterator[tuple[np.ndarray, int]]:
        start = path.read_bytes()[:5]
        if start.startswith(b"HANG"):
            time.sleep(600)
        if start.startswith(b"CRASH"):
            os.abort()
        yield from really(path, **values)

    sampled_frames.sampled_runs = runs
    REAL_SERVE(channel, limits)


def faulty_runs(path: Path, **_: Any) -> Iterator[tuple[np.ndarray, int]]:
    return ((frame, 1) for frame in faulty_frames(path))


def faulty_frames(path: Path) -> Iterator[np.ndarray]:
    count = int(path.stem.rpartition("-")[2]) if "-" in path.stem else 5
    if path.stem.startswith("slow"):
        for number in range(count):
            time.sleep(0.0125)
            yield np.full((32, 32, 3), number % 256, np.uint8)
        return
    if path.stem.startswith("large"):
        yield from (np.full((128, 170, 3), number % 256, np.uint8) for number in range(count))
        return
    for number in range(min(count, 3)):
        yield np.full((4, 6, 3), number, np.uint8)
    fault = path.stem.partition("-")[0]
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    while fault == "spin":
        pass
    if fault == "sleep":
        time.sleep(600)
    if fault == "refuse":
        raise VideoError("no_frames", "none")
    if fault == "stumble":
        raise LookupError("nobody\nforesaw this")
    if fault == "eat":
        eaten = []
        while True:
            eaten.append(np.empty(50_000_000, np.uint8))
    for number in range(3, count):
        yield np.full((4, 6, 3), number % 256, np.uint8)
