"""Decisions about labels: rows that are appended to the table of labels."""

import csv
import getpass
import io
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path

from filelock import FileLock

from slowfast_finetune.base.errors import DataError, InputError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.hash_memo import Fingerprint, fingerprint
from slowfast_finetune.base.manifest_table import NONE_OF_THESE
from slowfast_finetune.indexing import label_table
from slowfast_finetune.indexing.label_table import Span

# Words that the column `reason` may hold after the reason a case was shown for.
TEST, BLIND, SPLIT, UNDO = label_table.TEST_WORD, "blind", "split", "undo"
_ADDED_COLUMNS = ("start", "end", *label_table.DECISION_COLUMNS)


@dataclass(frozen=True)
class Decision:
    """What was decided about a case at one moment: one row, or one for each part."""

    # What it is about, with labels; None: it is left out.
    parts: tuple[tuple[Span, str | None], ...]
    before: str | None  # the label until then; None: it had none
    words: tuple[str, ...]  # the reason that the case was shown for, and what else is to be known
    decided_at: str  # UTC, ISO 8601; empty for a row that was written without the desk
    decided_by: str
    number: int  # of its first row; the header is row 1
    replaced: tuple[tuple[Span, str | None], ...] = ()  # the rows that stood before and overlap it

    @property
    def span(self) -> Span:
        """All parts together."""
        video, start, _ = self.parts[0][0]
        end = self.parts[-1][0].end
        return Span(video, None if end is None and not start else start, end)

    @property
    def labels(self) -> tuple[str | None, ...]:
        return tuple(label for _, label in self.parts)

    @property
    def key(self) -> str:
        """Names it among all rows of a table."""
        return f"{self.number} {self.decided_at} {self.span.video}"

    def overlaps(self, span: Span) -> bool:
        """Whether it is about some moment of a span."""
        return any(part.overlaps(span) for part, _ in self.parts)

    @property
    def is_undo(self) -> bool:
        return UNDO in self.words


