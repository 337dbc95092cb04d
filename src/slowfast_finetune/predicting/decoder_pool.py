"""Pool of decoding processes that can be killed, which decode ahead of whoever takes the frames.

A video that hangs or crashes its decoder costs that video. Memory does not grow with a video's
length: a decoder waits when nobody takes its frames.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from types import ModuleType
from typing import Any

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.clips.workers import DECODER_MODULE, refusal_of
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.predicting.decoded_video import AHEAD_BYTES, DecodedVideo, VideoClosedError
from slowfast_finetune.predicting.frame_pipe import FrameReceiver, FrameRun, FrameSender

JOIN_SECONDS = 5.0  # a process or thread that has been told to end is waited for
_MODULES = [DECODER_MODULE, "slowfast_finetune.clips.decode_job", __name__]
# multiprocessing's lists of processes, and the main module below, are not made for threads.
_processes = threading.Lock()


@dataclass(frozen=True)
class DecodeLimits:
    """What one video may cost."""

    seconds_without_frame: float = 30.0  # a decoder that sends no frame for this long has hung [s]
    worker_memory_mb: int = 2048  # of a decoding process


class DecoderPool:
    """Decoding processes, which start at once and live from video to video.

    Videos are decoded in the order in which they are opened.
    """

    def __init__(self, limits: DecodeLimits, *, num_workers: int) -> None:
        self._opened: queue.SimpleQueue[DecodedVideo | None] = queue.SimpleQueue()
        self._decoders = [_Decoder(limits) for _ in range(num_workers)]
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(decoder,), name="decoder", daemon=True)
            for decoder in self._decoders
        ]
        for thread in self._threads:
            thread.start()

    def open(self, video: DecodedVideo) -> DecodedVideo:
        """Begin to decode a video as soon as a decoder is free; gives it back."""
        self._opened.put(video)
        if self._is_closed:
            video.close()
        return video

    def close(self) -> None:
        """Close the videos that are open, and end the processes and threads, within seconds."""
        self._is_closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                video = self._opened.get_nowait()
                if video is not None:
                    video.close()
        for decoder in self._decoders:
            self._opened.put(None)
            if (video := decoder.video) is not None:
                video.close()
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, decoder: _Decoder) -> None:
        """Decode one video after the other. Runs in a thread that owns a decoder."""
        try:
            with contextlib.suppress(OSError):  # tried again, and reported, with the first video
                decoder.start()
            while (video := self._opened.get()) is not None:
                decoder.video = video
                if self._is_closed:
                    video.close()
                decoder.decode(video)
                decoder.video = None
        finally:
            decoder.stop()


def decode_in_order(
    paths: Sequence[Path], settings: DecodeSettings, limits: DecodeLimits, *, num_workers: int
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
    with contextlib.closing(DecoderPool(limits, num_workers=num_workers)) as pool:
        for number, path in enumerate(paths):
            for following in paths[number + len(opened) : number + 1 + num_ahead]:
                ahead = DecodedVideo(following, settings, max_bytes=AHEAD_BYTES // num_ahead)
                opened.append(pool.open(ahead))
            video = opened.popleft()
            video.allow(AHEAD_BYTES)
            yield path, video.runs()
            video.close()


class _Decoder:
    """A decoding process, started when it is needed, and again after it was killed."""

    def __init__(self, limits: DecodeLimits) -> None:
        self.video: DecodedVideo | None = None  # that is being decoded
        self._limits = limits
        self._process: Any = None
        self._pipe: FrameReceiver | None = None

    def decode(self, video: DecodedVideo) -> None:
        """Put the frames of a video, and its end, into its buffer, while they are wanted."""
        if video.is_closed:
            return
        error: VideoError | None = None
        is_reusable = False
        try:
            self.start()
            is_reusable = self._read(video)
        except VideoError as refusal:
            error, is_reusable = refusal, refusal.reason != "timeout"
        except (EOFError, OSError):
            error = VideoError("crashed", "the decoder crashed")
        except VideoClosedError:
            pass
        except Exception as fault:
            # An error in this program must reach the thread that waits, not end this one.
            error = refusal_of(fault)
        video.end(error)
        if not is_reusable:
            self.stop()

    def start(self) -> None:
        """Start the process, which takes half a second the first time."""
        if self._pipe is not None:
            return
        context = get_context("forkserver")
        context.set_forkserver_preload(_MODULES)
        ours, theirs = socket.socketpair()
        with theirs, _processes, _isolated_start():
            self._process = context.Process(target=_serve, args=(theirs, self._limits), daemon=True)
            self._pipe = FrameReceiver(ours)
            self._process.start()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        pipe, process = self._pipe, self._process
        self._pipe = self._process = None
        if pipe is not None:
            pipe.close()
        if process is not None and process.pid is not None:
            with _processes:
                process.kill()
                process.join(JOIN_SECONDS)
                if not process.is_alive():
                    process.close()

    def _read(self, video: DecodedVideo) -> bool:
        """Read a video to its end; False if it was closed before."""
        assert self._pipe is not None
        seconds = self._limits.seconds_without_frame
        deadline = time.monotonic() + seconds

        def check() -> None:
            if video.is_closed:
                raise VideoClosedError
            if time.monotonic() > deadline:
                raise VideoError("timeout", f"no frame for {seconds:g} s, decoding was stopped")

        self._pipe.request((video.path, video.settings, video.container_format))
        while (run := self._pipe.receive(check)) is not None:
            if not video.put(run):
                return False
            deadline = time.monotonic() + seconds
        return True


@contextlib.contextmanager
def _isolated_start() -> Iterator[None]:
    """Processes started inside neither receive Ctrl-C nor run the person's script again.

    Ctrl-C reaches every process of a terminal, even while it imports; decoders are ended by the
    process that started them. And multiprocessing imports the main script in each new process, for
    functions that it may define. Ours are not there, and a script of a few lines that predicts a
    video would need ``if __name__ == "__main__"``.
    """
    # Starting it unblocks the signal; once it runs, the first process finds it blocked too.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(channel: socket.socket, limits: DecodeLimits) -> None:
    """Answer requests until the other side is gone. Runs in the decoding process."""
    from slowfast_finetune.clips.decode_job import limit_memory

    # The fork server may have been started by somebody else.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory(limits.worker_memory_mb)
    sender = FrameSender(channel, hang_seconds=2 * limits.seconds_without_frame + 1)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            request = sender.next_request()
            error: VideoError | None = None
            try:
                _send_frames(sender, *request)
            except ConnectionError:
                raise
            except (MemoryError, BlockingIOError):
                # BlockingIOError is FFmpeg's "try again" in a decoder that could not get a buffer.
                detail = f"decoding needs more than {limits.worker_memory_mb} MB"
                error = VideoError("out_of_memory", detail)
            except Exception as fault:
                error = refusal_of(fault)
            sender.end(error)


def _send_frames(
    sender: FrameSender, path: Path, settings: DecodeSettings, container_format: str | None
) -> None:
    from slowfast_finetune.clips.decode_job import check_bytes
    from slowfast_finetune.decoding.sampled_frames import sampled_runs

    if container_format is None:
        check_bytes(path, content_hash=None)
    for run in sampled_runs(path, settings=settings, container_format=container_format):
        sender.send(*run)
