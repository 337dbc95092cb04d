"""Build the manifest: find, hash, group and split the videos of a folder."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from slowfast_finetune.base.console import progress
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.hashing import hash_file
from slowfast_finetune.base.manifest_table import SPLITS, ManifestRow, Split
from slowfast_finetune.base.params import DataParams
from slowfast_finetune.indexing.discovery import Discovery, FoundVideo, find_videos
from slowfast_finetune.indexing.hash_memo import Fingerprint, HashMemo, fingerprint
from slowfast_finetune.indexing.splits import (
    Item,
    assign_fold,
    assign_splits,
    check_given_splits,
)

GROUPS_FILE = "groups.csv"


@dataclass
class Manifest:
    """The rows, sorted by class and path, and what the person should know about them."""

    rows: list[ManifestRow]
    notes: list[str] = field(default_factory=list)


def build_manifest(params: DataParams, *, project: Path, memo: HashMemo | None = None) -> Manifest:
    """Find, hash, group and split the videos of ``params.videos``.

    Args:
        project: folder that relative paths in the manifest start from.
        memo: saves reading files that have not changed.

    Raises:
        DataError: nothing usable there, or no honest split is possible; see ``find_videos`` and
            ``assign_splits``.
    """
    root = project / Path(params.videos).expanduser()
    discovery = find_videos(root, extensions=params.extensions)
    if len(discovery.class_names) < 2:
        raise DataError(
            f"data.videos: {root} holds one class, {discovery.class_names[0]!r}; "
            "telling actions apart needs at least two class folders"
        )
    notes = _ignored_notes(discovery)
    hashes = hash_files([video.path for video in discovery.videos], memo=memo)
    groups, group_notes = _find_groups(discovery.videos, root=root, pattern=params.group_pattern)
    splits, split_notes = _split(discovery.videos, hashes=hashes, groups=groups, params=params)
    label_of = {name: label for label, name in enumerate(discovery.class_names)}
    rows = [
        ManifestRow(
            video_path=_path_from(project, video.path),
            class_name=video.class_name,
            label=label_of[video.class_name],
            split=splits[video.name],
            group=groups.get(video.name),
            content_hash=content_hash,
        )
        for video, content_hash in zip(discovery.videos, hashes, strict=True)
    ]
    return Manifest(rows, notes + group_notes + split_notes)


def _path_from(project: Path, path: Path) -> str:
    """Relative to the project where it lies in it, else absolute; symlinks stay as they are."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links
    base = Path(os.path.abspath(project))  # noqa: PTH100
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(absolute)


def _ignored_notes(discovery: Discovery) -> list[str]:
    if not discovery.ignored:
        return []
    counts = ", ".join(f"{count} {kind}" for kind, count in discovery.ignored.most_common(6))
    return [f"passed over {discovery.ignored.total()} other files: {counts}"]


def hash_files(paths: Sequence[Path], *, memo: HashMemo | None = None) -> list[str]:
    """BLAKE2b-128 of each file's bytes, as 32 hex digits, in the order given.

    Args:
        memo: where the hashes of unchanged files are found and new ones are kept.

    Raises:
        DataError: a file cannot be read.
    """
    memo = memo or HashMemo(None)
    prints = {path: _fingerprint(path) for path in paths}
    known = memo.recall(prints)
    unknown = [path for path in dict.fromkeys(paths) if path not in known]
    # hashlib releases the GIL, so threads read and hash in parallel.
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) * 2)) as pool:
        hashes = pool.map(hash_file, unknown)
        for path, content_hash in zip(
            unknown, progress(hashes, total=len(unknown), label="hashing videos"), strict=True
        ):
            known[path] = content_hash
    memo.remember([(path, found, known[path]) for path in unknown if (found := prints[path])])
    return [known[path] for path in paths]


