"""Frames of videos as they are decoded, by processes that can be killed, ahead of who needs them.

A video that hangs or crashes its decoder costs that video. Memory does not grow with a video's
length: a decoder waits when nobody takes its frames.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slowfast_finetune.errors import VideoError

FRAMES_AHEAD = 64  # of each video; at 256 × 340 px 17 MB
_MODULES = ["slowfast_finetune.videos.decoding", __name__]

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DecodeLimits:
    """What one video may cost.

    Attributes:
        seconds_without_frame: a decoder that gives none for so long has hung [s].
        worker_memory_mb: of a decoding process.
        max_megapixels: larger frames are refused.
    """

    seconds_without_frame: float = 30.0
    worker_memory_mb: int = 2048
    max_megapixels: float = 40.0


@dataclass(frozen=True)
class Wanted:
    """How frames are taken: see videos/decoding.py.

    Attributes:
        sample_fps: frames a second.
        short_side: of the scaled frame [px].
        max_seconds: what lies later is left out; None for all of it [s].
    """

    sample_fps: float
    short_side: int
    max_seconds: float | None = None


def frame_streams(
    paths: Sequence[Path], wanted: Wanted, limits: DecodeLimits, *, num_workers: int
) -> Iterator[tuple[Path, Iterator[Frame]]]:
    """Each video in order, with its upright frames, uint8 (H, W, 3), while they are decoded.

    The videos that come next are decoded meanwhile. A stream left unfinished is given up when the
    next is asked for.

    Raises:
        VideoError: from a stream, in place of the frame that cannot be had.
    """
    workers = [_Worker(limits) for _ in range(min(num_workers, len(paths)))]
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)
    ahead: deque[tuple[Path, _Stream]] = deque()
    waiting = iter(paths)
    try:
        while True:
            while len(ahead) < len(workers) and (path := next(waiting, None)) is not None:
                ahead.append((path, _Stream(path, wanted, idle)))
            if not ahead:
                return
            path, stream = ahead.popleft()
            yield path, stream.frames()
            stream.give_up()
    finally:
        for _, stream in ahead:
            stream.give_up()
        for worker in workers:
            worker.stop()


class _Stream:
    """The frames of one video, read by a thread into a queue of limited length."""

    def __init__(self, path: Path, wanted: Wanted, idle: queue.SimpleQueue[_Worker]) -> None:
        self._queue: queue.Queue[Frame | VideoError | None] = queue.Queue(FRAMES_AHEAD)
        self._is_given_up = threading.Event()
        threading.Thread(target=self._read, args=(path, wanted, idle), daemon=True).start()

    def frames(self) -> Iterator[Frame]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, VideoError):
                raise item
            yield item

    def give_up(self) -> None:
        self._is_given_up.set()

    @property
    def has_begun(self) -> bool:
        return not self._queue.empty()

    def _read(self, path: Path, wanted: Wanted, idle: queue.SimpleQueue[_Worker]) -> None:
        worker = idle.get()
        try:
            for frame in worker.frames(path, wanted):
                if not self._put(frame):
                    worker.stop()
                    break
            self._put(None)
        except VideoError as error:
            self._put(error)
        except Exception as error:
            # A fault of ours must reach the one who waits, not die with this thread.
            worker.stop()
            self._put(VideoError("decoder_error", f"{type(error).__name__}: {error}"))
        finally:
            idle.put(worker)

    def _put(self, item: Frame | VideoError | None) -> bool:
        """Whether it was taken: nobody waits for a stream that was given up."""
        while not self._is_given_up.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return True
        return False


class _Worker:
    """A decoding process, started when it is needed, and again after it had to be killed."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process: Any = None
        self._pipe: Connection | None = None

    def frames(self, path: Path, wanted: Wanted) -> Iterator[Frame]:
        """Decode one video.

        Raises:
            VideoError: refused by the decoder, or the process hung or died.
        """
        pipe = self._connected()
        pipe.send((path, wanted))
        frame: Frame | None = None
        while True:
            kind, value = self._receive(pipe)
            if kind == "end":
                return
            if kind == "error":
                raise value
            if kind == "frame":
                frame = np.frombuffer(pipe.recv_bytes(), np.uint8).reshape(value)
            assert frame is not None
            yield frame

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _connected(self) -> Connection:
        if self._process is None or not self._process.is_alive():
            self.stop()
            context = get_context("forkserver")
            context.set_forkserver_preload(_MODULES)
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._limits), daemon=True)
            self._process.start()
            theirs.close()
        assert self._pipe is not None
        return self._pipe

    def _receive(self, pipe: Connection) -> tuple[str, Any]:
        limit = self._limits.seconds_without_frame
        try:
            if pipe.poll(limit):
                message: tuple[str, Any] = pipe.recv()
                return message
            self.stop()
        except (EOFError, OSError) as error:
            self.stop()
            raise VideoError("crashed", "the decoder crashed") from error
        raise VideoError("timeout", f"no frame for {limit:g} s, decoding was stopped")


