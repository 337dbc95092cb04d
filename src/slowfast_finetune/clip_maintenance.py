"""Look after the clip store and its features: what is held, damaged, referred to by nothing."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slowfast_finetune.base.console import progress, readable_bytes
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.params import ClipParams
from slowfast_finetune.clips.clip_store import SETTINGS_NAME, SUFFIX, EntryError, StoredClips
from slowfast_finetune.features.feature_store import CORNER_NAME, PROGRAMS, feature_stores

# A writer that is still alive has touched its file since; an older one was killed.
STALE_SECONDS = 3600
# Only what bears such a name is ours to read, count or delete.
HASH_DIGITS = 32
ENTRY_KEY = r"[0-9a-f]{32}([/.]\d+-\d+)?"
TEMPORARY_NAME = r"\.[0-9a-f]{32}\..*tmp"


@dataclass(frozen=True)
class Corner:
    """A settings folder of the store: the clips decoded with one set of parameters."""

    digest: str  # name of its folder
    settings: ClipParams | None  # the ``clip:`` values; None where settings.json is damaged
    num_entries: int  # whole videos, and ranges of others
    num_bytes: int  # of all entries
    raw_bytes: int | None  # what they take without encoding; None where one cannot be read


def corners(root: Path) -> list[Corner]:
    """Every corner of the store, by name.

    Raises:
        DataError: there is no store.
    """
    return [_corner(folder) for folder in _folders(root)]


def _corner(folder: Path) -> Corner:
    entries, store = _entries(folder), StoredClips(folder)
    settings = raw = None
    with suppress(EntryError):
        settings = store.settings()
    with suppress(EntryError):
        raw = sum(store.info(key).raw_bytes for key in entries.values())
    return Corner(folder.name, settings, len(entries), size_of(entries), raw)


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


def _entries(folder: Path) -> dict[Path, str]:
    """The keys of the entries of a settings folder: of whole videos, and of ranges of others."""
    found = sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*/*{SUFFIX}")])
    keys = {path: path.relative_to(folder).as_posix().removesuffix(SUFFIX) for path in found}
    return {path: key for path, key in keys.items() if re.fullmatch(ENTRY_KEY, key)}


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of all files together."""
    total = 0
    for path in paths:
        with suppress(OSError):  # a running stage has just renamed or removed it
            total += path.stat().st_size
    return total


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
        size = readable_bytes(corner.num_bytes)
        raw = "unknown" if corner.raw_bytes is None else readable_bytes(corner.raw_bytes)
        lines.append(
            f"{corner.digest:16}  {corner.num_entries:7}  {size:>9}  {raw:>9}  {what}{mark}"
        )
    return "\n".join(lines)


def describe_features(root: Path, *, current: str) -> str:
    """A table of the feature stores for people, empty if there is none; ``current`` is marked."""
    lines = []
    for store, found in feature_stores(root):
        entries = _entries(store.folder)
        what = "settings.json is damaged"
        if found is not None:
            what = (
                f"{found.model}, weights {found.weights[:8]}, {found.num_views} views of "
                f"{found.crop_size} px of {found.clips}, {found.precision}"
            )
            what += "  ← params.yaml" if found.clips == current else ""
        size = readable_bytes(size_of(entries))
        lines.append(f"{store.folder.name:16}  {len(entries):7}  {size:>9}  {what}")
    head = f"{'features':16}  {'videos':>7}  {'size':>9}  network, views @ clips of"
    return "\n".join([head, *lines]) if lines else ""


def damaged_entries(root: Path) -> Iterator[tuple[Path, EntryError]]:
    """Read all clips and features, and yield those that are not as written, with the reason."""
    readers: list[tuple[Path, Callable[[str], object]]] = [
        (folder, StoredClips(folder).verify) for folder in _folders(root)
    ]
    readers += [(store.folder, store.read) for store, _ in feature_stores(root)]
    entries = [(read, *entry) for folder, read in readers for entry in _entries(folder).items()]
    for read, path, key in progress(entries, total=len(entries), label="verifying", unit="file"):
        try:
            read(key)
        except EntryError as error:
            yield path, error


def find_leftovers(
    root: Path, *, current: str, keys: set[str], features: bool = False
) -> dict[str, list[Path]]:
    """Files that neither these videos nor these settings refer to, by what they are.

    Args:
        current: digest of the settings to keep.
        keys: of the entries to keep.
        features: whether features that could be used again are left over too, of whatever weights.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    now = time.time()
    clips_of = {folder: folder.name for folder in _folders(root)}
    for store, settings in feature_stores(root):
        clips_of[store.folder] = settings.clips if settings else ""
    # Features of parts are small: they are kept as long as any of their video is.
    videos = {key[:HASH_DIGITS] for key in keys}
    if features and (programs := sorted((root / PROGRAMS).glob("*.pt2"))):
        found["exported programs without weights, made again when they are needed"] = programs
    for folder, clips in clips_of.items():
        is_clips = clips == folder.name
        entries = _entries(folder)
        temporary = [p for p in folder.iterdir() if re.fullmatch(TEMPORARY_NAME, p.name)]
        stale = [p for p in temporary if now - p.stat().st_mtime > STALE_SECONDS]
        if stale:
            found["half-written by a process that was killed"] += sorted(stale)
        # Without its settings a folder is not known again: they go last.
        settings_file = [folder / SETTINGS_NAME] if len(stale) == len(temporary) else []
        for path in [*settings_file, *entries]:
            is_entry = path in entries
            if clips != current:
                found["of other clip settings than params.yaml has"].append(path)
            elif is_entry and not (
                entries[path] in keys if is_clips else entries[path][:HASH_DIGITS] in videos
            ):
                found["of videos or parts that data/manifest.csv does not list"].append(path)
            elif features and not is_clips:
                found["features, computed again when they are needed"].append(path)
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
