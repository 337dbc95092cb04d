"""Frames from one process to another, through memory that both see.

A pipe copies a frame twice inside the system, in pieces for which both sides must be awake: at
256 × 455 px that cost as much as a tenth of decoding 720p. Here only the numbers of places go
through it, those of several small frames at once: each message makes the thread that computes and
the one that receives take turns.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections import deque
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

FRAMES_A_MESSAGE = 8
SECONDS_A_MESSAGE = 0.02  # a frame that comes later than this after a message goes at once
_SHARED_BYTES = 8 * 2**20
_NOWHERE: Frame = np.empty((0, 0, 0, 3), np.uint8)
_AGAIN = -1  # in place of a place: the frame before is shown again


class FrameSender:
    """The decoder's end. It waits where every place holds a frame that nobody has taken."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._places = _NOWHERE
        self._next = 0
        self._last: Frame | None = None
        self._message: list[int] = []
        self._sent_at = 0.0
        self._not_taken: deque[int] = deque()  # places of each message that is on its way

    def begin(self) -> Any:
        """Wait for the next request.

        Raises:
            EOFError: the other side is gone.
        """
        self._last = None
        self._sent_at = 0.0
        self._wait(0)
        return self._pipe.recv()

    def send(self, frame: Frame) -> None:
        """Send a frame, uint8 (H, W, 3); the array of the call before is not copied again."""
        if frame is self._last:
            self._message.append(_AGAIN)
        else:
            self._place(frame)
        late = time.monotonic() - self._sent_at > SECONDS_A_MESSAGE
        if late or len(self._message) >= FRAMES_A_MESSAGE:
            self._flush()

    def end(self, error: Exception | None = None) -> None:
        """Say that a request has been answered, or why it cannot be."""
        self._flush()
        self._pipe.send(("end", None) if error is None else ("error", error))

    def _place(self, frame: Frame) -> None:
        self._last = frame
        if frame.shape != self._places.shape[1:]:
            self._flush()
            self._wait(0)
            self._share(frame.shape)
        if sum(self._not_taken) + len(self._message) >= len(self._places):
            self._flush()
            self._wait(len(self._places) - 1)
        self._places[self._next] = frame
        self._message.append(self._next)
        self._next = (self._next + 1) % len(self._places)

    def _flush(self) -> None:
        if self._message:
            self._not_taken.append(len(self._message))
            self._pipe.send(("frames", self._message))
            self._message = []
            self._sent_at = time.monotonic()

    def _wait(self, most: int) -> None:
        """Wait until no more than so many places hold what has not been taken."""
        while sum(self._not_taken) > most:
            self._pipe.recv_bytes()
            self._not_taken.popleft()

    def _share(self, shape: tuple[int, ...]) -> None:
        count = min(max(2, _SHARED_BYTES // max(1, int(np.prod(shape)))), 2 * FRAMES_A_MESSAGE)
        size = (count, *shape)
        descriptor = _shared_memory(int(np.prod(size)))
        try:
            self._places, self._next = _mapped(descriptor, size), 0
            self._pipe.send(("places", size))
            reduction.send_handle(self._pipe, descriptor, os.getppid())
        finally:
            os.close(descriptor)


class FrameReceiver:
    """The end of the one who wants frames."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._places = _NOWHERE
        self._last: Frame | None = None

    def request(self, wanted: Any) -> None:
        """Ask for frames; those of the request before have been received to the end."""
        self._last = None
        self._pipe.send(wanted)

    def receive(self) -> list[Frame]:
        """The next frames; none at the end. The same array again where it is shown again.

        Raises:
            EOFError: the other side is gone.
            Exception: what the other side gave to ``end``.
        """
        kind, value = self._pipe.recv()
        if kind == "places":
            self._map(value)
            kind, value = self._pipe.recv()
        if kind == "error":
            raise value
        if kind == "end":
            return []
        frames = []
        for place in value:
            if place != _AGAIN:
                self._last = self._places[place].copy()
            assert self._last is not None
            frames.append(self._last)
        self._pipe.send_bytes(b"")  # the places are free
        return frames

    def poll(self, seconds: float) -> bool:
        """Wait so long for something to receive; whether there is."""
        return self._pipe.poll(seconds)

    def close(self) -> None:
        """Let the other side know that nobody listens."""
        self._pipe.close()
        self._places = _NOWHERE

    def _map(self, size: tuple[int, ...]) -> None:
        descriptor = reduction.recv_handle(self._pipe)
        try:
            self._places = _mapped(descriptor, size)
        finally:
            os.close(descriptor)


def _shared_memory(num_bytes: int) -> int:
    """Descriptor of memory that has no name, and is gone with the last who has it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("frames")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, num_bytes)
    return descriptor


def _mapped(descriptor: int, shape: tuple[int, ...]) -> Frame:
    return np.frombuffer(mmap.mmap(descriptor, int(np.prod(shape))), np.uint8).reshape(shape)
