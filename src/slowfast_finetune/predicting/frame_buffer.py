"""Bounded buffer of one video's frames, between the thread that reads and the one that takes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.predicting.frame_pipe import FrameRun

_RUNS_AT_ONCE = 8  # taken under one lock


class BufferClosedError(Exception):
    """The frames are no longer wanted, and whoever takes them shall stop."""


class FrameBuffer:
    """Frames in order, at most ``max_bytes`` of them; what is put at once is never parted.

    Args:
        on_ready: called once, as soon as a frame or the end can be taken without waiting.
    """

    def __init__(self, *, max_bytes: int, on_ready: Callable[[], object] | None = None) -> None:
        self._max_bytes = max_bytes
        self._on_ready = on_ready
        self._changed = threading.Condition()
        self._runs: deque[FrameRun] = deque()
        self._num_bytes = 0
        self._error: VideoError | None = None
        self._is_ended = self._is_closed = False

    # For the thread that reads

    def put(self, runs: Sequence[FrameRun]) -> bool:
        """Add frames as soon as there is room; False where nobody will take them."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._has_room(runs))
            if self._is_over:
                return False
            for run in runs:
                self._add(run)
            self._changed.notify_all()
        self._tell()
        return True

    def end(self, error: VideoError | None = None) -> None:
        """Say that no more frames come, and what went wrong, if anything; the first call counts."""
        with self._changed:
            if not self._is_ended:
                self._is_ended, self._error = True, error
            self._changed.notify_all()
        self._tell()

    @property
    def _is_over(self) -> bool:
        return self._is_ended or self._is_closed

    def _has_room(self, runs: Sequence[FrameRun]) -> bool:
        if not self._runs:
            return True
        held = self._runs[-1].frame
        size = sum(run.frame.nbytes for run in runs if run.frame is not held)
        return self._num_bytes + size <= self._max_bytes

    def _add(self, run: FrameRun) -> None:
        if self._runs and self._runs[-1].frame is run.frame:
            self._runs[-1] = FrameRun(run.frame, self._runs[-1].length + run.length)
        else:
            self._runs.append(run)
            self._num_bytes += run.frame.nbytes

    def _tell(self) -> None:
        tell, self._on_ready = self._on_ready, None
        if tell is not None:
            tell()

    # For the thread that takes

    @property
    def is_ready(self) -> bool:
        """Whether a frame, or the end, can be taken without waiting."""
        return bool(self._runs) or self._is_ended

    def allow(self, max_bytes: int) -> None:
        """Hold this much from now on."""
        with self._changed:
            self._max_bytes = max_bytes
            self._changed.notify_all()

    def runs(self) -> Iterator[FrameRun]:
        """Yield the frames as they come, each once.

        Raises:
            VideoError: given to ``end``; after the frames before it.
            BufferClosedError: closed before the end.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._runs or self._is_over)
                if self._is_closed:
                    raise BufferClosedError
                if not self._runs:
                    if self._error is not None:
                        raise self._error
                    return
                taken = [self._runs.popleft() for _ in range(min(_RUNS_AT_ONCE, len(self._runs)))]
                self._num_bytes -= sum(run.frame.nbytes for run in taken)
                self._changed.notify_all()
            yield from taken

    # For both

    @property
    def is_closed(self) -> bool:
        """Whether the frames are no longer wanted."""
        return self._is_closed

    def close(self) -> None:
        """Drop all frames; whoever waits on either side is woken."""
        with self._changed:
            self._is_closed = True
            self._on_ready = None
            self._runs.clear()
            self._num_bytes = 0
            self._changed.notify_all()
