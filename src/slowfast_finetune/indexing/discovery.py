"""Find the videos of a folder: one folder per class, or train/ val/ test/ of such folders.

A table of labels says what it names; all else has the class of its folder.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from slowfast_finetune.base.console import count, printable
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.manifest_table import NONE_OF_THESE, SPLITS, Split
from slowfast_finetune.indexing.folder_walk import FolderWalk
from slowfast_finetune.indexing.label_table import LABELS_FILE, LabelRow, LabelTable, composed
from slowfast_finetune.indexing.split_folders import check_below_classes, given_splits, split_meant

_LISTS_ARE_NOT_READ = (
    "not read: classes are folders, and train/, val/ and test/ of class folders keep a split; "
    f"or write a {LABELS_FILE}, or let `slowfast labels import` do so (docs/labels.md)"
)


@dataclass(frozen=True)
class FoundVideo:
    """A video, or a part of one, that has a class."""

    path: Path  # as found
    # Relative to the root and, like ``class_name``, in Unicode's composed form (NFC), so that macOS
    # and Linux give one split.
    name: str
    class_name: str
    given_split: Split | None
    start: float | None = None  # of a part [s]
    end: float | None = None  # of a part [s]
    given_group: str | None = None
    table_row: int | None = None  # the number of its row in the table of labels


@dataclass
class Discovery:
    """All videos of a folder in a fixed order, what was passed over, and what to warn of."""

    videos: list[FoundVideo]
    # Why files and folders were passed over, by their paths from the root.
    passed_over: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # why the folder is refused, if that is noted
    advice: str = ""  # goes after a complaint that there is only one class
    # The videos as they were before corrections of class folders by a table, and before decisions
    # at the label desk; empty if there are none.
    undecided: list[FoundVideo] = field(default_factory=list)
    # Rows of the table by which these decisions changed a label, by their numbers.
    changed: Collection[int] = ()
    num_dropped: int = 0  # test videos and parts of some that these decisions drop

    @property
    def class_names(self) -> list[str]:
        """The classes that have videos, sorted."""
        return sorted({video.class_name for video in self.videos})

    @property
    def ignored(self) -> Counter[str]:
        """How many files and folders were passed over, by reason."""
        return Counter(self.passed_over.values())

    @property
    def notes(self) -> list[str]:
        """What was passed over, with an example of each reason, and what to warn of."""
        example = {reason: name for name, reason in reversed(self.passed_over.items())}
        kinds = self.ignored.most_common()
        shown = ", ".join(
            f"{number} {kind}"
            + "s" * (number > 1 and kind in {"broken link", "special file"})
            + f" ({printable(example[kind])}{', …' if number > 1 else ''})"
            for kind, number in kinds[:12]
        )
        more = f", {len(kinds) - 12} other kinds" if len(kinds) > 12 else ""
        return [*([f"passed over: {shown}{more}"] if kinds else []), *self.warnings]


def in_order(videos: Iterable[FoundVideo]) -> list[FoundVideo]:
    """Sort videos and parts by class, path and start."""
    return sorted(videos, key=lambda video: (video.class_name, video.name, video.start or 0.0))


def find_videos(
    root: Path,
    *,
    extensions: Sequence[str],
    exclude: Sequence[str] = (),
    not_videos: Collection[Path] = (),
    labels: LabelTable | None = None,
    lenient: bool = False,
) -> Discovery:
    """List the videos of every class folder, sorted by class, path and start.

    A class is a folder directly in ``root``; videos may lie at any depth below it. If all folders
    in ``root`` are called train, val or test, they hold the class folders and fix the split.
    Symbolic links are followed. Hidden files and what systems leave on disks are passed over.

    Args:
        exclude: glob patterns; what matches by its name, or by its path from ``root``, is passed
            over, a folder with all that it holds.
        not_videos: folders to pass over, wherever they lie: the clip store, DVC's cache.
        labels: overrides the class and the split of what it names, which may lie anywhere in
            ``root``; there need be no class folder then.
        lenient: note faults that leave other videos, in place of raising the first.

    Raises:
        DataError: no such folder, unreadable folder, no class folder, an empty class, a name
            that is not UTF-8, folders that may be a split or classes, labels of no video.
    """
    if not root.is_dir():
        fault = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"data.videos: {root} {fault}; give the folder of class folders")
    walk = FolderWalk(root, extensions, exclude, not_videos, lenient=lenient)
    videos, spellings, below = _in_class_folders(root, walk, labels)
    undecided: list[FoundVideo] = []
    if labels is not None:
        videos, undecided = _labelled(labels, videos, walk)
    classes = {video.class_name for video in videos}
    if labels is None and (empty := sorted(spellings.keys() - classes)):
        walk.refuse(walk.nothing_in(root / "*" / empty[0]))
    spellings = {name: spellings.get(name, {name}) for name in sorted(classes)}
    for check in (
        partial(check_below_classes, root, below),
        partial(_unlike_spellings, videos, spellings),
    ):
        try:
            walk.warnings += check()
        except DataError as error:
            walk.refuse(str(error))
    walk.warnings += walk.unused_patterns()
    return Discovery(
        in_order(videos),
        {path.relative_to(root).as_posix(): why for path, why in walk.passed_over.items()},
        walk.warnings,
        [*walk.faults],
        advice=_advice(root, walk) if len(spellings) == 1 else "",
        undecided=in_order(undecided),
        changed=() if labels is None else labels.changed,
        num_dropped=0 if labels is None else labels.num_dropped,
    )


def _in_class_folders(
    root: Path, walk: FolderWalk, labels: LabelTable | None
) -> tuple[list[FoundVideo], dict[str, set[str]], dict[str, list[str]]]:
    """The videos of every class folder.

    Returns:
        The videos; how the folders of each class are spelt; and by class folder the names of the
        folders below it.

    Raises:
        DataError: an empty class.
    """
    videos: list[FoundVideo] = []
    spellings: dict[str, set[str]] = defaultdict(set)
    below: dict[str, list[str]] = {}
    named = {} if labels is None else labels.rows
    for given_split, folder in _class_folders(root, walk, has_labels=labels is not None):
        class_name = composed(folder.name)
        found = list(walk.videos_below(folder))
        if not found and given_split is None:
            if not walk.holds_own_folder(folder) and labels is None:
                walk.refuse(walk.nothing_in(folder) + _advice(root, walk))
            continue
        if class_name == NONE_OF_THESE:
            walk.refuse(
                f"data.videos: {folder} has the name that is given to videos of no class; rename it"
            )
            continue
        videos += [
            FoundVideo(path, path.relative_to(root).as_posix(), class_name, given_split)
            for path in found
        ]
        spellings[class_name].add(folder.name)
        below[folder.relative_to(root).as_posix()] = sorted(
            {
                part
                for path in found
                if composed(path.relative_to(root).as_posix()) not in named
                for part in path.relative_to(folder).parent.parts
            }
        )
    counts = Counter(composed(video.name) for video in videos)
    # Files whose composed names would be equal keep their own.
    videos = [
        replace(video, name=name) if counts[name := composed(video.name)] == 1 else video
        for video in videos
    ]
    return videos, spellings, below


def _class_folders(
    root: Path, walk: FolderWalk, *, has_labels: bool
) -> list[tuple[Split | None, Path]]:
    """The class folders of ``root``, each with the split that its parent folder fixes."""
    folders = walk.folders(root)
    walk.pass_over_files(root)
    if not folders and has_labels:
        return []
    if not folders:
        missing = f"data.videos: {root} holds no class folders; make one folder per class"
        raise DataError(next(iter(walk.faults), missing + _advice(root, walk)))
    inside = {
        folder.name: {path.name for path in walk.folders(folder)}
        if split_meant(folder.name)
        else set()
        for folder in folders
    }
    splits, warnings = given_splits(root, inside)
    walk.warnings += warnings
    lists = [name for name in walk.lists_in(root) if split_meant(name.partition(".")[0])]
    if lists:
        walk.warnings.append(f"WARNING: {', '.join(lists)}: {_LISTS_ARE_NOT_READ}")
    if not splits:
        return [(None, folder) for folder in folders]
    found: list[tuple[Split | None, Path]] = []
    for folder in folders:
        class_folders = walk.folders(folder)
        walk.pass_over_files(folder)
        if not class_folders and not has_labels:
            walk.warnings.append(
                f"WARNING: {folder} holds no class folders, so it fixes no {splits[folder.name]} "
                "split; videos without a class are passed over"
            )
        found += [(splits[folder.name], class_folder) for class_folder in class_folders]
    if "train" not in {split for split, _ in found} and not has_labels:
        raise DataError(f"data.videos: the train folder in {root} holds no class folders")
    return found


def _labelled(
    labels: LabelTable, videos: Sequence[FoundVideo], walk: FolderWalk
) -> tuple[list[FoundVideo], list[FoundVideo]]:
    """The videos as the table has them, and those that it does not name as they are.

    Then the same without the table's corrections of class folders and without its decisions; none
    if it has neither.
    """
    files = walk.every_video() | walk.videos_beside(labels.rows)
    gone = [name for name in labels.rows if name not in files]
    strangers = [name for name in gone if any(row.label for _, row in labels.rows[name])]
    if strangers:
        number = labels.rows[strangers[0]][0][0]
        walk.refuse(str(labels.error(number, walk.no_video(strangers, files))))
    rows = {name: rows for name, rows in labels.rows.items() if name in files}
    others = [video for video in videos if composed(video.name) not in rows]
    folder_splits = {composed(video.name): video.given_split for video in videos}
    found = _as_listed(rows, files, folder_splits)
    split_rows = [n for listed in rows.values() for n, row in listed if row.split and row.label]
    free = [video.name for video in others + found if video.given_split is None]
    if split_rows and free:
        raise labels.error(
            min(split_rows),
            f"gives a split, but there is none for {count(len(free), 'video')}, e.g. {free[0]!r}; "
            "give one to all of them or to none",
        )
    for name in rows:
        walk.passed_over.pop(files[name], None)
    left_out = sum(row.label is None for listed in rows.values() for _, row in listed)
    walk.warnings.append(
        f"{labels.path}: {count(len(found), 'label')} of {count(len(rows), 'video')}"
        + _what_it_names(found, others, left_out=left_out)
    )
    walk.warnings += _table_warnings(labels, gone)
    listed = labels.undecided or labels.rows
    before = {name: found for name, found in listed.items() if found and name in files}
    if not split_rows and _corrects(rows, videos):
        before = {name: found for name, found in before.items() if name not in folder_splits}
    elif not labels.undecided:
        return others + found, []
    group_of = {name: rows[name][0][1].group for name in rows}
    kept = [video for video in videos if composed(video.name) not in before]
    undecided = [replace(video, given_group=group_of.get(composed(video.name))) for video in kept]
    undecided += _as_listed(before, files, folder_splits)
    return others + found, undecided


def _corrects(
    rows: Mapping[str, Sequence[tuple[int, LabelRow]]], videos: Sequence[FoundVideo]
) -> bool:
    """Whether the rows correct class folders: whole videos in these get classes of these, or none.

    Else the folders may stand for something else, such as days, and the labels are in the table.
    """
    names = {composed(video.name) for video in videos}
    labels = [row for name in names & rows.keys() for _, row in rows[name]]
    classes = {None, *(video.class_name for video in videos)}
    return bool(labels) and all(row.is_whole and row.label in classes for row in labels)


def _as_listed(
    rows: Mapping[str, Sequence[tuple[int, LabelRow]]],
    files: Mapping[str, Path],
    folder_splits: Mapping[str, Split | None],
) -> list[FoundVideo]:
    """The videos and parts that rows of a table give a label.

    Args:
        folder_splits: of the videos in class folders, the splits that these folders fix.
    """
    return [
        FoundVideo(
            files[name],
            name,
            row.label,
            given_split=row.split or folder_splits.get(name),
            start=row.start,
            end=row.end,
            given_group=row.group,
            table_row=number,
        )
        for name, listed in rows.items()
        for number, row in listed
        if row.label is not None
    ]


def _what_it_names(
    found: Sequence[FoundVideo], others: Sequence[FoundVideo], *, left_out: int
) -> str:
    """What of a table's labels are parts, what it leaves out, and what it does not name."""
    parts = sum(video.start is not None for video in found)
    said = f", {parts} of them of parts" if parts else ""
    said += f"; left out: {count(left_out, 'row')} without a label" if left_out else ""
    if others:
        kept = Counter(video.class_name for video in others).most_common()
        shown = ", ".join(f"{number} {name!r}" for name, number in kept[:5])
        more = ", …" if len(kept) > 5 else ""
        unnamed = count(len(others), "video")
        said += f"; {unnamed} not named there with the folder's class: {shown}{more}"
    return said


