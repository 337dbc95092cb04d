"""Build the manifest: find, hash, group and split the videos of a folder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.hash_memo import HashMemo, hash_files
from slowfast_finetune.base.manifest_table import SPLITS, ManifestRow, Split
from slowfast_finetune.base.params import DataParams
from slowfast_finetune.base.store_location import dvc_cache, locate, store_root, written_path
from slowfast_finetune.indexing.background import add_background
from slowfast_finetune.indexing.discovery import (
    Discovery,
    FoundVideo,
    find_videos,
    videos_anywhere,
)
from slowfast_finetune.indexing.groups import find_groups
from slowfast_finetune.indexing.label_table import LABELS_FILE, read_labels
from slowfast_finetune.indexing.splits import Item, assign_fold, assign_splits, check_given_splits


@dataclass
class Manifest:
    """The rows, sorted by class and path, and what the person should know about them."""

    rows: list[ManifestRow]
    notes: list[str] = field(default_factory=list)
    num_changed: int = 0  # test labels that were changed at the label desk
    num_dropped: int = 0  # test videos, or parts of some, that were left out there


def build_manifest(params: DataParams, *, project: Path, memo: HashMemo | None = None) -> Manifest:
    """Find, hash, group and split the videos of ``params.videos``.

    Args:
        project: where relative paths start, and which clip store and DVC cache hold no videos.
        memo: saves reading files that have not changed.

    Raises:
        DataError: nothing usable there, or no split is possible; see ``find_videos`` and
            ``assign_splits``.
    """
    root, discovery = discover(params, project=project)
    if not discovery.class_names:
        raise DataError(f"data.videos: {root} holds no video that has a label")
    if len(discovery.class_names) < 2:
        raise DataError(
            f"data.videos: {root} holds one class, {discovery.class_names[0]!r}; "
            f"telling actions apart needs at least two class folders{discovery.advice}"
        )
    notes = [*_ignored_notes(discovery), *discovery.warnings]
    hashes = hash_files([video.path for video in discovery.videos], memo=memo)
    groups, group_notes = find_groups(discovery.videos, root=root, pattern=params.group_pattern)
    dealt, split_notes = _splits(discovery, hashes, groups, root=root, params=params, memo=memo)
    kept = [
        (video, content_hash, split)
        for video, content_hash, split in zip(discovery.videos, hashes, dealt, strict=True)
        if split is not None
    ]
    discovery.videos = [video for video, _, _ in kept]
    discovery.class_names = sorted({video.class_name for video in discovery.videos})
    before = {video.class_name for video in discovery.undecided}
    if emptied := sorted(before - {*discovery.class_names}):
        names = ", ".join(map(repr, emptied))
        notes.append(f"WARNING: decisions leave no video of class {names}; it is no class any more")
    rows = manifest_rows(
        discovery,
        [content_hash for _, content_hash, _ in kept],
        project=project,
        splits=[split for _, _, split in kept],
        groups=groups,
    )
    changed = sum(video.is_changed and split == "test" for video, _, split in kept)
    return Manifest(rows, notes + group_notes + split_notes, changed, discovery.num_dropped)


def manifest_rows(
    discovery: Discovery,
    hashes: Sequence[str],
    *,
    project: Path,
    splits: Sequence[Split],
    groups: Mapping[str, str],
) -> list[ManifestRow]:
    """The rows of found videos, from the hash and the split of each and the groups of names."""
    label_of = {name: label for label, name in enumerate(discovery.class_names)}
    return [
        ManifestRow(
            video_path=written_path(video.path, project=project),
            class_name=video.class_name,
            label=label_of[video.class_name],
            split=split,
            group=groups.get(video.name),
            content_hash=content_hash,
            start_seconds=video.start,
            end_seconds=video.end,
            table_row=None if video.start is None else video.table_row,
        )
        for video, content_hash, split in zip(discovery.videos, hashes, splits, strict=True)
    ]


def discover(params: DataParams, *, project: Path) -> tuple[Path, Discovery]:
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
    )
    if params.background is not None:
        ratio = params.background_ratio
        add_background(discovery, labels, class_name=params.background, ratio=ratio)
        if labels is not None and any(video.start is not None for video in discovery.undecided):
            before = replace(discovery, videos=discovery.undecided, warnings=[])
            undecided = replace(labels, rows=labels.undecided)
            add_background(before, undecided, class_name=params.background, ratio=ratio)
            discovery.undecided = before.videos
    return root, discovery


def labels_path(params: DataParams, *, project: Path) -> Path:
    """Where the table of labels is, if there is one."""
    if params.labels:
        return locate(params.labels, project=project)
    return _videos_folder(params, project=project) / LABELS_FILE


def every_video(params: DataParams, *, project: Path) -> tuple[Path, list[str]]:
    """The folder ``params.videos``, and the path from there of every video, of a class or not.

    These are the names that a table of labels may give.
    """
    root = _videos_folder(params, project=project)
    own = _own_folders(project)
    return root, videos_anywhere(root, params.extensions, params.exclude, own)


def _videos_folder(params: DataParams, *, project: Path) -> Path:
    if "://" in params.videos:
        raise DataError(f"data.videos: {params.videos!r} is an address; save the videos as files")
    return locate(params.videos, project=project)


def _own_folders(project: Path) -> list[Path]:
    """The clip store and DVC's cache, which hold no videos."""
    cache = dvc_cache(project)
    return [store_root(project), *([] if cache is None else [cache])]


