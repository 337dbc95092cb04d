"""Pure: which window of which stored video is looked at. Decided here, read elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slowfast_finetune.clips.tables import ClipRow
from slowfast_finetune.videos.sampling import window_starts


@dataclass(frozen=True)
class Window:
    """A box of a stored video: frames from ``start``, pixels from ``(top, left)``.

    ``clip`` counts the rows that the windows were planned for.
    """

    clip: int
    start: int
    top: int
    left: int
    mirrored: bool = False


def plan_training_epoch(
    rows: Sequence[ClipRow],
    *,
    num_frames: int,
    crop_size: int,
    batch_size: int,
    random_crop: bool,
    horizontal_flip: float,
    seed: int,
    epoch: int,
) -> list[list[Window]]:
    """One window of every video, in random order, in batches: what an epoch trains on.

    Depends on the arguments alone. A last batch of a single clip joins the one before it: its
    batch-norm statistics would be those of one video.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(rows))
    windows = []
    for clip in order.tolist():
        row = rows[clip]
        # The same number of draws for every video, so that one choice does not shift the next.
        time, vertical, horizontal, mirror = rng.random(4).tolist()
        if not random_crop:
            vertical = horizontal = 0.5
        windows.append(
            Window(
                clip=clip,
                start=int(time * (row.num_frames - num_frames + 1)),
                top=int(vertical * (row.height - crop_size + 1)),
                left=int(horizontal * (row.width - crop_size + 1)),
                mirrored=mirror < horizontal_flip,
            )
        )
    batches = [windows[i : i + batch_size] for i in range(0, len(windows), batch_size)]
    if len(batches) > 1 and batch_size > 1 and len(batches[-1]) == 1:
        (last,) = batches.pop()
        batches[-1].append(last)
    return batches


def plan_views(
    rows: Sequence[ClipRow],
    *,
    num_frames: int,
    crop_size: int,
    batch_size: int,
    temporal_views: int = 1,
    spatial_crops: int = 1,
) -> list[list[Window]]:
    """The fixed windows of every video, in batches: time by time, crop by crop.

    With three crops they lie at the start, centre and end of the longer side, as in the
    SlowFast paper's test; with one, at the centre.
    """
    windows = [
        Window(clip, start, top, left)
        for clip, row in enumerate(rows)
        for start in window_starts(row.num_frames, window=num_frames, views=temporal_views)
        for top, left in _corners(row.height, row.width, crop_size, spatial_crops)
    ]
    return [windows[i : i + batch_size] for i in range(0, len(windows), batch_size)]


def _corners(height: int, width: int, crop_size: int, crops: int) -> list[tuple[int, int]]:
    top, left = (height - crop_size) // 2, (width - crop_size) // 2
    if crops == 1:
        return [(top, left)]
    if width >= height:
        return [(top, 0), (top, left), (top, width - crop_size)]
    return [(0, left), (top, left), (height - crop_size, left)]
