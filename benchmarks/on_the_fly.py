"""What people do without a cache: a torch dataset that decodes a clip each time it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class NaiveDecordDataset(Dataset[tuple[Tensor, int]]):
    """Random clips with decord as its manual shows it: uint8 (T, S, S, 3), and a label.

    Args:
        stride: every so many frames of the video are taken; fewer where it is too short.
        width, height: what decord scales the frames to [px].
    """

    def __init__(
        self,
        videos: Sequence[Path],
        *,
        num_frames: int,
        stride: int,
        width: int,
        height: int,
        crop_size: int,
    ) -> None:
        self._videos = videos
        self._num_frames = num_frames
        self._stride = stride
        self._width, self._height = width, height
        self._crop_size = crop_size

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        import decord

        reader = decord.VideoReader(
            str(self._videos[index]), width=self._width, height=self._height, num_threads=1
        )
        # Seeded by the video: every round decodes the same windows.
        rng = np.random.default_rng(index)
        stride = max(1, min(self._stride, len(reader) // self._num_frames))
        start = int(rng.integers(0, len(reader) - self._num_frames * stride + 1))
        chosen = range(start, start + self._num_frames * stride, stride)
        frames = reader.get_batch(list(chosen)).asnumpy()
        size = self._crop_size
        top = int(rng.integers(0, self._height - size + 1))
        left = int(rng.integers(0, self._width - size + 1))
        return torch.from_numpy(frames[:, top : top + size, left : left + size].copy()), 0


def loader_of(dataset: Dataset[Any], *, batch_size: int, num_workers: int) -> DataLoader[Any]:
    """A DataLoader whose workers live through all epochs, so that starting them is not timed."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def pytorchvideo_dataset(videos: Sequence[Path], *, clip_seconds: float) -> Any:
    """pytorchvideo's own dataset over the same videos.

    Raises:
        Exception: whatever it says where its dependencies have moved on.
    """
    from slowfast_finetune.model.library_imports import import_torchvision

    import_torchvision()
    from pytorchvideo.data import LabeledVideoDataset, make_clip_sampler

    return LabeledVideoDataset(
        [(str(video), {"label": 0}) for video in videos],
        clip_sampler=make_clip_sampler("random", clip_seconds),
        video_sampler=torch.utils.data.SequentialSampler,
        decode_audio=False,
        decoder="pyav",
    )
