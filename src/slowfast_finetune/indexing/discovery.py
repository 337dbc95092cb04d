"""Find the videos of a folder: one folder per class, or train/ val/ test/ of such folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.manifest_table import NONE_OF_THESE, Split

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class FoundVideo:
    """A file that counts as a video. ``path`` is as found; ``name`` is relative to the root."""

    path: Path
    name: str
    class_name: str
    given_split: Split | None


@dataclass
class Discovery:
    """All videos of a folder in a fixed order, and what was passed over."""

    videos: list[FoundVideo]
    class_names: list[str]
    ignored: Counter[str] = field(default_factory=Counter)


def find_videos(root: Path, *, extensions: Sequence[str]) -> Discovery:
    """List the videos of every class folder, sorted by class and path.

    A class is a folder directly in ``root``; videos may lie at any depth below it. If all folders
    in ``root`` are called train, val or test, they hold the class folders and fix the split.
    Hidden files are passed over; symbolic links are followed.

    Raises:
        DataError: no such folder, unreadable folder, no class folder, an empty class, a name
            that is not UTF-8.
    """
    _check_folder(root)
    ignored: Counter[str] = Counter()
    videos: list[FoundVideo] = []
    class_names: set[str] = set()
    for given_split, folder in _class_folders(root, ignored):
        found = [
            FoundVideo(path, path.relative_to(root).as_posix(), folder.name, given_split)
            for path in _files_below(folder, above=frozenset({root.resolve()}))
            if _counts(path, extensions, ignored)
        ]
        if not found and given_split is None:
            raise DataError(_nothing_in(folder, extensions))
        if folder.name == NONE_OF_THESE:
            raise DataError(
                f"data.videos: {folder} is named as the answer to a video of no class; rename it"
            )
        videos += found
        class_names.add(folder.name)
    for class_name in sorted(class_names - {video.class_name for video in videos}):
        raise DataError(_nothing_in(root / "*" / class_name, extensions))
    videos.sort(key=lambda video: (video.class_name, video.name))
    return Discovery(videos, sorted(class_names), ignored)


def _check_folder(root: Path) -> None:
    if not root.exists():
        raise DataError(f"data.videos: {root} does not exist; give the folder of class folders")
    if not root.is_dir():
        raise DataError(f"data.videos: {root} is not a folder; give the folder of class folders")


def _class_folders(root: Path, ignored: Counter[str]) -> list[tuple[Split | None, Path]]:
    """The class folders of ``root``, each with the split that its parent folder fixes."""
    folders = _subfolders(root, ignored)
    if not folders:
        raise DataError(f"data.videos: {root} holds no class folders; make one folder per class")
    if not all(folder.name.lower() in SPLIT_FOLDERS for folder in folders):
        return [(None, folder) for folder in folders]
    by_split = [(SPLIT_FOLDERS[folder.name.lower()], folder) for folder in folders]
    if "train" not in {split for split, _ in by_split}:
        names = ", ".join(folder.name for folder in folders)
        raise DataError(f"data.videos: {root} is split into {names}, but there is no train folder")
    return [
        (split, class_folder)
        for split, folder in by_split
        for class_folder in _subfolders(folder, ignored)
    ]


def _subfolders(folder: Path, ignored: Counter[str]) -> list[Path]:
    subfolders = []
    for path in _entries(folder):
        if path.is_dir():
            subfolders.append(path)
        elif path.name != "groups.csv":
            ignored["outside any class folder"] += 1
    return subfolders


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without hidden entries (.DS_Store, ._clip.mp4, .git)."""
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error
    for path in entries:
        try:
            path.name.encode("utf-8")
        except UnicodeEncodeError as error:
            shown = os.fsencode(path).decode("utf-8", "backslashreplace")
            raise DataError(f"{shown}: the name is not UTF-8; rename the file") from error
    return entries


def _files_below(folder: Path, *, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files below a folder, depth first. A link back to a folder above is not followed."""
    real = folder.resolve()
    if real in above:
        return
    for path in _entries(folder):
        if path.is_dir():
            yield from _files_below(path, above=above | {real})
        else:
            yield path


def _counts(path: Path, extensions: Sequence[str], ignored: Counter[str]) -> bool:
    if path.suffix.lower() not in extensions:
        ignored[path.suffix.lower() or "no extension"] += 1
    elif not path.is_file():
        # Opening a pipe would wait for ever.
        ignored["broken links" if path.is_symlink() else "not files"] += 1
    else:
        return True
    return False


def _nothing_in(folder: Path, extensions: Sequence[str]) -> str:
    found: Counter[str] = Counter()
    if folder.is_dir():
        found.update(path.suffix.lower() or "no extension" for path in _files_below(folder))
    held = ", ".join(f"{count} {suffix}" for suffix, count in found.most_common(4)) or "nothing"
    return (
        f"{folder} holds no videos; looked for {', '.join(extensions)} (data.extensions), "
        f"found {held}"
    )
