"""data/manifest.csv: one row per video, with its label, split, group and content hash."""

from __future__ import annotations

from typing import Literal, get_args

from slowfast_finetune.base.files import Row

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
# What is answered to a video that shows none of the classes; no class may be called so.
NONE_OF_THESE = "none of these"


class ManifestRow(Row):
    """One video. ``label`` counts the sorted class names; ``content_hash`` is BLAKE2b-128."""

    video_path: str
    class_name: str
    label: int
    split: Split
    group: str | None
    content_hash: str