def _fingerprint(path: Path) -> Fingerprint | None:
    try:
        return fingerprint(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _find_groups(
    videos: Sequence[FoundVideo], *, root: Path, pattern: str | None
) -> tuple[dict[str, str], list[str]]:
    """Group of each video's name, by groups.csv in the videos folder or by the pattern."""
    groups_file = root / GROUPS_FILE
    if groups_file.exists():
        groups, notes = _read_groups(groups_file, {video.name for video in videos})
        source = str(groups_file)
    elif pattern is not None:
        groups, notes = _match_groups(videos, pattern), []
        source = f"data.group_pattern '{pattern}'"
    else:
        return {}, []
    without = len(videos) - len(groups)
    note = f"{len(set(groups.values()))} groups by {source}"
    return groups, [note + (f"; {without} videos in no group" if without else ""), *notes]


def _read_groups(path: Path, names: set[str]) -> tuple[dict[str, str], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"video_path", "group"} <= set(reader.fieldnames or ()):
                raise DataError(
                    f"{path}: found columns {', '.join(reader.fieldnames or ['none'])}; "
                    "expected video_path (from this folder) and group"
                )
            pairs = {(row["video_path"], row["group"]) for row in reader if row["group"]}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 CSV: {error}") from error
    groups = dict(sorted(pairs))
    if len(groups) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise DataError(f"{path}: {twice!r} is listed in more than one group")
    strangers = sorted(set(groups) - names)
    if strangers and len(strangers) == len(groups):
        raise DataError(
            f"{path}: names none of the videos; found {strangers[0]!r}, "
            f"expected paths such as {min(names)!r}"
        )
    notes = []
    if strangers:
        notes = [f"WARNING: {len(strangers)} rows of {path} name no video, e.g. {strangers[0]!r}"]
    return {name: group for name, group in groups.items() if name in names}, notes


def _match_groups(videos: Sequence[FoundVideo], pattern: str) -> dict[str, str]:
    groups = {}
    for video in videos:
        match = re.search(pattern, video.name)
        if match:
            # The first capture group that took part names the group; without any, the match does.
            groups[video.name] = next((part for part in match.groups() if part), match.group(0))
    if not groups:
        raise DataError(
            f"data.group_pattern: {pattern!r} matches none of the {len(videos)} videos, "
            f"e.g. {videos[0].name!r}"
        )
    return groups


def _split(
    videos: Sequence[FoundVideo],
    *,
    hashes: Sequence[str],
    groups: dict[str, str],
    params: DataParams,
) -> tuple[dict[str, Split], list[str]]:
    """Split of each video's name, and what to tell about duplicates and given splits."""
    given = {video.name: video.given_split for video in videos}
    notes = _honour_duplicates(videos, hashes=hashes, given=given)
    present = {split for split in given.values() if split}
    fractions: dict[Split, float] = {
        "train": 1 - params.val_fraction - params.test_fraction,
        "val": params.val_fraction,
        "test": params.test_fraction,
    }
    missing = [split for split in SPLITS if split not in present]
    if present:
        notes.append(
            f"the folders fix the split: {', '.join(s for s in SPLITS if s in present)}"
            + (f"; {' and '.join(missing)} taken from train" if missing else "")
        )
        if missing:
            fractions = {s: fractions[s] if s in missing or s == "train" else 0.0 for s in SPLITS}
            fractions["train"] = 1 - sum(fractions[split] for split in missing)
    items = [
        Item(
            key=video.name,
            class_name=video.class_name,
            ties=_ties(groups.get(video.name), content_hash, video),
            given_split=given[video.name],
        )
        for video, content_hash in zip(videos, hashes, strict=True)
    ]
    check_given_splits(items)
    if params.fold is not None:
        if present:
            raise DataError(
                f"data.fold: {params.fold} would choose the test videos, but the folders "
                f"{', '.join(s for s in SPLITS if s in present)} do already; set data.fold: null, "
                "or put the class folders of all into one folder"
            )
        notes.append(f"fold {params.fold} of {params.num_folds} (from 0) is the test split")
        folds = {"fold": params.fold, "num_folds": params.num_folds}
        return assign_fold(
            items, **folds, val_fraction=params.val_fraction, seed=params.split_seed
        ), notes
    if missing and present:
        # What is missing is taken from train: its videos are free again.
        items = [
            replace(item, given_split=None) if item.given_split == "train" else item
            for item in items
        ]
    return assign_splits(items, fractions=fractions, seed=params.split_seed), notes


def _ties(group: str | None, content_hash: str, video: FoundVideo) -> tuple[str, ...]:
    ties = () if group is None else (f"group {group}",)
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
    copies: dict[str, list[FoundVideo]] = defaultdict(list)
    for video, content_hash in zip(videos, hashes, strict=True):
        if not _is_empty(video.path):
            copies[content_hash].append(video)
    notes = []
    sets = [same for same in copies.values() if len(same) > 1]
    if sets:
        example = " = ".join(repr(video.name) for video in sets[0][:3])
        notes.append(f"{len(sets)} sets of copies of one video, each kept in one split: {example}")
    crossing = Counter[str]()
    for same in sets:
        splits = {given[video.name] for video in same}
        if len(splits) > 1:
            crossing.update(str(split) for split in splits)
            strongest = max(splits, key=lambda split: SPLITS.index(split) if split else -1)
            given.update((video.name, strongest) for video in same)
    if crossing:
        notes.append(
            "WARNING: the same video lies in several of your split folders "
            f"({', '.join(sorted(crossing))}); all its copies now count for the later one"
        )
    for same in sets:
        classes = sorted({video.class_name for video in same})
        if len(classes) > 1:
            names = " and ".join(repr(video.name) for video in same[:3])
            notes.append(f"WARNING: {names} are the same video in classes {', '.join(classes)}")
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
