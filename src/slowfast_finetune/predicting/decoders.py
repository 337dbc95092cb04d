"""Decoding processes that live from video to video, for those who are asked again and again."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from slowfast_finetune.predicting.frame_pipe import Frame
from slowfast_finetune.predicting.shelf import Shelf
from slowfast_finetune.predicting.streams import DecodeLimits, Decoder, Wanted, bring

AHEAD_BYTES = 16 * 2**20  # of each open video: 64 frames of 256 × 340 px


class Decoders:
    """Some decoding processes, which start at once.

    No more videos may be open at once than there are processes: one that waits would never begin.
    """

    def __init__(self, limits: DecodeLimits, *, num_workers: int) -> None:
        self._decoders = [Decoder(limits) for _ in range(num_workers)]
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in self._decoders:
            decoder.start()
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
        self._shelf = Shelf(1, ahead_bytes=AHEAD_BYTES)
        threading.Thread(target=self._read, args=(path, wanted, idle), daemon=True).start()

    def frames(self) -> Iterator[Frame]:
        """Its frames, uint8 (H, W, 3); they can be had once, and end where it is closed.

        Raises:
            VideoError: in place of the frame that cannot be had.
        """
        return self._shelf.take(0)

    @property
    def has_begun(self) -> bool:
        """Whether its first frame, or the reason why there is none, can be had at once."""
        return self._shelf.has_begun(0)

    def close(self) -> None:
        """Decode no more of it."""
        self._shelf.close()

    def _read(self, path: Path, wanted: Wanted, idle: queue.SimpleQueue[Decoder]) -> None:
        decoder = idle.get()
        try:
            bring(self._shelf, 0, decoder=decoder, path=path, wanted=wanted)
        finally:
            idle.put(decoder)
