"""Sends frames from one process to another through shared memory.

A pipe copies a frame twice inside the system, in chunks that need both processes scheduled: at
256 × 455 px that cost as much as a tenth of decoding 720p. Here only slot numbers go through it.

Neither side can block the other for good. The sender has at most ``MESSAGES_IN_FLIGHT`` messages
that the receiver has not acknowledged. These, and their acknowledgements, are small enough for the
pipe to hold, so that no write to it waits. A frame that is held is one message with a count, not
one for each repetition.
"""

from __future__ import annotations

import mmap
import os
import signal
import tempfile
import time
from collections import deque
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

RUNS_A_MESSAGE = 8  # each message makes the sending and the receiving thread take turns
SECONDS_A_MESSAGE = 0.02  # a frame that comes later than this after a message is sent at once
MESSAGES_IN_FLIGHT = 8
_SHARED_BYTES = 8 * 2**20
_NO_SLOTS: Frame = np.empty((0, 0, 0, 3), np.uint8)
_SAME_FRAME = -1  # in place of a slot number: the frame before is shown again


class FrameRun(NamedTuple):
    """A frame, uint8 (H, W, 3), and at how many sampled instants in a row it is shown."""

    frame: Frame
    length: int


class FrameSender:
    """The decoder's end. It waits while every slot holds a frame that has not been copied.

    Args:
        hang_seconds: the system ends this process where it neither sends nor waits for so long;
            None for never.
    """

    def __init__(self, pipe: Connection, *, hang_seconds: float | None = None) -> None:
        self._pipe = pipe
        self._hang_seconds = hang_seconds
        self._slots = _NO_SLOTS
        self._next = 0
        self._last: Frame | None = None
        self._runs: list[list[int]] = []  # slot and length of each run not sent yet
        self._unsent_slots = 0
        self._sent_at = 0.0
        self._in_flight: deque[int] = deque()  # slots of each message not acknowledged yet

    def begin(self) -> Any:
        """Wait for the next request.

        Raises:
            EOFError: the other side is gone.
        """
        self._last = None
        self._sent_at = 0.0
        self._wait_for_all()
        self._set_alarm(None)
        request = self._pipe.recv()
        self._set_alarm(self._hang_seconds)
        return request

    def send(self, frame: Frame) -> None:
        """Send a frame; the array of the call before only lengthens its run."""
        if frame is not self._last:
            self._place(frame)
        elif self._runs:
            self._runs[-1][1] += 1
        else:
            self._runs.append([_SAME_FRAME, 1])
        is_late = time.monotonic() - self._sent_at > SECONDS_A_MESSAGE
        if is_late or len(self._runs) == RUNS_A_MESSAGE:
            self._flush()

    def end(self, error: Exception | None = None) -> None:
        """Say that a request has been answered, or why it cannot be."""
        self._flush()
        self._pipe.send(("end", error))

    def _place(self, frame: Frame) -> None:
        self._last = frame
        if frame.shape != self._slots.shape[1:]:
            self._flush()
            self._wait_for_all()
            self._share(frame.shape)
        if sum(self._in_flight) + self._unsent_slots == len(self._slots):
            self._flush()
            self._wait()
        self._slots[self._next] = frame
        self._runs.append([self._next, 1])
        self._unsent_slots += 1
        self._next = (self._next + 1) % len(self._slots)

    def _flush(self) -> None:
        if self._runs:
            while len(self._in_flight) >= MESSAGES_IN_FLIGHT:
                self._wait()
            self._pipe.send(("runs", self._runs))
            self._in_flight.append(self._unsent_slots)
            self._runs, self._unsent_slots = [], 0
            self._sent_at = time.monotonic()
            self._set_alarm(self._hang_seconds)

    def _wait(self) -> None:
        """Wait until the oldest message is acknowledged that used any slot."""
        self._set_alarm(None)
        while self._in_flight:
            self._pipe.recv_bytes()
            if self._in_flight.popleft():
                break
        self._set_alarm(self._hang_seconds)

    def _wait_for_all(self) -> None:
        while self._in_flight:
            self._wait()

    def _set_alarm(self, seconds: float | None) -> None:
        if self._hang_seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, seconds or 0)

    def _share(self, shape: tuple[int, ...]) -> None:
        count = min(max(2, _SHARED_BYTES // max(1, int(np.prod(shape)))), 2 * RUNS_A_MESSAGE)
        size = (count, *shape)
        descriptor = _shared_memory(int(np.prod(size)))
        try:
            self._slots, self._next = _mapped(descriptor, size), 0
            self._pipe.send(("slots", size))
            reduction.send_handle(self._pipe, descriptor, os.getppid())
        finally:
            os.close(descriptor)


class FrameReceiver:
    """The end of the process that wants frames."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._slots = _NO_SLOTS
        self._last: Frame | None = None

    def request(self, wanted: Any) -> None:
        """Ask for frames; those of the request before have been received to the end."""
        self._last = None
        self._pipe.send(wanted)

    def receive(self) -> list[FrameRun]:
        """Wait for the next frames; none at the end. A frame shown again is the same array.

        Raises:
            EOFError: the other side is gone.
            Exception: what the other side gave to ``end``.
        """
        kind, value = self._pipe.recv()
        if kind == "slots":
            self._map(value)
            kind, value = self._pipe.recv()
        if kind == "end":
            if value is not None:
                raise value
            return []
        runs = []
        for slot, length in value:
            if slot != _SAME_FRAME:
                self._last = self._slots[slot].copy()
            assert self._last is not None
            runs.append(FrameRun(self._last, length))
        self._pipe.send_bytes(b"")  # the slots are free
        return runs

    def close(self) -> None:
        """Let the other side know that nobody listens."""
        self._pipe.close()
        self._slots = _NO_SLOTS

    def _map(self, size: tuple[int, ...]) -> None:
        descriptor = reduction.recv_handle(self._pipe)
        try:
            self._slots = _mapped(descriptor, size)
        finally:
            os.close(descriptor)


def _shared_memory(num_bytes: int) -> int:
    """Descriptor of memory without a name, which is freed with the last process that has it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("frames")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, num_bytes)
    return descriptor


def _mapped(descriptor: int, shape: tuple[int, ...]) -> Frame:
    return np.frombuffer(mmap.mmap(descriptor, int(np.prod(shape))), np.uint8).reshape(shape)