def _ignored_notes(discovery: Discovery) -> list[str]:
    kinds = discovery.ignored.most_common()
    shown = ", ".join(
        f"{count} {kind}" + "s" * (count > 1 and kind in {"broken link", "special file"})
        for kind, count in kinds[:12]
    )
    more = f", {len(kinds) - 12} other kinds" if len(kinds) > 12 else ""
    return [f"passed over: {shown}{more}"] if kinds else []


def _split(
    videos: Sequence[FoundVideo],
    *,
    hashes: Sequence[str],
    groups: dict[str, str],
    params: DataParams,
) -> tuple[list[Split], list[str]]:
    """Split of each video or part, and what to tell about duplicates and given splits."""
    given = {video.name: video.given_split for video in videos}
    notes = _honour_duplicates(videos, hashes=hashes, given=given)
    present = [split for split in SPLITS if split in given.values()]
    missing = [split for split in SPLITS if split not in present]
    val, test = params.val_fraction, params.test_fraction
    # Numbered, not named by their times: the split does not change when a boundary is moved.
    seen: Counter[str] = Counter()
    keys = []
    for video in videos:
        keys.append(f"{video.name}#{seen[video.name]}" if seen[video.name] else video.name)
        seen[video.name] += 1
    items = [
        Item(key, video.class_name, ties, given[video.name])
        for key, video, content_hash in zip(keys, videos, hashes, strict=True)
        for ties in [_ties(groups.get(video.name), content_hash, video)]
    ]
    check_given_splits(items)
    if params.fold is not None:
        if present:
            raise DataError(
                f"data.fold: {params.fold} would choose the test videos, but the folders "
                f"or labels for {', '.join(present)} do already; set data.fold: null, "
                "or put the class folders of all into one folder"
            )
        notes.append(f"fold {params.fold} of {params.num_folds} (from 0) is the test split")
        folds = {"fold": params.fold, "num_folds": params.num_folds}
        dealt = assign_fold(items, **folds, val_fraction=val, seed=params.split_seed)
        return [dealt[key] for key in keys], notes
    if present:
        taken = f"; {' and '.join(missing)} taken from train" if missing else ""
        notes.append(f"folders or labels fix the split: {', '.join(present)}{taken}")
        val, test = (val if "val" in missing else 0.0), (test if "test" in missing else 0.0)
    if present and missing:
        # What is missing is taken from train: its videos are free again.
        items = [
            replace(item, given_split=None) if item.given_split == "train" else item
            for item in items
        ]
    fractions: dict[Split, float] = {"train": 1 - val - test, "val": val, "test": test}
    splits = assign_splits(items, fractions=fractions, seed=params.split_seed)
    for split in present[1:]:
        names = {
            item.class_name
            for item in items
            if splits[item.key] == split and item.given_split != split
        }
        if names:
            classes = ", ".join(repr(name) for name in sorted(names))
            notes.append(f"WARNING: the given {split} split lacks {classes}; taken from train")
    return [splits[key] for key in keys], notes


def _splits(
    discovery: Discovery,
    hashes: Sequence[str],
    groups: dict[str, str],
    *,
    root: Path,
    params: DataParams,
    memo: HashMemo | None,
) -> tuple[Sequence[Split | None], list[str]]:
    """As :func:`_split`; decisions about labels leave the split of all videos as it was.

    The split is None for videos that are left out, see :func:`_kept_splits`.
    """
    before, videos, warnings = discovery.undecided, discovery.videos, []
    if before:
        old_hashes = hash_files([video.path for video in before], memo=memo)
        old_groups, _ = find_groups(before, root=root, pattern=params.group_pattern)
        old, notes = _split(before, hashes=old_hashes, groups=old_groups, params=params)
        kept = _kept_splits(
            videos, hashes, groups, _known_splits(before, old_hashes, old_groups, old)
        )
        if not (lacking := _lacking_class(videos, kept, old)):
            out = [video.name for video, split in zip(videos, kept, strict=True) if not split]
            if out := [*dict.fromkeys(out)]:
                notes.append(
                    f"WARNING: {len(out)} newly labelled videos are left out, which are copies of "
                    f"val or test videos or in one group with some, e.g. {out[0]!r}: a model that "
                    "had learned from them would be measured on what it knows"
                )
            return kept, notes
        warnings = [f"WARNING: {lacking}; the split is dealt anew"]
    splits, notes = _split(videos, hashes=hashes, groups=groups, params=params)
    return splits, warnings + notes