def _table_warnings(labels: LabelTable, gone: Sequence[str]) -> list[str]:
    """What is passed over in a table; ``gone`` are videos that it leaves out and are not there."""
    warnings = []
    if gone:
        warnings.append(
            f"{labels.path}: leaves out {count(len(gone), 'video')} not there, e.g. {gone[0]!r}"
        )
    if labels.ignored:
        warnings.append(
            f"WARNING: {labels.path}: columns not read: {', '.join(map(repr, labels.ignored))}"
        )
    if labels.unfinished:
        warnings.append(
            f"WARNING: {labels.path}: row {labels.unfinished[0]} has fewer cells than the header "
            "and no line end, as if cut off; passed over: "
            + count(len(labels.unfinished), "such row")
        )
    return warnings


def _unlike_spellings(videos: Sequence[FoundVideo], spellings: dict[str, set[str]]) -> list[str]:
    """Warn of classes whose names hardly differ; refuse them if each is missing from a split."""
    warnings = [
        f"WARNING: {len(found)} folders are called {name!r}, in Unicode's composed and decomposed "
        "form (NFC and NFD); they are one class"
        for name, found in spellings.items()
        if len(found) > 1
    ]
    alike = grouped(
        sorted(spellings), key=lambda name: re.sub(r"[\s_-]+", " ", name.casefold()).strip()
    )
    for names in (names for names in alike.values() if len(names) > 1):
        shown = " and ".join(repr(name) for name in names)
        given = {
            name: {video.given_split for video in videos if video.class_name == name}
            for name in names
        }
        everywhere = set().union(*given.values())
        if everywhere != {None} and all(splits < everywhere for splits in given.values()):
            places = ", ".join(
                f"{name!r} in {' and '.join(split for split in SPLITS if split in given[name])}"
                for name in names
            )
            raise DataError(
                f"data.videos: {shown} are two classes, in different splits ({places}); "
                "give the folders of one class one name"
            )
        warnings.append(f"WARNING: the classes {shown} have almost the same name")
    return warnings


def _advice(root: Path, walk: FolderWalk) -> str:
    """What to do where ``root`` holds lists of videos, or a folder that holds the class folders."""
    folders = walk.folders(root)
    advice = ""
    for folder in folders:
        inside = walk.folders(folder)
        if len(inside) > 1 and any(True for path in inside for _ in walk.videos_below(path)):
            advice = f"; if the classes are the folders in {folder}, set data.videos to that"
    lists = [f"{folder.name}/{name}" for folder in folders for name in walk.lists_in(folder)]
    if lists := walk.lists_in(root) + lists:
        advice += f"; lists of videos such as {lists[0]} are {_LISTS_ARE_NOT_READ}"
    return advice
