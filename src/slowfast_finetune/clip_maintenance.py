"""Look after the clip store: what it holds, what is damaged, what nothing refers to."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slowfast_finetune.base.console import progress, readable_bytes
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.params import ClipParams
from slowfast_finetune.clips.clip_store import SUFFIX, ClipStore, EntryError, raw_bytes

# A writer that is still alive has touched its file since; an older one was killed.
STALE_SECONDS = 3600
# Only what bears such a name is ours to read, count or delete.
CORNER_NAME = "[0-9a-f]{16}"
ENTRY_KEY = r"[0-9a-f]{32}(/\d+-\d+)?"
TEMPORARY_NAME = r"\.[0-9a-f]{32}\..*tmp"
SETTINGS_NAME = "settings.json"


@dataclass(frozen=True)
class Corner:
    """A settings folder of the store: the clips decoded with one set of parameters.

    Attributes:
        digest: name of its folder.
        settings: the ``clip:`` values, None where settings.json is missing or damaged.
        num_entries: whole videos, and ranges of others.
        num_bytes: of all entries.
        raw_bytes: what they would take without encoding; damaged ones are not counted.
    """

    digest: str
    settings: ClipParams | None
    num_entries: int
    num_bytes: int
    raw_bytes: int


def corners(root: Path) -> list[Corner]:
    """Every corner of the store, by name.

    Raises:
        DataError: there is no store.
    """
    return [
        Corner(
            digest=folder.name,
            settings=_settings(folder),
            num_entries=len(entries := _entries(folder)),
            num_bytes=size_of(entries),
            raw_bytes=_raw_bytes(folder, entries),
        )
        for folder in _folders(root)
    ]


def _folders(root: Path) -> list[Path]:
    """List the settings folders of the store; other folders are ignored."""
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: the clip store must be a folder; this is a file")
    if not root.is_dir():
        raise DataError(f"{root}: there is no clip store yet; `dvc repro` makes it")
    return sorted(
        path
        for path in root.iterdir()
        if re.fullmatch(CORNER_NAME, path.name) and (path / SETTINGS_NAME).is_file()
    )


def _entries(folder: Path) -> list[Path]:
    """The entries of a settings folder: of whole videos, and in their folders of ranges."""
    found = [*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*/*{SUFFIX}")]
    return sorted(path for path in found if re.fullmatch(ENTRY_KEY, _key(path, folder)))


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix().removesuffix(SUFFIX)


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of all files together."""
    total = 0
    for path in paths:
        with suppress(OSError):  # a running stage has just renamed or removed it
            total += path.stat().st_size
    return total


def _raw_bytes(folder: Path, entries: list[Path]) -> int:
    store = ClipStore.of_folder(folder)
    total = 0
    for path in entries:
        with suppress(EntryError):
            info = store.info(_key(path, folder))
            total += raw_bytes(info.num_frames, info.height, info.width)
    return total


def _settings(folder: Path) -> ClipParams | None:
    try:
        values = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        return ClipParams.restored(values["clip"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe_corners(found: Iterable[Corner], *, current: str) -> str:
    """A table of the corners for people; the current settings are marked."""
    lines = [f"{'settings':16}  {'videos':>7}  {'size':>9}  {'raw':>9}  frames × side @ rate"]
    for corner in found:
        clip = corner.settings
        what = "settings.json is missing"
        if clip is not None:
            what = (
                f"≥{clip.num_frames} × {clip.short_side} px @ {clip.sample_fps:g}/s, "
                f"{clip.padding}, up to {clip.max_seconds:g} s, "
                f"{'raw' if clip.encoding == 'raw' else f'JPEG {clip.jpeg_quality}'}"
            )
        mark = "  ← params.yaml" if corner.digest == current else ""
        size, raw = readable_bytes(corner.num_bytes), readable_bytes(corner.raw_bytes)
        lines.append(
            f"{corner.digest:16}  {corner.num_entries:7}  {size:>9}  {raw:>9}  {what}{mark}"
        )
    return "\n".join(lines)


def damaged_entries(root: Path) -> Iterator[tuple[Path, str]]:
    """Read every entry of every corner and yield those that are not as written, with the reason."""
    stores = [
        (ClipStore.of_folder(folder), path)
        for folder in _folders(root)
        for path in _entries(folder)
    ]
    for store, path in progress(stores, total=len(stores), label="verifying", unit="clip"):
        try:
            store.verify(_key(path, store.folder))
        except EntryError as error:
            yield path, str(error)


def find_leftovers(root: Path, *, current: str, keys: set[str]) -> dict[str, list[Path]]:
    """Files that neither these videos nor these settings refer to, by what they are.

    Args:
        current: digest of the settings to keep.
        keys: of the entries to keep.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    now = time.time()
    for folder in _folders(root):
        entries = {path: _key(path, folder) for path in _entries(folder)}
        for path in sorted({*folder.iterdir(), *entries}):
            is_entry = path in entries
            if re.fullmatch(TEMPORARY_NAME, path.name):
                if now - path.stat().st_mtime > STALE_SECONDS:
                    found["half-written by a process that was killed"].append(path)
            elif folder.name != current and (is_entry or path.name == SETTINGS_NAME):
                found["of other clip settings than params.yaml has"].append(path)
            elif is_entry and entries[path] not in keys:
                found["of videos or parts that data/manifest.csv does not list"].append(path)
    return found


def remove(files: Sequence[Path]) -> None:
    """Delete the files, and the folders that are empty then."""
    for path in files:
        path.unlink(missing_ok=True)
    # The deepest first: a folder of ranges lies in that of its settings.
    folders = {path.parent for path in files}
    folders |= {folder.parent for folder in folders if not re.fullmatch(CORNER_NAME, folder.name)}
    for folder in sorted(folders, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
