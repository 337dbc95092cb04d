"""From the clip store to batches: windows are copied once, from the map into the batch."""

from __future__ import annotations

import math
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.clips.clip_store import SUFFIX, Frames, map_frames
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import Window

MAX_FREE_BUFFERS = 8  # more than are read ahead and in use at once
MAX_OPEN_MAPS = 512  # below the usual limits for open files and maps, whatever the collection


class Batch(NamedTuple):
    """What a loader gives.

    Attributes:
        clips: uint8 (B, T, S, S, 3), RGB. A window smaller than S fills the top left corner of its
            frames, and mirrored ones are not yet: the device does both, see augmentation.
        labels: int64 (B,).
        clip_indices: int64 (B,), which row of the table each clip comes from.
    """

    clips: Tensor
    labels: Tensor
    clip_indices: Tensor


class ClipReader:
    """Reads windows of the videos in ``rows`` from one folder of the clip store.

    Args:
        num_frames: frames of a window, T.
        crop_size: side of a clip, S [px].
        pin_memory: gather into page-locked memory, from where CUDA copies while it computes.
    """

    def __init__(
        self,
        rows: Sequence[ClipRow],
        *,
        folder: Path,
        num_frames: int,
        crop_size: int,
        pin_memory: bool = False,
    ) -> None:
        self.rows = rows
        self._folder = folder
        self._num_frames = num_frames
        self._crop_size = crop_size
        self._pin_memory = pin_memory
        self._maps: OrderedDict[int, Frames] = OrderedDict()
        self._lock = threading.Lock()  # of the maps: several threads may gather at once
        self._buffers = _Buffers()

    def gather(self, windows: Sequence[Window]) -> Batch:
        """Copy windows into one batch.

        Raises:
            DataError: an entry has gone or is too short.
        """
        size = self._crop_size
        shape = (len(windows), self._num_frames, size, size, 3)
        # Pinned memory is used again by torch itself, which knows when CUDA has read it.
        clips = (
            torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            if self._pin_memory
            else self._buffers.take(shape)
        )
        target = clips.numpy()
        for position, window in enumerate(windows):
            box = self._map(window.clip)[
                window.start : window.start + self._num_frames,
                window.top : window.top + window.side,
                window.left : window.left + window.side,
            ]
            np.copyto(target[position, :, : window.side, : window.side], box)
        indices = torch.tensor([window.clip for window in windows])
        labels = torch.tensor([self.rows[window.clip].label for window in windows])
        return Batch(clips, labels, indices)

    def _map(self, clip: int) -> Frames:
        """The mapped frames of a row, (F, H, W, 3); the least recently used maps are let go."""
        with self._lock:
            frames = self._maps.get(clip)
            if frames is None:
                frames = self._maps[clip] = self._open(clip)
            self._maps.move_to_end(clip)
            while len(self._maps) > MAX_OPEN_MAPS:
                self._maps.popitem(last=False)
            return frames

    def _open(self, clip: int) -> Frames:
        row = self.rows[clip]
        path = self._folder / f"{row.content_hash}{SUFFIX}"
        try:
            return map_frames(path, (row.num_frames, row.height, row.width, 3))
        except (OSError, ValueError) as error:
            raise DataError(f"{row.video_path}: its clip {path} is gone: {error}") from error


class _Buffers:
    """Memory for batches, used again once nobody holds the batch that lay in it.

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
    """Gives the batches of a plan in order, reading ahead in threads.

    A window is one copy out of mapped memory, during which numpy and torch let other threads run:
    one thread keeps ahead of a CPU, a few of a GPU, with no processes to start and nothing to
    pickle.
    """

    def __init__(
        self,
        reader: ClipReader,
        plan: Sequence[Sequence[Window]],
        *,
        read_ahead: int = 3,
        num_threads: int = 1,
    ) -> None:
        self._reader = reader
        self._plan = plan
        self._num_threads = num_threads
        self._read_ahead = read_ahead + num_threads - 1

    def __len__(self) -> int:
        return len(self._plan)

    @property
    def num_clips(self) -> int:
        """Clips in all batches together."""
        return sum(len(windows) for windows in self._plan)

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(max_workers=self._num_threads) as pool:
            ahead: deque[Future[Batch]] = deque()
            try:
                for windows in self._plan:
                    ahead.append(pool.submit(self._reader.gather, windows))
                    if len(ahead) > self._read_ahead:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()
