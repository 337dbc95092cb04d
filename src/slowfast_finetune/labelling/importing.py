"""Turn files of labels of other programs into the rows of a labels.csv."""

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.manifest_table import NONE_OF_THESE, SPLITS
from slowfast_finetune.indexing.label_table import TIME_DIGITS, LabelRow, composed
from slowfast_finetune.labelling import annotation_tools as tools
from slowfast_finetune.labelling import data_set_lists as lists
from slowfast_finetune.labelling.activitynet import activitynet_json
from slowfast_finetune.labelling.label_studio import label_studio_json
from slowfast_finetune.labelling.matching import Matches, VideoNames
from slowfast_finetune.labelling.source_file import LabelFormat, ListedLabel, Reading, SourceFile

# The paths last: lines of other formats may look like a path and a class.
FORMATS = (
    *(lists.labels_csv, lists.kinetics, activitynet_json, lists.ucf101, lists.hmdb51),
    *(label_studio_json, tools.boris, tools.elan, tools.elan_text, tools.via, lists.paths),
)
# A line of one of these may be a line of another, whose class is another.
LISTS = ("ucf101", "hmdb51", "paths")


def import_labels(
    paths: Sequence[Path],
    *,
    videos: Collection[str],
    extensions: Sequence[str],
    format_name: str | None = None,
    track: str | None = None,
    fps: float | None = None,
    classes: Path | None = None,
) -> tuple[list[LabelRow], list[str]]:
    """Read files and find the videos that they name.

    Returns:
        The rows of a labels.csv, sorted by video and start, and what to say about them.

    Args:
        paths: the files; one such as classInd.txt among them has the names of the classes.
        videos: paths from the videos folder.
        extensions: of videos, in lower case with their dots.
        format_name: one of FORMATS; none: by the content.
        track: takes the labels of this tier, subject, attribute or control alone.
        fps: frames a second, for files that count frames.
        classes: the file with the names of the classes by number.

    Raises:
        DataError: a file cannot be read, its labels contradict each other, or there is no video of
            any label.
    """
    reading = Reading(extensions, fps)
    files = [SourceFile.load(path, reading) for path in paths]
    names = [SourceFile.load(classes, reading)] if classes else []
    if not format_name:
        names += [file for file in files if lists.is_class_list(file)]
        files = [file for file in files if file not in names]
    if not files or len(names) > 1:
        raise DataError(f"{paths[0]}: expected files of labels, and at most one of class names")
    reading.class_names = lists.read_class_names(names[0]) if names else None
    pairs = [(file, format_of(file, format_name)) for file in files]
    alike = {known.name: (file, known) for file, known in pairs if known.name in LISTS}
    if len(alike) > 1:
        shown = ", ".join(f"{file.path} is {known.title}" for file, known in alike.values())
        raise DataError(f"{shown}: their classes may differ; read all as one, e.g. --format paths")
    notes = [f"{file.path}: {known.title}" for file, known in pairs]
    listed = [label for file, known in pairs for label in _listed(file, known)]
    if track is not None:
        tracks = sorted({label.track for label in listed if label.track})
        if track not in tracks:
            raise DataError(f"--track: found {track!r}, expected {', '.join(tracks) or 'none'}")
        listed = [label for label in listed if label.track == track]
    rows, (summary, *more) = _rows(listed, VideoNames(videos, extensions))
    notes += [*reading.remarks, summary]
    notes += [f"left out: {n} {what}" for what, n in reading.passed_over.items() if n]
    if unnamed := len(set(videos) - {row.video for row in rows}):
        more.append(f"{unnamed} videos of the folder are not named")
    return rows, notes + more


def _listed(file: SourceFile, known: LabelFormat) -> Iterator[ListedLabel]:
    where = "the start"
    try:
        for label in known.read(file):
            where = label.where
            yield label._replace(where=f"{file.path}: {where}")
    except (AttributeError, KeyError, TypeError) as error:
        # Readers check what people get wrong; that every list is a list is left to Python.
        said = f"{type(error).__name__}: {error}"
        raise file.error(f"after {where}", f"is not {known.title} any more ({said})") from error


