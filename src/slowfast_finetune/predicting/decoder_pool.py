"""Pool of decoding processes that can be killed, which decode ahead of whoever takes the frames.

A video that hangs or crashes its decoder costs that video. Memory does not grow with a video's
length: a decoder waits when nobody takes its frames. What a decoder may take is watched by a thread
of its own, which kills the process and ends the video, whatever the thread that reads is doing.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.predicting.frame_buffer import FrameBuffer
from slowfast_finetune.predicting.frame_pipe import FrameReceiver, FrameRun, FrameSender

# More than the frames of the clips that are computed at once, or nothing would be decoded
# meanwhile: 8 clips a second apart, of 256 × 455 px at 15 fps, are 42 MB.
AHEAD_BYTES = 96 * 2**20
WATCH_SECONDS = 0.1  # between two looks at all decoders
JOIN_SECONDS = 5.0  # a process or thread that has been told to end is waited for
_MODULES = ["slowfast_finetune.decoding.decoding", "slowfast_finetune.clips.decode_job", __name__]
# Starting and ending processes keeps lists that are not made for several threads.
_processes = threading.Lock()


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
class FrameRequest:
    """How the frames of a video are taken.

    Attributes:
        sample_fps: frames a second.
        short_side: of the scaled frame [px].
        max_seconds: what lies later is left out; None for all of it [s].
        container_format: FFmpeg's name of a device's format; None for files, which are examined.
    """

    sample_fps: float
    short_side: int
    max_seconds: float | None = None
    container_format: str | None = None


class DecodedVideo:
    """A video in the hands of a pool."""

    def __init__(self, path: Path, request: FrameRequest, buffer: FrameBuffer) -> None:
        self.path = path
        self.request = request
        self.buffer = buffer

    def runs(self) -> Iterator[FrameRun]:
        """Yield the upright frames in order, each once; closed when the iteration ends.

        Raises:
            VideoError: in place of the frame that cannot be had.
            BufferClosedError: the video or its pool was closed before the end.
        """
        try:
            yield from self.buffer.runs()
        finally:
            self.close()

    @property
    def is_ready(self) -> bool:
        """Whether the first frame, or the reason why there is none, can be taken at once."""
        return self.buffer.is_ready

    def close(self) -> None:
        """Decode no more of it."""
        self.buffer.close()


class DecoderPool:
    """Decoding processes, which start at once and live from video to video.

    Videos are decoded in the order in which they are opened.
    """

    def __init__(self, limits: DecodeLimits, *, num_workers: int) -> None:
        self._opened: queue.SimpleQueue[DecodedVideo | None] = queue.SimpleQueue()
        self._decoders = [_Decoder(limits) for _ in range(num_workers)]
        self._is_closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(decoder,), name="decoder", daemon=True)
            for decoder in self._decoders
        ]
        self._watcher = threading.Thread(target=self._watch, name="decoder watch", daemon=True)
        for thread in (*self._threads, self._watcher):
            thread.start()

    def open(
        self,
        path: Path,
        request: FrameRequest,
        *,
        ahead_bytes: int = AHEAD_BYTES,
        on_ready: Callable[[], object] | None = None,
    ) -> DecodedVideo:
        """Begin to decode a video as soon as a decoder is free, ``ahead_bytes`` ahead.

        Args:
            on_ready: called by a thread of the pool once the first frame or a refusal is there.
        """
        buffer = FrameBuffer(max_bytes=ahead_bytes, on_ready=on_ready)
        video = DecodedVideo(path, request, buffer)
        self._opened.put(video)
        if self._is_closed.is_set():
            video.close()
        return video

    def close(self) -> None:
        """Close the videos that are open, and end the processes and threads, within seconds."""
        self._is_closed.set()
        with contextlib.suppress(queue.Empty):
            while True:
                video = self._opened.get_nowait()
                if video is not None:
                    video.close()
        for decoder in self._decoders:
            self._opened.put(None)
            decoder.give_up()
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in (*self._threads, self._watcher):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, decoder: _Decoder) -> None:
        """Decode one video after the other. Runs in a thread that owns a decoder."""
        try:
            with contextlib.suppress(OSError):  # then it is tried again, and said, at a video
                decoder.start()
            while not self._is_closed.is_set() and (video := self._opened.get()) is not None:
                decoder.decode(video)
                if self._is_closed.is_set():
                    video.close()
        finally:
            decoder.stop()

    def _watch(self) -> None:
        while any(thread.is_alive() for thread in self._threads):
            for decoder in self._decoders:
                decoder.check()
            self._is_closed.wait(WATCH_SECONDS)
            if self._is_closed.is_set():
                time.sleep(WATCH_SECONDS / 10)


def decode_in_order(
    paths: Sequence[Path], request: FrameRequest, limits: DecodeLimits, *, num_workers: int
) -> Generator[tuple[Path, Iterator[FrameRun]]]:
    """Yield each video in order, with its frames while they are decoded.

    The videos that come next are decoded meanwhile. A video left unfinished is given up when the
    next is asked for. However this ends, no process and no thread is left.

    Raises:
        VideoError: from the frames, in place of the frame that cannot be had.
    """
    if not paths:
        return
    num_workers = min(num_workers, len(paths))
    num_ahead = 2 * num_workers
    opened: deque[DecodedVideo] = deque()
    pool = DecoderPool(limits, num_workers=num_workers)
    with contextlib.closing(pool):
        for number, path in enumerate(paths):
            for following in paths[number + len(opened) : number + 1 + num_ahead]:
                opened.append(pool.open(following, request, ahead_bytes=AHEAD_BYTES // num_ahead))
            video = opened.popleft()
            video.buffer.allow(AHEAD_BYTES)
            yield path, video.runs()
            video.close()


class _Decoder:
    """A decoding process, started when it is needed, and again after it was killed.

    One thread decodes with it; any thread may ``check`` it or make it ``give_up``.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process: Any = None
        self._pipe: FrameReceiver | None = None
        self._lock = threading.Lock()  # of what the watch reads, below
        self._video: DecodedVideo | None = None
        self._deadline: float | None = None
        self._is_killed = False

    def decode(self, video: DecodedVideo) -> None:
        """Put the frames of a video, and its end, into its buffer, as long as they are wanted."""
        if video.buffer.is_closed:
            return
        error: VideoError | None = None
        is_broken = True
        try:
            if self._is_killed:
                self.stop()
            self.start()
            with self._lock:
                self._video = video
            is_broken = self._read(video)
        except VideoError as refused:
            error, is_broken = refused, False
        except (EOFError, OSError):
            error = VideoError("crashed", "the decoder crashed")
        except Exception as fault:
            # A fault of ours must reach the one who waits, not die with this thread.
            error = VideoError("decoder_error", f"{type(fault).__name__}: {fault}")
        with self._lock:
            self._video = self._deadline = None
        video.buffer.end(error)
        if is_broken:
            self.stop()

    def start(self) -> None:
        """Start the process, which takes half a second the first time."""
        if self._pipe is not None:
            return
        context = get_context("forkserver")
        context.set_forkserver_preload(_MODULES)
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._limits), daemon=True)
        with _processes, _ctrl_c_blocked(), _main_hidden():
            process.start()
        with self._lock:
            self._pipe, self._process, self._is_killed = FrameReceiver(ours), process, False
        theirs.close()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        with self._lock:
            pipe, process = self._pipe, self._process
            self._pipe = self._process = None
        if pipe is not None:
            pipe.close()
        if process is not None:
            with _processes:
                process.kill()
                process.join(JOIN_SECONDS)
                if not process.is_alive():
                    process.close()

    def check(self) -> None:
        """Kill the process if its video has hung or is no longer wanted: the watch calls this."""
        with self._lock:
            video, deadline = self._video, self._deadline
            if video is None or self._is_killed:
                return
            is_late = deadline is not None and time.monotonic() > deadline
            if is_late:
                limit = self._limits.seconds_without_frame
                video.buffer.end(
                    VideoError("timeout", f"no frame for {limit:g} s, decoding was stopped")
                )
            if (is_late or video.buffer.is_closed) and self._process is not None:
                self._is_killed = True
                self._process.kill()

    def give_up(self) -> None:
        """Close the video that is being decoded."""
        with self._lock:
            video = self._video
        if video is not None:
            video.close()
        self.check()

    def _read(self, video: DecodedVideo) -> bool:
        """Read a video to its end; True where it was left before and the process must be ended."""
        assert self._pipe is not None
        self._pipe.request((video.path, video.request))
        while True:
            self._deadline = time.monotonic() + self._limits.seconds_without_frame
            runs = self._pipe.receive()
            self._deadline = None
            if not runs:
                return False
            if not video.buffer.put(runs):
                return True


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Processes started inside never receive Ctrl-C, not even while they import.

    Ctrl-C reaches every process of a terminal. Decoders are ended by the one that started them,
    and have no traceback to add.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Processes started inside do not run the person's script again.

    multiprocessing imports the main script in each new process, for functions that it may define.
    Ours are not there; and a script of a few lines that predicts a video would have to guard them
    by ``if __name__ == "__main__"``.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(pipe: Connection, limits: DecodeLimits) -> None:
    """Answer requests until the other side is gone. Runs in the decoding process."""
    from slowfast_finetune.clips.decode_job import limit_memory

    # The fork server may have been started by somebody else.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory(limits.worker_memory_mb)
    # Where nobody is left to kill a decoder that hangs, the system's alarm clock does it.
    sender = FrameSender(pipe, hang_seconds=2 * limits.seconds_without_frame + 1)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            path, request = sender.begin()
            error: VideoError | None = None
            try:
                _send_frames(sender, path, request, limits)
            except VideoError as refusal:
                error = refusal
            except (EOFError, ConnectionError):
                raise
            except (MemoryError, BlockingIOError):
                # BlockingIOError is FFmpeg's "try again" in a decoder that could not get a buffer.
                detail = f"decoding needs more than {limits.worker_memory_mb} MB"
                error = VideoError("out_of_memory", detail)
            except Exception as fault:
                detail = f"{type(fault).__name__}: {' '.join(str(fault).split())}"
                error = VideoError("decoder_error", detail)
            sender.end(error)


def _send_frames(
    sender: FrameSender, path: Path, request: FrameRequest, limits: DecodeLimits
) -> None:
    from slowfast_finetune.clips.decode_job import check_bytes
    from slowfast_finetune.decoding.decode_settings import FOREVER_SECONDS, DecodeSettings
    from slowfast_finetune.decoding.decoding import sampled_frames

    if request.container_format is None:
        check_bytes(path, content_hash=None)
    settings = DecodeSettings(
        sample_fps=request.sample_fps,
        short_side=request.short_side,
        max_seconds=FOREVER_SECONDS if request.max_seconds is None else request.max_seconds,
        max_megapixels=limits.max_megapixels,
    )
    frames = sampled_frames(
        path,
        settings=settings,
        container_format=request.container_format,
    )
    for frame in frames:
        sender.send(frame)
