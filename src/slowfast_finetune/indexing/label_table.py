"""labels.csv: the labels of videos and of parts of videos, in place of class folders."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import read_errors
from slowfast_finetune.base.manifest_table import NONE_OF_THESE, SPLITS, Split
from slowfast_finetune.base.tables import Table
from slowfast_finetune.indexing.split_folders import SPLIT_FOLDERS

LABELS_FILE = "labels.csv"
TIME_DIGITS = 3  # times are rounded to milliseconds
TEST_WORD = "test"  # in the reason of a decision: the case was in the test split
# Excel's own first line, which it does not show.
_SEPARATOR = re.compile(r'"?sep=([,;\t])"?[ \t]*\n', re.IGNORECASE)
_SECONDS = re.compile(r"\d+(\.\d+)?")
_CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")
_TIMES_ARE = "expected seconds (192.5) or h:mm:ss (0:03:12.5)"


class Span(NamedTuple):
    """A video, by its path from the videos folder, or a part of one [s]."""

    video: str
    start: float | None = None
    end: float | None = None

    def overlaps(self, other: Span) -> bool:
        """Whether both have a moment in common."""
        return (
            self.video == other.video
            and (self.start or 0.0) < (math.inf if other.end is None else other.end)
            and (other.start or 0.0) < (math.inf if self.end is None else self.end)
        )


class LabelRow(NamedTuple):
    """The label of a video or of a part of one."""

    video: Annotated[str, "path of the video, from the videos folder"]
    label: Annotated[str | None, "its class; none: the video or the part is left out"]
    start: Annotated[float | None, "where the part begins; none: where the video does", "seconds"]
    end: Annotated[float | None, "where the part ends; none: where the video does", "seconds"]
    split: Annotated[Split | None, "the split that the video belongs to; none: it is dealt to one"]
    group: Annotated[str | None, "videos of one group stay in one split"]

    @property
    def is_whole(self) -> bool:
        """Whether the row is about all of the video."""
        return self.start is None and self.end is None

    @property
    def span(self) -> Span:
        """What it is about."""
        return Span(self.video, self.start, self.end)


LABELS = Table("labels.csv", LabelRow, version=1)
_REQUIRED = ("video", "label")
# What `slowfast label` adds. A row with a value in the first replaces the earlier rows on its video
# that it overlaps in time; one without, which corrects by hand, those of them that have a value.
DECISION_COLUMNS = ("decided_at", "decided_by", "before", "reason")
CUT_OFF = "(cut off)"  # the last cell of a row that a crash cut off, since the row after it


class ListedRow(NamedTuple):
    """A row as it stands in the table."""

    number: int  # the header is row 1, as in a spreadsheet
    row: LabelRow
    decided_at: str  # empty if it is no decision; and so on, see DECISION_COLUMNS
    decided_by: str
    before: str
    reason: str
    replaced: tuple[LabelRow, ...] = ()  # the rows that stood until then and that it replaces


@dataclass(frozen=True)
class LabelTable:
    """The rows of a labels.csv that contradict each other in nothing."""

    path: Path
    ignored: list[str] = field(default_factory=list)  # names of columns that are not read
    listed: list[ListedRow] = field(default_factory=list)  # all of them, in the order of the file
    # Of each video, by its path from the videos folder in Unicode's composed form, those that no
    # later one replaces, with their numbers; sorted by start.
    rows: dict[str, list[tuple[int, LabelRow]]] = field(default_factory=dict)
    # Numbers of rows that a crash cut off; they are passed over.
    unfinished: list[int] = field(default_factory=list)
    # Why the case was shown, by number of each row by which a decision, or a correction of one by
    # hand, changed a label.
    changed: dict[int, str] = field(default_factory=dict)
    # ``rows`` as they would be without decisions and such corrections; a video that then has no
    # rows keeps its place. Empty if there is no decision.
    undecided: dict[str, list[tuple[int, LabelRow]]] = field(default_factory=dict)

    @property
    def num_dropped(self) -> int:
        """How many test videos, or parts of some, decisions leave out."""
        return sum(
            row.label is None and TEST_WORD in self.changed.get(number, "").split(", ")
            for rows in self.rows.values()
            for number, row in rows
        )

    def error(self, number: int, what: str) -> DataError:
        """An error about one row."""
        return DataError(f"{self.path}: row {number}: {what}")


def read_labels(path: Path) -> LabelTable:
    """Read labels.csv as people and spreadsheets write it.

    UTF-8 with or without a byte order mark; separated by commas, semicolons (numbers may then have
    a decimal comma, as where Excel writes semicolons) or tabs; empty rows are passed over.

    Raises:
        DataError: it cannot be read, a cell is not what its column holds, or rows contradict each
            other.
    """
    found = read_cells(path)
    known = (*LabelRow._fields, *DECISION_COLUMNS)
    table = LabelTable(path, [name for name in found.header if name not in known])
    _replay(_listed_rows(found, table), table)
    _check_times(table)
    for rows in table.rows.values():
        _check_agreement(table, rows)
    if not table.rows and DECISION_COLUMNS[0] not in found.header:
        raise DataError(f"{path}: lists no videos")
    return table


def _listed_rows(found: Cells, table: LabelTable) -> list[ListedRow]:
    """The rows in the order of the file; those that a crash cut off are noted in the table."""
    header = found.header
    listed: list[ListedRow] = []
    for number, raw in enumerate(found.lines, 2):
        line = [cell.strip() for cell in raw]
        if not any(line):
            continue
        if line[-1] == CUT_OFF:
            table.unfinished.append(number)
            continue
        cells = dict(zip(header, line, strict=False))
        try:
            row = label_row(cells, decimal_comma=found.separator == ";")
            if any(line[len(header) :]):
                raise ValueError(f"{len(line)} cells, but the header has {len(header)}")
        except ValueError as error:
            raise table.error(number, str(error)) from error
        at, by, before, reason = (cells.get(name, "") for name in DECISION_COLUMNS)
        listed.append(ListedRow(number, row, at, by, composed(before), reason))
    return listed


def _replay(listed: Sequence[ListedRow], table: LabelTable) -> None:
    """Fill a table from its rows: each replaces the earlier ones that it overlaps.

    Two rows that are no decisions do not replace each other.
    """
    standing: dict[str, list[ListedRow]] = defaultdict(list)
    undecided: dict[str, list[ListedRow]] = {each.row.video: [] for each in listed}
    decisions: dict[str, list[ListedRow]] = defaultdict(list)
    for each in listed:
        video, span = each.row.video, each.row.span
        replaced = [
            other
            for other in standing[video]
            if (each.decided_at or other.decided_at) and other.row.span.overlaps(span)
        ]
        standing[video] = [*(old for old in standing[video] if old not in replaced), each]
        table.listed.append(each._replace(replaced=tuple(other.row for other in replaced)))
        if each.decided_at:
            decisions[video].append(each)
        made = [decision for decision in decisions[video] if decision.row.span.overlaps(span)]
        if not made:
            undecided[video].append(each)
        # What it was called before the first decision, or by it if it had no label.
        called = next((decision.before for decision in made if decision.before), each.row.label)
        if called != each.row.label:
            table.changed[each.number] = each.reason or made[-1].reason
    table.rows.update(_by_start(standing))
    if any(decisions.values()):
        table.undecided.update(_by_start(undecided))


def _by_start(rows: Mapping[str, list[ListedRow]]) -> dict[str, list[tuple[int, LabelRow]]]:
    """Rows by video, sorted, each video's by their starts."""
    return {
        video: sorted(
            ((each.number, each.row) for each in found),
            key=lambda numbered: (numbered[1].start or 0.0, numbered[0]),
        )
        for video, found in sorted(rows.items())
    }


