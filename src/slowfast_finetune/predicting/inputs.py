"""What a person asks to look at: files, folders and patterns as a list of files."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from slowfast_finetune.base.params import VIDEO_EXTENSIONS
from slowfast_finetune.predicting.prediction import RefusedVideo


def find_inputs(words: Sequence[str]) -> list[Path | RefusedVideo]:
    """Every file that ``words`` name, once, in their order; a refusal for what names none.

    A folder stands for the videos below it, sorted, hidden ones left out; a pattern, for what
    matches it (``**`` for folders of any depth).
    """
    found: dict[Path, Path | RefusedVideo] = {}
    for word in words:
        for item in _named_by(word):
            found.setdefault(item.path if isinstance(item, RefusedVideo) else item, item)
    return list(found.values())


def _named_by(word: str) -> Iterator[Path | RefusedVideo]:
    path = Path(word)
    if not word:
        # As a path it would be the folder where the command runs.
        yield RefusedVideo(path, "missing", "an empty name; give a file, a folder or a pattern")
        return
    # A file may be called "take[1].mp4"; what exists is no pattern.
    if os.path.lexists(path):
        yield from _at(path)
    elif "://" in word:
        detail = f"{word!r} is an address; save the video as a file first"
        yield RefusedVideo(path, "missing", detail)
    elif glob.has_magic(word):
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207
        if not matches:
            yield RefusedVideo(path, "missing", "no file matches this pattern")
        for match in matches:
            yield from _at(Path(match))
    else:
        yield RefusedVideo(path, "missing", "no such file or folder")


def _at(path: Path) -> Iterator[Path | RefusedVideo]:
    if path.is_dir():
        below = list(_below(path, above=frozenset()))
        yield from below
        if not below:
            yield RefusedVideo(path, "missing", "the folder holds no videos")
    elif path.is_file():
        yield path
    elif path.is_symlink():
        yield RefusedVideo(path, "missing", "a link to a file that is not there")
    else:
        # Opening a pipe would wait for ever.
        yield RefusedVideo(path, "not_a_video", "neither a file nor a folder")


def _below(folder: Path, *, above: frozenset[Path]) -> Iterator[Path | RefusedVideo]:
    """The videos of a folder at any depth. A link back to a folder above is not followed."""
    real = folder.resolve()
    if real in above:
        return
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        yield RefusedVideo(folder, "unreadable", f"the folder cannot be listed: {error.strerror}")
        return
    for path in entries:
        if path.is_dir():
            yield from _below(path, above=above | {real})
        elif path.suffix.lower() in VIDEO_EXTENSIONS:
            yield from _at(path)
