"""The labels of a manifest, as a labels.csv has them."""

import os
from collections.abc import Iterable
from pathlib import Path

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.indexing.label_table import LabelRow, LabelTable, composed


def labels_of(
    manifest: Iterable[ManifestRow], *, root: Path, project: Path
) -> tuple[list[LabelRow], dict[str, Path]]:
    """The label of every case, sorted by video and start, and the videos by their names there.

    Args:
        root: the videos folder, from which a labels.csv names videos.
        project: where relative paths of the manifest start.

    Raises:
        DataError: no video lies in the folder; a table can name some beside it.
    """
    rows, paths = [], {}
    for row in manifest:
        video = name_of(row.video_path, root=root, project=project)
        paths[video] = locate(row.video_path, project=project)
        times = row.start_seconds, row.end_seconds
        rows.append(LabelRow(video, row.class_name, *times, row.split, row.group))
    if rows and all(row.video.startswith("../") for row in rows):
        raise DataError(
            f"data.videos: no video of the manifest is in {root}, e.g. not {rows[0].video}; set "
            "data.videos to the folder that the manifest was made from"
        )
    rows.sort(key=lambda row: (row.video, row.start or 0.0))
    return rows, paths


def dropped_rows(table: LabelTable, rows: Iterable[LabelRow]) -> list[LabelRow]:
    """The rows of a table that leave a video or a part out; they are in no manifest.

    Args:
        rows: of the manifest: all rows of a video name one split and group.
    """
    of_video = {row.video: row for row in rows}
    dropped = []
    for listed in table.rows.values():
        for _, row in listed:
            if row.label is None:
                same = of_video.get(row.video, row)
                dropped.append(row._replace(split=same.split, group=same.group))
    return dropped


def name_of(video_path: str, *, root: Path, project: Path) -> str:
    """The path of a manifest's video from the videos folder; see :func:`labels_of`."""
    return composed(Path(os.path.relpath(locate(video_path, project=project), root)).as_posix())
