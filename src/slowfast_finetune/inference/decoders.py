"""Decoding processes that live from video to video, for those who are asked again and again."""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from slowfast_finetune.errors import VideoError
from slowfast_finetune.inference.frame_pipe import Frame
from slowfast_finetune.inference.streams import DecodeLimits, Decoder, Wanted

MESSAGES_AHEAD = 8  # of each open video: at most 64 frames, at 256 × 340 px 17 MB
_WAKE_SECONDS = 0.1  # how often a thread that cannot go on looks whether it should


class Decoders:
    """Some decoding processes.

    No more videos may be open at once than there are processes: one that waits would never begin.
    """

    def __init__(self, limits: DecodeLimits, *, num_workers: int) -> None:
        self._decoders = [Decoder(limits) for _ in range(num_workers)]
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)
        self._open: weakref.WeakSet[OpenVideo] = weakref.WeakSet()

    def open(self, path: Path, wanted: Wanted) -> OpenVideo:
        """Begin to decode a video."""
        video = OpenVideo(path, wanted, self._idle)
        self._open.add(video)
        return video

    def close(self) -> None:
        """Give up the videos that are open, and end the processes."""
        for video in list(self._open):
            video.close()
        for _ in self._decoders:
            # A decoder belongs to the thread that uses it until that gives it back.
            self._idle.get().stop()


class OpenVideo:
    """A video that is being decoded, by a thread that reads ahead of whoever takes its frames."""

    def __init__(self, path: Path, wanted: Wanted, idle: queue.SimpleQueue[Decoder]) -> None:
        self._messages: queue.Queue[list[Frame] | VideoError | None] = queue.Queue(MESSAGES_AHEAD)
        self._is_given_up = threading.Event()
        threading.Thread(target=self._read, args=(path, wanted, idle), daemon=True).start()

    def frames(self) -> Iterator[Frame]:
        """Its frames, uint8 (H, W, 3); they can be had once.

        Raises:
            VideoError: in place of the frame that cannot be had.
        """
        while (item := self._messages.get()) is not None:
            if isinstance(item, VideoError):
                raise item
            yield from item

    @property
    def has_begun(self) -> bool:
        """Whether its first frame, or the reason why there is none, can be had at once."""
        return not self._messages.empty()

    def close(self) -> None:
        """Decode no more of it."""
        self._is_given_up.set()

    def _read(self, path: Path, wanted: Wanted, idle: queue.SimpleQueue[Decoder]) -> None:
        decoder = idle.get()
        try:
            self._read_with(decoder, path, wanted)
        finally:
            idle.put(decoder)

    def _read_with(self, decoder: Decoder, path: Path, wanted: Wanted) -> None:
        end: VideoError | None = None
        try:
            for frames in decoder.frames(path, wanted, is_wanted=self._is_wanted):
                if not self._put(frames):
                    decoder.stop()
                    return
        except VideoError as error:
            end = error
        except Exception as error:
            # A fault of ours must reach the one who waits, not die with this thread.
            decoder.stop()
            end = VideoError("decoder_error", f"{type(error).__name__}: {error}")
        self._put(end)

    def _is_wanted(self) -> bool:
        return not self._is_given_up.is_set()

    def _put(self, item: list[Frame] | VideoError | None) -> bool:
        """Whether it was taken: nobody waits for a video that was given up."""
        while self._is_wanted():
            with contextlib.suppress(queue.Full):
                self._messages.put(item, timeout=_WAKE_SECONDS)
                return True
        return False
