"""The labels of a manifest, as a labels.csv has them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.indexing.label_table import LabelRow
from slowfast_finetune.indexing.names import composed


def labels_of(
    manifest: Iterable[ManifestRow], *, root: Path, project: Path
) -> tuple[list[LabelRow], dict[str, Path]]:
    """The label of every case, sorted by video and start, and the videos by their names there.

    Args:
        root: the videos folder, from which a labels.csv names videos.
        project: where relative paths of the manifest start.

    Raises:
        DataError: a video does not lie in the folder.
    """
    rows, paths = [], {}
    for case in manifest:
        name = name_in(root, case.video_path, project=project)
        paths[name] = locate(case.video_path, project=project)
        # Manifests of before there were parts have no times.
        start, end = (getattr(case, time, None) for time in ("start_seconds", "end_seconds"))
        rows.append(LabelRow(name, case.class_name, start, end, case.split, case.group))
    rows.sort(key=lambda row: (row.video, row.start or 0.0))
    return rows, paths


def name_in(root: Path, video_path: str, *, project: Path) -> str:
    """The path of a video from the videos folder ``root``; raises as :func:`labels_of`."""
    # Path.resolve would follow links.
    path = Path(os.path.abspath(locate(video_path, project=project)))  # noqa: PTH100
    folder = Path(os.path.abspath(root))  # noqa: PTH100
    if not path.is_relative_to(folder):
        raise DataError(
            f"data.videos: {video_path} of the manifest is not in {root}; set data.videos to the "
            "folder that the manifest was made from"
        )
    return composed(path.relative_to(folder).as_posix())
