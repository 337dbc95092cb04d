"""Videos without labels that the label desk may ask about."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from slowfast_finetune.base.console import count, say
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.hash_memo import MEMO_NAME, HashMemo, hash_files
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.base.params import Params
from slowfast_finetune.base.store_location import locate, written_path
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.desk.decisions import DecisionTable
from slowfast_finetune.indexing.label_table import composed, read_labels
from slowfast_finetune.indexing.manifest import every_video, labels_path

IN_SET = "in the set already"


def unlabelled_rows(
    folder: Path, known: Sequence[ClipRow], *, params: Params, store: ClipStore, project: Path
) -> list[ClipRow]:
    """Decode the videos of a folder into the clip store; says which are refused or passed over.

    Their class is empty, and their split tells nothing. Passed over are videos that are in the set
    or decided about already, and copies of these and of each other.

    Args:
        known: cases of the set.

    Raises:
        DataError: the folder holds no usable video, or the table of labels is not valid.
    """
    data = params.data.model_copy(update={"videos": str(folder.absolute())})
    root, names = every_video(data, project=project)
    paths = [root / name for name in names]
    hashes = hash_files(paths, memo=HashMemo(store.folder.parent / MEMO_NAME))
    listed = project / MANIFEST.file
    in_set = [*known, *(MANIFEST.read_rows(listed) if listed.is_file() else ())]
    decided = _decided(params, project=project)
    base = locate(params.data.videos, project=project)
    names_in_set = {row.video_path for row in in_set}
    reasons = [
        IN_SET
        if written_path(path, project=project) in names_in_set
        else "decided already"
        if composed(os.path.relpath(path, base)) in decided
        else None
        for path in paths
    ]
    seen = {row.content_hash: IN_SET for row in in_set}
    seen |= {found: reason for found, reason in zip(hashes, reasons, strict=True) if reason}
    manifest, passed = [], Counter[str]()
    for path, content_hash, reason in zip(paths, hashes, reasons, strict=True):
        if why := reason or seen.get(content_hash):
            passed[why] += 1
            continue
        seen[content_hash] = "like others there"
        name = written_path(path, project=project)
        manifest.append(ManifestRow(name, "", 0, "train", None, content_hash))
    if passed:
        shown = ", ".join(f"{number} {why}" for why, number in sorted(passed.items()))
        say(f"{folder}: not asked about: {passed.total()} of {count(len(paths), 'video')}: {shown}")
    if passed and not manifest:
        return []
    rows, rejected = cache_videos(manifest, params=params, store=store, project=project)
    for row in rejected:
        say(f"WARNING: {row.case}: {row.reason}: {row.detail}")
    if not rows:
        raise DataError(f"{folder}: holds no video that can be used")
    return rows


def _decided(params: Params, *, project: Path) -> set[str]:
    """The videos that the table of labels names, but for those whose decision was undone."""
    path = labels_path(params.data, project=project)
    if not path.exists():
        return set()
    named = read_labels(path).rows
    table = DecisionTable(path)
    standing = {decision.span.video for decision in table.standing}
    undone = {decision.span.video for decision in table.decisions} - standing
    return {
        name for name in named if name not in undone or any(row.label for _, row in named[name])
    }
