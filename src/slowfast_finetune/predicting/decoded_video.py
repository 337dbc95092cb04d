"""A video that is being decoded: a bounded buffer of frames between two threads."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.predicting.frame_pipe import FrameRun

# More than the frames of the clips that are computed at once, or nothing would be decoded
# meanwhile: 8 clips a second apart, of 256 × 455 px at 15 fps, are 42 MB.
AHEAD_BYTES = 96 * 2**20
_RUNS_AT_ONCE = 8  # taken under one lock


class VideoClosedError(Exception):
    """The frames of a video are no longer wanted."""


class DecodedVideo:
    """A video and those of its decoded frames that have not been taken yet.

    Args:
        container_format: FFmpeg's name of a device's format; None for files, which are examined.
        max_bytes: of frames in the buffer.
        on_ready: called once, by a thread that decodes, as soon as a frame or the end can be taken
            without waiting.
    """

    def __init__(
        self,
        path: Path,
        settings: DecodeSettings,
        *,
        container_format: str | None = None,
        max_bytes: int = AHEAD_BYTES,
        on_ready: Callable[[], object] | None = None,
    ) -> None:
        self.path, self.settings, self.container_format = path, settings, container_format
        self._max_bytes = max_bytes
        self._on_ready = on_ready
        self._changed = threading.Condition()
        self._runs: deque[FrameRun] = deque()
        self._num_bytes = 0
        self._error: VideoError | None = None
        self._is_ended = self._is_closed = False

    def put(self, run: FrameRun) -> bool:
        """Add a frame as soon as there is room; False if the video has been closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._has_room(run))
            if self._is_closed:
                return False
            self._runs.append(run)
            self._num_bytes += run.frame.nbytes
        self._tell()
        return True

    def end(self, error: VideoError | None = None) -> None:
        """Say that no more frames come, and what went wrong, if anything."""
        with self._changed:
            self._is_ended, self._error = True, error
        self._tell()

    def runs(self) -> Iterator[FrameRun]:
        """Yield the frames as they come, each once; closed when the iteration ends.

        Raises:
            VideoError: given to ``end``; after the frames before it.
            VideoClosedError: the video or its pool was closed before the end.
        """
        try:
            while taken := self.take():
                yield from taken
        finally:
            self.close()

    def allow(self, max_bytes: int) -> None:
        """Hold this much from now on."""
        with self._changed:
            self._max_bytes = max_bytes
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether the frames are no longer wanted."""
        return self._is_closed

    def close(self) -> None:
        """Drop all frames and stop decoding; threads that wait on either side are woken."""
        with self._changed:
            self._is_closed = True
            self._on_ready = None
            self._runs.clear()
            self._changed.notify_all()

    def _has_room(self, run: FrameRun) -> bool:
        return not self._runs or self._num_bytes + run.frame.nbytes <= self._max_bytes

    @property
    def has_frames(self) -> bool:
        """Whether frames can be taken without waiting."""
        return bool(self._runs)

    def take(self) -> list[FrameRun]:
        """Wait for the next few frames; none at the end. Raises as :meth:`runs`."""
        with self._changed:
            self._changed.wait_for(lambda: self._runs or self._is_ended or self._is_closed)
            if self._is_closed:
                raise VideoClosedError
            if not self._runs and self._error is not None:
                raise self._error
            taken = [self._runs.popleft() for _ in range(min(_RUNS_AT_ONCE, len(self._runs)))]
            self._num_bytes -= sum(run.frame.nbytes for run in taken)
            self._changed.notify_all()
        return taken

    def _tell(self) -> None:
        with self._changed:
            tell, self._on_ready = self._on_ready, None
            self._changed.notify_all()
        if tell is not None:
            tell()