def _known_splits(
    videos: Sequence[FoundVideo],
    hashes: Sequence[str],
    groups: Mapping[str, str],
    splits: Sequence[Split],
) -> dict[str, Split]:
    """The split of each video, by its name and by what joins others to it."""
    known: dict[str, Split] = {}
    for video, content_hash, split in zip(videos, hashes, splits, strict=True):
        known[f"video {video.name}"] = split
        known |= dict.fromkeys(_ties(groups.get(video.name), content_hash, video), split)
    return known


def _kept_splits(
    videos: Sequence[FoundVideo],
    hashes: Sequence[str],
    groups: Mapping[str, str],
    known: Mapping[str, Split],
) -> list[Split | None]:
    """The split that each video had before decisions, so that runs before and after compare.

    A video that had no label joins train: it was chosen because a model was unsure of it, and
    would make the test videos no fair sample. If it belongs to a val or test video, it is left
    out: None.
    """
    held_out = {tie for tie, split in known.items() if split != "train"}
    new = {
        video.name: {*_ties(groups.get(video.name), content_hash, video)}
        for video, content_hash in zip(videos, hashes, strict=True)
        if f"video {video.name}" not in known
    }
    count = -1
    while count != (count := len(held_out)):  # they may belong to one by way of each other
        for ties in new.values():
            if ties & held_out:
                held_out |= ties - known.keys()
    return [
        (None if new[video.name] & held_out else video.given_split or "train")
        if video.name in new
        else known[f"video {video.name}"]
        for video in videos
    ]


def _lacking_class(
    videos: Sequence[FoundVideo], splits: Sequence[Split | None], before: Sequence[Split]
) -> str:
    """Say which class has no video in a split; empty if none is missing anywhere."""
    present = {(video.class_name, split) for video, split in zip(videos, splits, strict=True)}
    for name in sorted({name for name, split in present if split}):
        for split in SPLITS:
            if split in before and (name, split) not in present:
                return f"decisions leave class {name!r} without a {split} video"
    return ""


def _ties(group: str | None, content_hash: str, video: FoundVideo) -> tuple[str, ...]:
    ties = () if group is None else (f"group {group}",)
    if video.start is not None:
        ties = (*ties, f"video {video.name}")
    return ties if _is_empty(video.path) else (*ties, f"content {content_hash}")


def _is_empty(path: Path) -> bool:
    """Empty files are all alike without being the same video; the cache stage refuses them."""
    return path.stat().st_size == 0


def _honour_duplicates(
    videos: Sequence[FoundVideo], *, hashes: Sequence[str], given: dict[str, Split | None]
) -> list[str]:
    """Move copies of a video that lie in several given splits to the one nearest the test.

    Changes ``given`` in place; returns a note for copies within, across classes and splits.
    """
    copies: dict[str, dict[str, FoundVideo]] = defaultdict(dict)
    for video, content_hash in zip(videos, hashes, strict=True):
        if not _is_empty(video.path):
            copies[content_hash].setdefault(video.name, video)
    notes = []
    sets = [[*same.values()] for same in copies.values() if len(same) > 1]
    if sets:
        example = " = ".join(repr(video.name) for video in sets[0][:3])
        of = count(len(sets), "set")
        notes.append(f"{of} of copies of one video, each kept in one split: {example}")
    crossing: set[str] = set()
    for same in sets:
        splits = {given[video.name] for video in same}
        if len(splits) > 1:
            crossing |= {str(split) for split in splits}
            strongest = max(splits, key=lambda split: SPLITS.index(split) if split else -1)
            given.update((video.name, strongest) for video in same)
        if len(classes := sorted({v.class_name for v in same if v.start is None})) > 1:
            names = " and ".join(repr(video.name) for video in same[:3])
            notes.append(f"WARNING: {names} are the same video in classes {', '.join(classes)}")
    if crossing:
        notes.append(
            "WARNING: the same video lies in several of your split folders "
            f"({', '.join(sorted(crossing))}); all its copies now count for the later one"
        )
    return notes


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