def _rows(listed: Sequence[ListedLabel], videos: VideoNames) -> tuple[list[LabelRow], list[str]]:
    """The rows of the labels whose videos are there, and what to say."""
    # A file that is cut already is all of what the label is about.
    listed = [
        label._replace(video=label.trimmed, start=None, end=None)
        if label.trimmed and videos.has(label.trimmed)
        else label
        for label in listed
    ]
    matches = videos.match({label.video: label.also for label in listed})
    pairs = [
        (label, _row(label, video)) for label in listed if (video := matches.found.get(label.video))
    ]
    if not pairs:
        example = f", e.g. {listed[0].video!r}" if listed else ""
        raise DataError(f"none of the {len(listed)} labels is of a video in the folder{example}")
    _check_splits(pairs)
    rows = []
    for _, labels in sorted(grouped(pairs, key=lambda pair: pair[1].video).items()):
        labels.sort(key=lambda pair: (pair[1].start or 0.0, pair[1].end or 0.0))
        kept = [next(same) for _, same in itertools.groupby(labels, key=lambda pair: pair[1])]
        _check_parts(kept)
        rows += [row for _, row in kept]
    repeated = len(pairs) - len(rows)
    notes = [_summary(rows)]
    notes += [f"left out: {repeated} repeated labels"] if repeated else []
    return rows, notes + _about(matches)


def _row(label: ListedLabel, video: str) -> LabelRow:
    name = label.label if label.label is None else composed(label.label).strip()
    if name in ("", NONE_OF_THESE):
        raise DataError(f"{label.where}: found the label {name!r}, expected the name of a class")
    start = round(label.start or 0.0, TIME_DIGITS)
    if label.end is None:
        return LabelRow(video, name, start or None, None, label.split, label.group)
    end = round(label.end, TIME_DIGITS)
    if end <= start:
        raise DataError(f"{label.where}: ends at {end:g} s, not after its start at {start:g} s")
    return LabelRow(video, name, start, end, label.split, label.group)


def _check_parts(pairs: Sequence[tuple[ListedLabel, LabelRow]]) -> None:
    """Refuse parts of one video, sorted by start, that overlap, as labels.csv does."""
    for (one, before), (other, row) in itertools.pairwise(pairs):
        if before.end is None or (row.start or 0.0) < before.end:
            tracks = sorted({label.track for label, _ in pairs if label.track})
            choose = f"; choose one of {', '.join(tracks)} with --track" if len(tracks) > 1 else ""
            raise DataError(
                f"{other.where}: {row.label!r} overlaps {before.label!r} ({one.where}); parts of "
                f"one video must not, for now{choose}"
            )


def _check_splits(pairs: Sequence[tuple[ListedLabel, LabelRow]]) -> None:
    """Refuse a video in two splits, and splits for some videos alone."""
    first: dict[str, ListedLabel] = {}
    for label, row in pairs:
        known = first.setdefault(row.video, label)
        if row.label is not None and known.split != label.split:
            raise DataError(
                f"{label.where}: {row.video!r} is in split {label.split or 'none'}, but in "
                f"{known.split or 'none'} by {known.where}"
            )
    without = [label for label, row in pairs if row.split is None and row.label is not None]
    if without and len(without) < sum(row.label is not None for _, row in pairs):
        raise DataError(
            f"{without[0].where}: has no split, but labels of other files or lines have; give one "
            "to all or to none"
        )


def _summary(rows: Sequence[LabelRow]) -> str:
    parts = sum(not row.is_whole for row in rows)
    splits = Counter(row.split for row in rows)
    text = f"{count(len(rows), 'label')} of {count(len({row.video for row in rows}), 'video')}"
    text += f", {parts} of them of parts" if parts else ""
    shown = ", ".join(f"{splits[split]} {split}" for split in SPLITS if splits[split])
    return text + (f"; {shown}" if shown else "")


def _about(matches: Matches) -> list[str]:
    """What to say about names that do not plainly mean one video."""
    notes = []
    if matches.elsewhere:
        name = matches.elsewhere[0]
        notes.append(
            f"{count(len(matches.elsewhere), 'video')} in another folder or with another extension "
            f"than listed, e.g. {name!r} is {matches.found[name]!r}"
        )
    if matches.missing:
        shown = ", ".join(map(repr, matches.missing[:3]))
        notes.append(
            f"WARNING: left out: {count(len(matches.missing), 'video')} not there, e.g. {shown}"
        )
    if matches.ambiguous:
        name, candidates = next(iter(matches.ambiguous.items()))
        notes.append(
            f"WARNING: left out: {count(len(matches.ambiguous), 'name')} that may mean several "
            f"videos or share one, e.g. {name!r}: {', '.join(map(repr, candidates[:3]))}"
        )
    return notes


def format_of(file: SourceFile, name: str | None = None) -> LabelFormat:
    """The format of a file, by its content or as its name says.

    Raises:
        DataError: it is none of these.
    """
    for known in FORMATS:
        if known.name == name if name else known.recognise(file):
            return known
    found = f"--format {name}" if name else repr(file.lines[0][1][:60] if file.lines else "")
    raise DataError(
        f"{file.path}: no known format: found {found}, expected one of "
        f"{', '.join(known.name for known in FORMATS)} (docs/labels.md); --format NAME chooses "
        "one, and a table of your own needs the columns video and label"
    )
