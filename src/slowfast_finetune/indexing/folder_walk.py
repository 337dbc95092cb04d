"""List the folders of videos, and what is passed over in them and why."""

import difflib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.indexing.label_table import LABELS_FILE, composed

# What file servers and operating systems put beside a person's files, in lower case. Those of them
# that are hidden (.Trash-1000, .AppleDouble, .@__thumb) need no mention.
SYSTEM_NAMES = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin"),  # Synology
        *("@recycle", "@recently-snapshot", "@__thumb"),  # QNAP
        *("$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini"),  # Windows
        *("__macosx", "network trash folder", "temporary items", "icon\r"),  # macOS
        "lost+found",  # ext4
    }
)
GROUPS_FILE = "groups.csv"
_TABLES = {GROUPS_FILE, LABELS_FILE}  # beside the videos, and read
_LISTS = {".csv", ".txt", ".json", ".list"}


class FolderWalk:
    """Lists folders, and notes what it passes over and why."""

    def __init__(
        self,
        root: Path,
        extensions: Sequence[str],
        exclude: Sequence[str],
        not_videos: Collection[Path],
        *,
        lenient: bool = False,
    ) -> None:
        self.passed_over: dict[Path, str] = {}  # why
        self.faults: dict[str, None] = {}  # why the folder is refused, each once
        self._lenient = lenient
        self.warnings: list[str] = []  # of what was found, for the person
        self.extensions = extensions
        self._root = root
        self._exclude = {pattern: composed(pattern).rstrip("/") for pattern in exclude}
        self._used: set[str] = set()
        self._not_videos = {path.resolve() for path in not_videos}
        self._own_names = {path.name for path in self._not_videos}

    def refuse(self, fault: str) -> None:
        """Raise a fault of the folder, or note it if all of them are asked for."""
        if not self._lenient:
            raise DataError(fault)
        self.faults[fault] = None

    def folders(self, folder: Path) -> list[Path]:
        return [path for path in self.entries(folder) if path.is_dir()]

    def pass_over_files(self, folder: Path) -> None:
        """Note the files in a folder of folders; they belong to no class."""
        for path in self.entries(folder):
            if not path.is_dir() and path.name not in _TABLES:
                kind = "outside any class folder" if path.exists() else "broken link"
                self.passed_over[path] = kind

    def videos_below(self, folder: Path) -> Iterator[Path]:
        """All videos below a class folder, depth first."""
        for path in self.files_below(folder):
            if not path.is_file():
                # Opening a pipe would wait for ever.
                self.passed_over[path] = "special file" if path.exists() else "broken link"
            elif path.suffix.lower() not in self.extensions:
                self.passed_over[path] = path.suffix.lower() or "no extension"
            else:
                yield path

    def every_video(self) -> dict[str, Path]:
        """All videos below the root, by their composed paths from there."""
        return {
            composed(path.relative_to(self._root).as_posix()): path
            for path in self.files_below(self._root, frozenset())
            if self._is_video(path)
        }

    def videos_beside(self, names: Collection[str]) -> dict[str, Path]:
        """Those videos outside the root that are named by a path that starts with ``../``."""
        paths = {n: Path(os.path.normpath(self._root / n)) for n in names if n.startswith("../")}
        return {name: path for name, path in paths.items() if self._is_video(path)}

    def _is_video(self, path: Path) -> bool:
        return path.suffix.lower() in self.extensions and path.is_file()

    def nothing_in(self, folder: Path) -> str:
        """That a folder holds no videos, and what it does hold."""
        files = self.files_below(folder) if folder.is_dir() else ()
        found = Counter(path.suffix.lower() or "no extension" for path in files)
        held = ", ".join(f"{count} {suffix}" for suffix, count in found.most_common(4)) or "nothing"
        return (
            f"{folder} holds no videos; looked for {', '.join(self.extensions)} (data.extensions), "
            f"found {held}"
        )

    def no_video(self, names: Sequence[str], files: Collection[str]) -> str:
        """Why names that a table gives, relative to the root, are no videos."""
        name, more = names[0], f"; and {len(names) - 1} other videos" if len(names) > 1 else ""
        if Path(name).is_absolute():
            return f"{name!r} is an absolute path; write it relative to {self._root}{more}"
        if (self._root / name).exists():
            return f"{name!r} is passed over: see data.extensions and data.exclude{more}"
        last = name.rsplit("/", 1)[-1]
        near = [file for file in files if file.rsplit("/", 1)[-1] == last]
        near = near or difflib.get_close_matches(name, files, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; if it is gone, empty its label"
        return f"there is no video {name!r} in {self._root}{hint}{more}"

    def files_below(self, folder: Path, above: frozenset[Path] | None = None) -> Iterator[Path]:
        """All files below a folder, depth first. A link back to a folder above is not followed."""
        above = frozenset({self._root.resolve()}) if above is None else above
        real = folder.resolve()
        if real not in above:
            for path in self.entries(folder):
                if path.is_dir():
                    yield from self.files_below(path, above | {real})
                else:
                    yield path

    def lists_in(self, folder: Path) -> list[str]:
        """Files that may list videos."""
        names = [path.name for path in self.entries(folder) if path.suffix.lower() in _LISTS]
        return [name for name in names if name not in _TABLES]

    def holds_own_folder(self, folder: Path) -> bool:
        """Whether the clip store or DVC's cache lies below a folder."""
        return any(own.is_relative_to(folder.resolve()) for own in self._not_videos)

    def unused_patterns(self) -> list[str]:
        unused = [repr(pattern) for pattern in self._exclude if pattern not in self._used]
        return [f"WARNING: data.exclude: {', '.join(unused)} matches nothing"] if unused else []

    def entries(self, folder: Path) -> list[Path]:
        """The files and folders in a folder, sorted, but for those passed over by their names."""
        try:
            entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            self.refuse(f"{folder}: cannot be listed: {error.strerror}")
            return []
        reasons = {path: reason for path in entries if (reason := self._reason_to_pass_over(path))}
        self.passed_over |= reasons
        return [path for path in entries if path not in reasons]

    def _reason_to_pass_over(self, path: Path) -> str | None:
        try:
            path.name.encode("utf-8")
        except UnicodeEncodeError:
            shown = os.fsencode(path).decode("utf-8", "backslashreplace")
            self.refuse(f"{shown}: the name is not UTF-8; rename the file")
            return "name not UTF-8"
        if path.name.lower() in SYSTEM_NAMES:
            return path.name.strip()
        if self._exclude:
            names = composed(path.name), composed(path.relative_to(self._root).as_posix())
            for pattern, glob in self._exclude.items():
                if any(fnmatchcase(name, glob) for name in names):
                    self._used.add(pattern)
                    return "by data.exclude"
        if path.name in self._own_names and path.resolve() in self._not_videos:
            return "clip store or DVC cache"
        return None