class DecisionTable:
    """A table of labels to which decisions are appended; several processes may do so at once.

    Args:
        path: the table; it is made by the first decision.

    Raises:
        DataError: the table that is there is not valid, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: Fingerprint | None = None
        self._table = label_table.LabelTable(path)
        self._entries: list[Decision] = []
        self._by_video: dict[str, list[Decision]] = {}
        self._read()
        for place in (path, path.parent):
            if place.exists() and not os.access(place, os.W_OK):
                raise DataError(f"{place}: cannot be written")

    def _read(self) -> None:
        """Read the table, unless it is as it was; other processes may have written."""
        try:
            stamp = fingerprint(self.path)
        except FileNotFoundError:
            stamp = None
        if stamp == self._read_at:
            return
        self._table = (
            label_table.read_labels(self.path) if stamp else label_table.LabelTable(self.path)
        )
        self._entries = _decisions(self._table.listed)
        self._by_video = grouped(self._entries, key=lambda entry: entry.span.video)
        self._read_at = stamp

    @property
    def decisions(self) -> list[Decision]:
        """Every decision so far, the first one first."""
        self._read()
        return [entry for entry in self._entries if entry.decided_at]

    @property
    def standing(self) -> list[Decision]:
        """The decisions that have not been undone, the first one first."""
        found: list[Decision] = []
        for decision in self.decisions:
            if not decision.is_undo:
                found.append(decision)
                continue
            spans = [span for span, _ in decision.parts]
            if undone := [other for other in found if any(map(other.overlaps, spans))]:
                found.remove(undone[-1])
        return found

    def latest(self, span: Span) -> Decision | None:
        """The last row about something of this span; None if there is none."""
        self._read()
        found = reversed(self._by_video.get(span.video, []))
        return next((entry for entry in found if entry.overlaps(span)), None)

    def decide(
        self,
        parts: Sequence[tuple[Span, str | None]],
        *,
        before: str | None,
        words: Sequence[str],
        split: str | None = None,
        about: Span | None = None,
        expected: Decision | None,
    ) -> Decision:
        """Append the labels of a case, or of parts of it; returns when they are on disk.

        Args:
            before: its label until now.
            split: for the row of a video that the table does not name yet, if the table fixes the
                split of videos.
            about: the case, if the parts do not make up all of it.
            expected: the latest row about the case that the person knew of.

        Raises:
            InputError: a label is not allowed, or the table was changed in between.
            OSError: the disk is full; the table is as it was.
        """
        about = about or parts[0][0]._replace(end=parts[-1][0].end)
        labels = tuple(None if label is None else checked_label(label) for _, label in parts)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            if self.latest(about) != expected:
                raise InputError("decided in another window or by another program meanwhile")
            cells = self._prepared()
            now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            by = decider()
            rows = []
            for (span, _), label in zip(parts, labels, strict=True):
                row = self._shared_cells(span.video, split)
                row |= {
                    "video": span.video,
                    "label": label or "",
                    "start": _time_cell(span.start, cells.separator),
                    "end": _time_cell(span.end, cells.separator),
                    "decided_at": now,
                    "decided_by": by,
                    "before": before or "",
                    "reason": ", ".join(words),
                }
                rows.append([row.get(name, "") for name in cells.header])
            self._append(cells, rows)
            return self.decisions[-1]

    def undo(self, decision: Decision) -> Decision:
        """Append the rows that a decision replaced, or the label that the case had.

        Raises:
            InputError: it has been undone, or a later decision, or a row written by hand since,
                overlaps it.
        """
        found, latest = self.standing, self.latest(decision.span)
        video = decision.span.video
        if decision not in found:
            raise InputError(f"{video}: that decision has been undone already")
        for other in found[found.index(decision) + 1 :]:
            if other.overlaps(decision.span):
                label = " and ".join(each or "dropped" for each in other.labels)
                raise InputError(
                    f"{video}: decided anew since, by {other.decided_by}: {label}; undo that first"
                )
        if latest is not None and not latest.decided_at:
            raise InputError(f"{self.path}: row {latest.number} was written by hand since")
        return self.decide(
            sorted(decision.replaced, key=lambda part: part[0].start or 0.0)
            or [(decision.span, decision.before)],
            before=decision.labels[0] if len(set(decision.labels)) == 1 else None,
            words=(decision.words[0], UNDO),
            about=decision.span,
            expected=latest,
        )

    def _prepared(self) -> label_table.Cells:
        """The table, with the columns of decisions; called under the lock."""
        if not self.path.exists():
            write_text(self.path, ",".join(("video", "label", *_ADDED_COLUMNS)) + "\n")
        cells = label_table.read_cells(self.path)
        missing = [name for name in _ADDED_COLUMNS if name not in cells.header]
        if not missing:
            return cells
        lines = io.StringIO(self.path.read_bytes().decode() + cells.missing_end, newline="")
        text = [next(lines) for _ in range(cells.header_lines)]
        text[-1] = cells.separator.join((text[-1].rstrip("\r\n"), *missing)) + cells.line_end
        write_text(self.path, "".join((*text, *lines)))
        return label_table.read_cells(self.path)

    def _shared_cells(self, video: str, split: str | None) -> dict[str, str]:
        """The split and the group that the table has for a video."""
        rows = [each.row for each in self._table.listed]
        of_video = [row for row in rows if row.video == video]
        if of_video:
            return {"split": of_video[-1].split or "", "group": of_video[-1].group or ""}
        return {"split": split} if split and any(row.split for row in rows) else {}

    def _append(self, cells: label_table.Cells, rows: Iterable[Sequence[str]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=cells.separator, lineterminator=cells.line_end).writerows(rows)
        data = (cells.missing_end + text.getvalue()).encode()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            size = os.fstat(handle).st_size
            try:
                if os.write(handle, data) < len(data):
                    raise OSError(f"{self.path}: not all of a row could be written")
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)


def checked_label(label: str) -> str:
    """A label as the table holds it.

    Raises:
        InputError: it cannot be the name of a class.
    """
    name = label_table.composed(label).strip()
    if not name or not name.isprintable():
        raise InputError(f"a label is some text on one line, found {label!r}")
    if name == NONE_OF_THESE:
        raise InputError(f"{name!r} is the answer for videos of no class; use another label")
    return name


@cache
def decider() -> str:
    """Who decides: git's user.name, else the login."""
    try:
        found = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:
        found = ""
    try:
        return found or getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


def _decisions(listed: Iterable[label_table.ListedRow]) -> list[Decision]:
    """The rows of a table; consecutive decisions of one moment and video are one."""
    found = []
    for _, rows in groupby(listed, lambda each: (each.decided_at or each.number, each.row.video)):
        first, *others = rows
        replaced = [row for each in (first, *others) for row in each.replaced]
        found.append(
            Decision(
                tuple((each.row.span, each.row.label) for each in (first, *others)),
                first.before or None,
                tuple(word.strip() for word in first.reason.split(",")),
                first.decided_at,
                first.decided_by,
                first.number,
                tuple((row.span, row.label) for row in replaced),
            )
        )
    return found


def _time_cell(time: float | None, separator: str) -> str:
    if time is None:
        return ""
    text = f"{time:.{label_table.TIME_DIGITS}f}".rstrip("0").rstrip(".")
    return text.replace(".", ",") if separator == ";" else text
