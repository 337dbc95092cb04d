"""Build the manifest: find, hash, group and split the videos of a folder."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from slowfast_finetune.base import store_location
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.hash_memo import HashMemo, hash_files
from slowfast_finetune.base.manifest_table import SPLITS, ManifestRow, Split
from slowfast_finetune.base.params import DataParams, ModelParams
from slowfast_finetune.indexing.background import add_background
from slowfast_finetune.indexing.discovery import Discovery, FoundVideo, find_videos
from slowfast_finetune.indexing.folder_walk import FolderWalk
from slowfast_finetune.indexing.label_table import LABELS_FILE, read_labels
from slowfast_finetune.indexing.video_splits import choose_splits, find_ties


@dataclass
class Manifest:
    """The rows, sorted by class and path, and what the person should know about them."""

    rows: list[ManifestRow]
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # as in :class:`Discovery`
    num_changed: int = 0  # test labels that were changed at the label desk
    num_dropped: int = 0  # test videos, or parts of some, that were left out there


def build_manifest(
    params: DataParams, *, project: Path, memo: HashMemo | None = None, lenient: bool = False
) -> Manifest:
    """Find, hash, group and split the videos of ``params.videos``.

    Args:
        project: where relative paths start, and which clip store and DVC cache hold no videos.
        memo: saves reading files that have not changed.
        lenient: note faults of the folder that leave other videos.

    Raises:
        DataError: nothing usable there, or no split is possible; see ``find_videos`` and
            ``assign_splits``.
    """
    root, discovery = discover(params, project=project, lenient=lenient)
    if not discovery.class_names:
        raise DataError(f"data.videos: {root} holds no video that has a label")
    if len(discovery.class_names) < 2:
        raise DataError(
            f"data.videos: {root} holds one class, {discovery.class_names[0]!r}; "
            f"telling actions apart needs at least two class folders{discovery.advice}"
        )
    notes = discovery.notes
    joined, group_notes = find_ties(discovery.videos, root=root, params=params, memo=memo)
    before = None
    if discovery.undecided:
        before, _ = find_ties(discovery.undecided, root=root, params=params, memo=memo)
    splits, split_notes = choose_splits(joined, before, params=params)
    rows = manifest_rows(
        discovery.videos, joined.hashes, project=project, splits=splits, groups=joined.groups
    )
    emptied = {video.class_name for video in discovery.undecided} - {row.class_name for row in rows}
    if emptied:
        names = ", ".join(map(repr, sorted(emptied)))
        notes.append(f"WARNING: decisions leave no video of class {names}; it is no class any more")
    changed = sum(
        video.table_row in discovery.changed and split == "test"
        for video, split in zip(discovery.videos, splits, strict=True)
    )
    notes += group_notes + split_notes
    return Manifest(rows, notes, discovery.faults, changed, discovery.num_dropped)


def manifest_rows(
    videos: Sequence[FoundVideo],
    hashes: Sequence[str],
    *,
    project: Path,
    splits: Sequence[Split | None],
    groups: Mapping[str, str],
) -> list[ManifestRow]:
    """The rows of found videos, from the hash and the split of each and the groups of names.

    A video whose split is None is left out.
    """
    kept = [
        (video, content_hash, split)
        for video, content_hash, split in zip(videos, hashes, splits, strict=True)
        if split is not None
    ]
    class_names = sorted({video.class_name for video, _, _ in kept})
    label_of = {name: label for label, name in enumerate(class_names)}
    return [
        ManifestRow(
            video_path=store_location.written_path(video.path, project=project),
            class_name=video.class_name,
            label=label_of[video.class_name],
            split=split,
            group=groups.get(video.name),
            content_hash=content_hash,
            start_seconds=video.start,
            end_seconds=video.end,
            table_row=None if video.start is None else video.table_row,
        )
        for video, content_hash, split in kept
    ]


def discover(params: DataParams, *, project: Path, lenient: bool = False) -> tuple[Path, Discovery]:
    """The folder ``params.videos``, and its videos; see ``find_videos``.

    The table of labels is ``params.labels``, or labels.csv in the folder if there is one.
    """
    root = _videos_folder(params, project=project)
    table = labels_path(params, project=project)
    labels = read_labels(table) if params.labels or table.exists() else None
    discovery = find_videos(
        root,
        extensions=params.extensions,
        exclude=params.exclude,
        not_videos=_own_folders(project),
        labels=labels,
        lenient=lenient,
    )
    if params.background is not None:
        add = partial(add_background, class_name=params.background, ratio=params.background_ratio)
        discovery.videos, note = add(discovery.videos, labels.rows if labels else {})
        discovery.warnings.append(note)
        if labels and any(video.start is not None for video in discovery.undecided):
            discovery.undecided, _ = add(discovery.undecided, labels.undecided or labels.rows)
    return root, discovery


def labels_path(params: DataParams, *, project: Path) -> Path:
    """Where the table of labels is, if there is one."""
    if params.labels:
        return store_location.locate(params.labels, project=project)
    return _videos_folder(params, project=project) / LABELS_FILE


def every_video(params: DataParams, *, project: Path) -> tuple[Path, list[str]]:
    """The folder ``params.videos``, and the path from there of every video, of a class or not.

    These are the names that a table of labels may give: composed, and sorted; see ``find_videos``.

    Raises:
        DataError: no such folder, unreadable folder, a name that is not UTF-8.
    """
    root = _videos_folder(params, project=project)
    if not root.is_dir():
        raise DataError(f"{root}: is no folder; expected the folder of the videos")
    walk = FolderWalk(root, params.extensions, params.exclude, _own_folders(project))
    return root, sorted(walk.every_video())


def _videos_folder(params: DataParams, *, project: Path) -> Path:
    if "://" in params.videos:
        raise DataError(f"data.videos: {params.videos!r} is an address; save the videos as files")
    return store_location.locate(params.videos, project=project)


def _own_folders(project: Path) -> list[Path]:
    """The clip store and DVC's cache, which hold no videos."""
    cache = store_location.dvc_cache(project)
    return [store_location.store_root(project), *([] if cache is None else [cache])]


def describe(manifest: Manifest) -> str:
    """How many videos of each class went to each split, and the notes, as lines of text."""
    counts = Counter((row.class_name, row.split) for row in manifest.rows)
    classes = sorted({row.class_name for row in manifest.rows})
    width = max(len(name) for name in ["class", *classes])
    lines = [f"{'class':{width}}  " + "  ".join(f"{split:>5}" for split in SPLITS)]
    lines += [
        f"{name:{width}}  " + "  ".join(f"{counts[name, split]:5}" for split in SPLITS)
        for name in classes
    ]
    return "\n".join([*lines, *manifest.notes])


def weights_record(params: ModelParams, *, project: Path, memo: HashMemo | None = None) -> str:
    """``model.weights`` and the BLAKE2b-128 of that file's bytes, as JSON.

    The hash is null for ``none``, for ``kinetics400`` and for addresses: those are downloaded
    once, and read from there without a look at the address.

    Raises:
        WeightsError: no such file.
        DataError: the file cannot be read.
    """
    content_hash = None
    if params.weights_file is not None:
        path = store_location.locate_weights_file(params.weights_file, project=project)
        (content_hash,) = hash_files([path], memo=memo)
    return json.dumps({"weights": params.weights, "content_hash": content_hash}, indent=2) + "\n"
