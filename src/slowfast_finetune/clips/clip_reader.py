"""From the clip store to batches: windows are read by threads, straight into the batch."""

import math
import os
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.params import ClipShape
from slowfast_finetune.clips.clip_store import StoredClips
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.stored_frames import Frames
from slowfast_finetune.clips.windows import Window

BATCHES_AHEAD = 3  # are read while one is used
MAX_FREE_BUFFERS = 8  # as many batches as are usually read ahead and in use at once
# Each map holds a file open, and training has two readers; macOS allows 256 files.
MAX_OPEN_MAPS = 100


class Batch(NamedTuple):
    """What a loader gives."""

    # uint8 (B, T, S, S, 3), RGB. A window smaller than S fills the top left corner of its frames;
    # resizing and mirroring are done on the device, see augmentation.
    clips: Tensor
    labels: Tensor  # int64 (B,)


class ClipReader:
    """Reads windows of the videos in ``rows`` from one folder of the clip store.

    Args:
        shape: frames of a window, T, and side of a clip, S [px].
        pin_memory: gather into page-locked memory, from where CUDA copies while it computes.
    """

    def __init__(
        self, rows: Sequence[ClipRow], *, folder: Path, shape: ClipShape, pin_memory: bool = False
    ) -> None:
        self.rows = rows
        self._shape = shape
        self._pin_memory = pin_memory
        # The least recently used maps are let go.
        self._mapped = lru_cache(MAX_OPEN_MAPS)(StoredClips(folder).clip)
        self._buffers = _Buffers()

    def gather(self, windows: Sequence[Window]) -> Batch:
        """Read windows into one batch.

        Raises:
            DataError: an entry has gone or is damaged.
        """
        batch = self.allocate(windows)
        for window, clip in zip(windows, batch.clips, strict=True):
            self.read(window, clip)
        return batch

    def allocate(self, windows: Sequence[Window]) -> Batch:
        """A batch for these windows whose clips are still to be read."""
        side = self._shape.crop_size
        shape = (len(windows), self._shape.num_frames, side, side, 3)
        # Pinned memory is used again by torch itself, which knows when CUDA has read it.
        clips = (
            torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            if self._pin_memory
            else self._buffers.take(shape)
        )
        labels = torch.tensor([self.rows[window.clip].label for window in windows])
        return Batch(clips, labels)

    def read(self, window: Window, clip: Tensor) -> None:
        """Read one window into its clip of a batch, uint8 (T, S, S, 3).

        Raises:
            DataError: the entry has gone or is damaged.
        """
        row = self.rows[window.clip]
        box = clip.numpy()[:, : window.side, : window.side]
        try:
            frames = self._mapped(row)
            if frames.shape[:3] != (row.num_frames, row.height, row.width):
                raise ValueError(f"it has the shape {frames.shape}")
            frames.copy_window(box, start=window.start, top=window.top, left=window.left)
        except ValueError as error:
            raise DataError(
                f"{row.case}: its clip is gone or damaged: {error}; `slowfast clips verify "
                "--remove` deletes damaged clips, and `dvc repro` decodes them again"
            ) from error


def reading_threads(device: torch.device, num_devices: int = 1) -> int:
    """How many threads read clips for one device, of those that share this machine.

    Beside a GPU all cores but one: R50 takes 5,000 JPEG frames a second there, and a core decodes
    900 (benchmarks/README.md). On a CPU a quarter of the cores, as the others compute.
    """
    cores = (os.cpu_count() or 1) // num_devices
    return max(1, min(8, cores // 4)) if device.type == "cpu" else max(1, cores - 1)


class _Buffers:
    """Memory for batches, reused once the batch in it is no longer referenced.

    New memory of this size comes from the kernel page by page, zeroed: that takes several times
    as long as copying the frames.
    """

    def __init__(self) -> None:
        self._free: deque[Frames] = deque(maxlen=MAX_FREE_BUFFERS)

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """An uninitialised uint8 tensor."""
        size = math.prod(shape)
        whole = self._free.pop() if self._free else np.empty(size, np.uint8)
        if len(whole) < size:
            whole = np.empty(size, np.uint8)
        # The tensor and every view of it hold this array; when the last goes, so does it.
        part = whole[:size]
        weakref.finalize(part, self._free.append, whole)
        return torch.from_numpy(part).view(shape)


class ClipLoader:
    """Gives the batches of a plan in order, reading ahead in threads, a window at a time.

    Copying and decoding let other threads run: one thread keeps ahead of a CPU, a few of a GPU,
    with no processes to start and nothing to pickle.
    """

    def __init__(
        self, reader: ClipReader, plan: Sequence[Sequence[Window]], *, num_threads: int = 1
    ) -> None:
        self._reader = reader
        self._plan = plan
        self._num_threads = num_threads

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(max_workers=self._num_threads) as pool:
            ahead: deque[tuple[Batch, list[Future[None]]]] = deque()
            try:
                for windows in self._plan:
                    batch = self._reader.allocate(windows)
                    reads = [
                        pool.submit(self._reader.read, window, clip)
                        for window, clip in zip(windows, batch.clips, strict=True)
                    ]
                    ahead.append((batch, reads))
                    waiting = sum(len(futures) for _, futures in ahead)
                    # Batches of few clips: every thread has something to do.
                    if len(ahead) > BATCHES_AHEAD and waiting > 2 * self._num_threads:
                        yield _finished(*ahead.popleft())
                while ahead:
                    yield _finished(*ahead.popleft())
            finally:
                for _, futures in ahead:
                    for future in futures:
                        future.cancel()


def _finished(batch: Batch, reads: Sequence[Future[None]]) -> Batch:
    for read in reads:
        read.result()
    return batch
