"""Frames of videos as they are decoded, by processes that can be killed, ahead of who needs them.

A video that hangs or crashes its decoder costs that video. Memory does not grow with a video's
length: a decoder waits when nobody takes its frames.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.predicting.frame_pipe import Frame, FrameReceiver, FrameSender
from slowfast_finetune.predicting.shelf import Shelf

# More than the frames of the clips that are computed at once, or nothing would be decoded
# meanwhile: 8 clips a second apart, of 256 × 455 px at 15 fps, are 42 MB.
AHEAD_BYTES = 96 * 2**20
_WAKE_SECONDS = 0.1  # how soon a thread that waits for its decoder sees that it may stop
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
) -> Generator[tuple[Path, Iterator[Frame]]]:
    """Each video in order, with its upright frames, uint8 (H, W, 3), while they are decoded.

    The videos that come next are decoded meanwhile. A stream left unfinished is given up when the
    next is asked for. However this ends, no process and no thread is left.

    Raises:
        VideoError: from a stream, in place of the frame that cannot be had.
    """
    shelf = Shelf(len(paths), ahead_bytes=AHEAD_BYTES)
    threads = [
        threading.Thread(target=_fetch, args=(shelf, paths, wanted, limits), daemon=True)
        for _ in range(min(num_workers, len(paths)))
    ]
    try:
        for thread in threads:
            thread.start()
        for stream, path in enumerate(paths):
            yield path, shelf.take(stream)
    finally:
        shelf.close()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _fetch(shelf: Shelf, paths: Sequence[Path], wanted: Wanted, limits: DecodeLimits) -> None:
    """Bring one video after the other to the shelf. Runs in a thread that owns a decoder."""
    decoder = Decoder(limits)
    try:
        while (stream := shelf.claim()) is not None:
            bring(shelf, stream, decoder=decoder, path=paths[stream], wanted=wanted)
    finally:
        decoder.stop()


def bring(shelf: Shelf, stream: int, *, decoder: Decoder, path: Path, wanted: Wanted) -> None:
    """Put the frames of a video, and its end, on the shelf, as long as they are wanted there."""
    end: VideoError | None = None
    try:
        for frames in decoder.frames(path, wanted, is_wanted=partial(shelf.is_wanted, stream)):
            if not shelf.put(stream, frames):
                decoder.stop()
                break
    except VideoError as error:
        end = error
    except Exception as error:
        # A fault of ours must reach the one who waits, not die with this thread.
        decoder.stop()
        end = VideoError("decoder_error", f"{type(error).__name__}: {error}")
    shelf.put(stream, end)


class Decoder:
    """A decoding process, started when it is needed, and again after it had to be killed."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process: Any = None
        self._pipe: FrameReceiver | None = None

    def frames(
        self, path: Path, wanted: Wanted, *, is_wanted: Callable[[], bool]
    ) -> Iterator[list[Frame]]:
        """Decode one video, as long as it is wanted; some frames at a time.

        Raises:
            VideoError: refused by the decoder, or the process hung or died.
        """
        try:
            pipe = self._connected()
            pipe.request((path, wanted))
            while self._has_answer(pipe, is_wanted):
                frames = pipe.receive()
                if not frames:
                    return
                yield frames
        except (EOFError, OSError) as error:
            self.stop()
            raise VideoError("crashed", "the decoder crashed") from error
        self.stop()

    def start(self) -> None:
        """Start the process, which takes half a second the first time."""
        self._connected()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            with _processes:
                self._process.kill()
                self._process.join()
                self._process.close()
            self._process = None

    def _connected(self) -> FrameReceiver:
        if self._pipe is None:
            context = get_context("forkserver")
            context.set_forkserver_preload(_MODULES)
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self._limits), daemon=True)
            with _processes, _ctrl_c_blocked(), _main_hidden():
                process.start()
            self._pipe, self._process = FrameReceiver(ours), process
            theirs.close()
        return self._pipe

    def _has_answer(self, pipe: FrameReceiver, is_wanted: Callable[[], bool]) -> bool:
        """Wait for the decoder; False if meanwhile the video is no longer wanted."""
        limit = self._limits.seconds_without_frame
        deadline = time.monotonic() + limit
        while not pipe.poll(min(_WAKE_SECONDS, limit)):
            if not is_wanted():
                return False
            if time.monotonic() > deadline:
                self.stop()
                raise VideoError("timeout", f"no frame for {limit:g} s, decoding was stopped")
        return True


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """What is started inside never hears of Ctrl-C, not even while it imports.

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
    """What is started inside does not run the person's script again.

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
    """Decode what is asked for until the other side is gone. Runs in the decoding process."""
    from slowfast_finetune.clips.decode_job import limit_memory

    # The fork server may have been started by somebody else.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory(limits.worker_memory_mb)
    sender = FrameSender(pipe)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            path, wanted = sender.begin()
            error: VideoError | None = None
            try:
                _send_frames(sender, path, wanted, limits)
            except VideoError as refusal:
                error = refusal
            except (EOFError, ConnectionError):
                raise
            except Exception as fault:
                detail = f"{type(fault).__name__}: {' '.join(str(fault).split())}"
                error = VideoError("decoder_error", detail)
            sender.end(error)


def _send_frames(sender: FrameSender, path: Path, wanted: Wanted, limits: DecodeLimits) -> None:
    from slowfast_finetune.clips.decode_job import check_bytes
    from slowfast_finetune.decoding.decode_settings import FOREVER_SECONDS, DecodeSettings
    from slowfast_finetune.decoding.decoding import sampled_frames

    check_bytes(path, content_hash=None)
    settings = DecodeSettings(
        sample_fps=wanted.sample_fps,
        short_side=wanted.short_side,
        max_seconds=FOREVER_SECONDS if wanted.max_seconds is None else wanted.max_seconds,
        max_megapixels=limits.max_megapixels,
    )
    frames = sampled_frames(path, settings=settings)
    while (frame := _next_frame(frames, limits)) is not None:
        sender.send(frame)


def _next_frame(frames: Iterator[Frame], limits: DecodeLimits) -> Frame | None:
    """Decode on to the next frame; None at the end.

    The system's alarm clock ends a decoder that hangs when nobody is left to end it.

    Raises:
        VideoError: refused, or more memory is needed than allowed.
    """
    signal.setitimer(signal.ITIMER_REAL, limits.seconds_without_frame * 2 + 1)
    try:
        return next(frames, None)
    except (MemoryError, BlockingIOError) as error:
        # BlockingIOError is FFmpeg's "try again" inside a decoder that could not get a buffer.
        detail = f"decoding needs more than {limits.worker_memory_mb} MB"
        raise VideoError("out_of_memory", detail) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