@dataclass(frozen=True)
class Cells:
    """A table of labels as text."""

    header: list[str]  # names of the columns, lower-case
    header_lines: int  # of the file, with Excel's own first line
    lines: list[list[str]]  # the cells of the other rows, empty rows included
    separator: str  # of the cells
    line_end: str  # what ends a line
    missing_end: str  # what has to follow for its last line to be a whole one; empty if it is


def read_cells(
    path: Path,
    *,
    required: Sequence[str] = _REQUIRED,
    optional: Sequence[str] = LabelRow._fields[2:],
) -> Cells:
    """Read a table of labels, or one like it, without a look at its rows.

    Args:
        required, optional: names of columns.

    Raises:
        DataError: it is no table, or lacks a column that must be there.
    """
    if not path.is_file():
        fault = "is not a file" if path.exists() else "does not exist (data.labels)"
        raise DataError(f"{path}: {fault}")
    found: list[list[str]] = []
    try:
        with read_errors(path), path.open(encoding="utf-8-sig") as file:
            text = file.read()
            line_end = "\r\n" if "\r\n" in (file.newlines or "") else "\n"
        stated = _SEPARATOR.match(text)
        text = text[stated.end() :] if stated else text
        first = text.partition("\n")[0]
        separator = stated[1] if stated else max(",;\t", key=first.count)
        # A crash may have cut off the last row of a table of decisions, even within quotes.
        last = text.rpartition("\n")[2]
        is_open = last.count('"') % 2 and DECISION_COLUMNS[0] in first.lower()
        missing_end = '"' if is_open else ""
        # Not splitlines, which ends a line at a form feed or U+2028 too.
        reader = csv.reader(
            io.StringIO(text + missing_end, newline=""), delimiter=separator, strict=True
        )
        found.append(next(reader, []))
        header_lines = reader.line_num + bool(stated)
        found.extend(reader)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8; in Excel, save it as 'CSV UTF-8'") from error
    except csv.Error as error:  # in the row after those that were found
        raise DataError(f"{path}: row {len(found) + 1}: {error}; is a quote missing?") from error
    header = [cell.strip().lower() for cell in found[0]]
    if not set(required) <= set(header):
        raise DataError(
            f"{path}: found columns {', '.join(filter(None, header)) or 'none'}; expected "
            + " and ".join(required)
            + (f", and if wanted {', '.join(optional)}" if optional else "")
        )
    for number, row in enumerate(found, 1):
        for name, cell in zip(header, row, strict=False):
            if name in required and separator in cell.partition("\n")[2]:
                raise DataError(
                    f"{path}: row {number}: the cell {cell!r} holds a line break and then "
                    f"{separator!r}; is a quote missing?"
                )
    known = (*required, *optional, *DECISION_COLUMNS)
    if twice := [name for name in known if header.count(name) > 1]:
        raise DataError(f"{path}: column {twice[0]} is there twice")
    if last and DECISION_COLUMNS[0] in header and len(found[-1]) < len(header):
        found[-1].append(CUT_OFF)
        missing_end += separator + CUT_OFF
    missing_end += line_end if last else ""
    return Cells(header, header_lines, found[1:], separator, line_end, missing_end)