def _serve(pipe: Connection, limits: DecodeLimits) -> None:
    """Decode what is asked for until the other side is gone. Runs in the decoding process."""
    from slowfast_finetune.clips.decode_job import limit_memory

    limit_memory(limits.worker_memory_mb)
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            path, wanted = pipe.recv()
            try:
                _send_frames(pipe, path, wanted, limits)
                pipe.send(("end", None))
            except VideoError as error:
                pipe.send(("error", error))
            except BrokenPipeError:
                raise
            except MemoryError:
                detail = f"decoding needs more than {limits.worker_memory_mb} MB"
                pipe.send(("error", VideoError("out_of_memory", detail)))
            except Exception as error:
                detail = f"{type(error).__name__}: {' '.join(str(error).split())}"
                pipe.send(("error", VideoError("decoder_error", detail)))


def _send_frames(pipe: Connection, path: Path, wanted: Wanted, limits: DecodeLimits) -> None:
    from slowfast_finetune.videos.decoding import (
        FOREVER_SECONDS,
        DecodeReport,
        DecodeSettings,
        sampled_frames,
    )

    settings = DecodeSettings(
        sample_fps=wanted.sample_fps,
        short_side=wanted.short_side,
        max_seconds=FOREVER_SECONDS if wanted.max_seconds is None else wanted.max_seconds,
        max_megapixels=limits.max_megapixels,
    )
    last: Frame | None = None
    for frame in sampled_frames(path, settings=settings, report=DecodeReport()):
        if frame is last:
            # Shown at several instants: the other side has it.
            pipe.send(("again", None))
            continue
        last = frame
        pipe.send(("frame", frame.shape))
        pipe.send_bytes(np.ascontiguousarray(frame).data.cast("B"))


class Decoders:
    """Decoding processes that live from video to video, for those who are asked again and again.

    No more videos may be open at once than there are processes: one that waits would never begin.
    """

    def __init__(self, limits: DecodeLimits, *, num_workers: int) -> None:
        self._workers = [_Worker(limits) for _ in range(num_workers)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def open(self, path: Path, wanted: Wanted) -> OpenVideo:
        """Begin to decode a video."""
        return OpenVideo(_Stream(path, wanted, self._idle))

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for worker in self._workers:
            worker.stop()


class OpenVideo:
    """A video that is being decoded."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def frames(self) -> Iterator[Frame]:
        """Its frames, uint8 (H, W, 3); they can be had once.

        Raises:
            VideoError: in place of the frame that cannot be had.
        """
        return self._stream.frames()

    @property
    def has_begun(self) -> bool:
        """Whether its first frame, or the reason why there is none, can be had at once."""
        return self._stream.has_begun

    def close(self) -> None:
        """Decode no more of it."""
        self._stream.give_up()
