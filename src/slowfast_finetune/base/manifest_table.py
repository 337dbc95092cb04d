"""data/manifest.csv: one row per video, with its label, split, group and content hash."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, get_args

from slowfast_finetune.base.tables import Table

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
# The answer for a video that shows none of the classes; no class may have this name.
NONE_OF_THESE = "none of these"


# Columns that other tables share.
VideoPath = Annotated[str, "where the video lies"]
ClassName = Annotated[str, "the name of the class"]
Label = Annotated[int, "position of the class among the sorted class names, from 0"]
SplitName = Annotated[Split, "which part it belongs to"]
Group = Annotated[
    str | None, "what `labels.csv`, `groups.csv` or `data.group_pattern` joins it with"
]
ContentHash = Annotated[str, "BLAKE2b-128 of the file's bytes", "32 hex digits"]


class ManifestRow(NamedTuple):
    """One video."""

    video_path: VideoPath
    class_name: ClassName
    label: Label
    split: SplitName
    group: Group
    content_hash: ContentHash


MANIFEST = Table("data/manifest.csv", ManifestRow, version=1)
