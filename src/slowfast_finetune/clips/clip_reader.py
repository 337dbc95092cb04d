"""From the clip store to batches: windows are copied once, from the map into the batch."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slowfast_finetune.clips.clip_store import SUFFIX, Frames, map_frames
from slowfast_finetune.clips.tables import ClipRow
from slowfast_finetune.clips.windows import Window
from slowfast_finetune.errors import DataError

MAX_OPEN_MAPS = 512  # below the usual limits for open files and maps, whatever the collection


class Batch(NamedTuple):
    """What a loader gives.

    Attributes:
        clips: uint8 (B, T, S, S, 3), RGB.
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
        crop_size: side of a window, S [px].
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

    def gather(self, windows: Sequence[Window]) -> Batch:
        """Copy windows into one batch.

        Raises:
            DataError: an entry has gone or is too short.
        """
        size = self._crop_size
        shape = (len(windows), self._num_frames, size, size, 3)
        clips = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pin_memory)
        target = clips.numpy()
        for position, window in enumerate(windows):
            box = self._map(window.clip)[
                window.start : window.start + self._num_frames,
                window.top : window.top + size,
                window.left : window.left + size,
            ]
            np.copyto(target[position], box[:, :, ::-1] if window.mirrored else box)
        indices = torch.tensor([window.clip for window in windows])
        labels = torch.tensor([self.rows[window.clip].label for window in windows])
        return Batch(clips, labels, indices)

    def _map(self, clip: int) -> Frames:
        """The mapped frames of a row, (F, H, W, 3); the least recently used maps are let go."""
        frames = self._maps.get(clip)
        if frames is None:
            row = self.rows[clip]
            path = self._folder / f"{row.content_hash}{SUFFIX}"
            try:
                frames = map_frames(path, (row.num_frames, row.height, row.width, 3))
            except (OSError, ValueError) as error:
                raise DataError(f"{row.video_path}: its clip {path} is gone: {error}") from error
        self._maps[clip] = frames
        self._maps.move_to_end(clip)
        while len(self._maps) > MAX_OPEN_MAPS:
            self._maps.popitem(last=False)
        return frames


class ClipLoader:
    """Gives the batches of a plan in order, reading ahead in a thread.

    A window is one copy out of mapped memory, during which numpy lets other threads run: one
    thread keeps ahead of any model, with no processes to start and nothing to pickle.
    """

    def __init__(
        self, reader: ClipReader, plan: Sequence[Sequence[Window]], *, read_ahead: int = 3
    ) -> None:
        self._reader = reader
        self._plan = plan
        self._read_ahead = read_ahead

    def __len__(self) -> int:
        return len(self._plan)

    @property
    def num_clips(self) -> int:
        """Clips in all batches together."""
        return sum(len(windows) for windows in self._plan)

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(max_workers=1) as pool:
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