def label_row(cells: dict[str, str], *, decimal_comma: bool) -> LabelRow:
    """Check the stripped cells of a row, by their columns.

    Raises:
        ValueError: saying what is wrong.
    """
    if not cells.get("video"):
        raise ValueError("names no video")
    if "label" not in cells:
        raise ValueError("ends before its label; to leave the video out, end it with a separator")
    label = composed(cells["label"]) or None
    if label == NONE_OF_THESE:
        raise ValueError(f"{label!r} is the answer for videos of no class; use another label")
    split = cells.get("split", "").lower()
    if split and split not in SPLIT_FOLDERS:
        raise ValueError(f"split: found {split!r}, expected {', '.join(SPLITS)} or nothing")
    start, end = (_time(cells.get(name, ""), name, decimal_comma) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"ends at {end:g} s, not after its start at {start or 0:g} s")
    start = start or (None if end is None else 0.0)  # from the start to the end: all of it
    return LabelRow(
        video=composed(cells["video"]).replace("\\", "/").removeprefix("./"),
        label=label,
        start=start,
        end=end,
        split=SPLIT_FOLDERS.get(split),
        group=composed(cells.get("group", "")) or None,
    )


def _time(cell: str, name: str, decimal_comma: bool) -> float | None:
    """A time in seconds, rounded to milliseconds; None for an empty cell."""
    if not cell:
        return None
    text = cell.replace(",", ".") if decimal_comma else cell
    if re.fullmatch(r"\d+:[0-5]?\d(\.\d+)?", text):
        raise ValueError(f"{name}: {cell!r} may be hours or minutes; {_TIMES_ARE}")
    if clock := _CLOCK.fullmatch(text):
        value = clock_seconds(clock)
    else:
        value = float(text) if _SECONDS.fullmatch(text) else math.inf
    if not math.isfinite(value):
        raise ValueError(f"{name}: found {cell!r}, {_TIMES_ARE}")
    return round(value, TIME_DIGITS)


def clock_seconds(clock: re.Match[str]) -> float:
    """The seconds of a match whose groups are hours, minutes and seconds."""
    hours, minutes, seconds = map(float, clock.groups())
    return hours * 3600 + minutes * 60 + seconds


def _check_times(table: LabelTable) -> None:
    """Refuse times that Excel has written as parts of a day; the label desk writes seconds."""
    decided = {each.number for each in table.listed if each.decided_at}
    times = [
        (number, time)
        for rows in table.rows.values()
        for number, row in rows
        for time in (row.start, row.end)
        if time and number not in decided
    ]
    if times and all(time < 1 for _, time in times):
        raise table.error(
            min(times)[0],
            f"no time in this table reaches 1 s; Excel keeps times as parts of a day: {_TIMES_ARE}",
        )


def _check_agreement(table: LabelTable, rows: Sequence[tuple[int, LabelRow]]) -> None:
    """Refuse rows about one video, sorted by start, that repeat or contradict each other."""
    for (first, one), (second, other) in itertools.pairwise(rows):
        number, before = max(first, second), min(first, second)
        if (one.start, one.end) == (other.start, other.end):
            same = "repeats" if one.label == other.label else "has another label than"
            raise table.error(number, f"{same} row {before}, on the same video and times")
        if one.end is None or (other.start or 0.0) < one.end:
            raise table.error(
                number, f"overlaps row {before}; parts of one video must not, for now"
            )
    number, first_row = min(rows)
    for later, row in sorted(rows)[1:]:
        for column in ("split", "group"):
            was, now = getattr(first_row, column), getattr(row, column)
            if was != now:
                raise table.error(
                    later,
                    f"{column}: found {now or 'nothing'}, but row {number} has {was or 'nothing'}; "
                    "all parts of a video belong to one",
                )


def composed(text: str) -> str:
    """Unicode's composed form (NFC); macOS writes é as e and an accent (NFD)."""
    return unicodedata.normalize("NFC", text)
