"""Decisions about labels: rows that are appended to the table of labels."""

from __future__ import annotations

import csv
import getpass
import io
import math
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from slowfast_finetune.base.errors import DataError, InputError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.manifest_table import NONE_OF_THESE
from slowfast_finetune.indexing.label_table import (
    DECISION_COLUMNS,
    TEST_WORD,
    TIME_DIGITS,
    Cells,
    LabelRow,
    label_row,
    overlap,
    read_cells,
    read_labels,
)
from slowfast_finetune.indexing.names import composed

# Words that the column `reason` may hold after the reason a case was shown for.
TEST, BLIND, SPLIT, UNDO = TEST_WORD, "blind", "split", "undo"
_ADDED_COLUMNS = ("start", "end", *DECISION_COLUMNS)


class Span(NamedTuple):
    """A video, by its path from the videos folder, or a part of one [s]."""

    video: str
    start: float | None = None
    end: float | None = None

    def overlaps(self, other: Span) -> bool:
        """Whether both have a moment in common."""
        return self.video == other.video and overlap(_row(self), _row(other))


@dataclass(frozen=True)
class Decision:
    """What was decided about a case at one moment: one row, or one for each part.

    Attributes:
        parts: what it is about, with labels; None: it is left out.
        before: the label until then; None: it had none.
        words: the reason that the case was shown for, and what else is to be known.
        decided_at: UTC, ISO 8601.
    """

    parts: tuple[tuple[Span, str | None], ...]
    before: str | None
    words: tuple[str, ...]
    decided_at: str
    decided_by: str

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
        """Names it among all decisions of a table."""
        return f"{self.decided_at} {self.span.video}"

    @property
    def is_undo(self) -> bool:
        return UNDO in self.words

    @property
    def is_change(self) -> bool:
        """Whether the label is another than before."""
        return self.labels != (self.before,)


class DecisionTable:
    """A table of labels to which decisions are appended; several processes may do so at once.

    Args:
        path: the table; it is made by the first decision.

    Raises:
        DataError: the table that is there is not valid, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int, int] | None = None
        self._decisions: list[Decision] = []
        self._by_video: dict[str, list[Decision]] = {}
        if path.exists():
            read_labels(path)
        for place in (path, path.parent):
            if place.exists() and not os.access(place, os.W_OK):
                raise DataError(f"{place}: cannot be written")

    @property
    def decisions(self) -> list[Decision]:
        """Every decision so far, the first one first; of other processes too."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return []
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
        if stamp != self._read_at:
            self._decisions = _grouped(self.path)
            self._by_video = {}
            for decision in self._decisions:
                self._by_video.setdefault(decision.span.video, []).append(decision)
            self._read_at = stamp
        return self._decisions

    @property
    def standing(self) -> list[Decision]:
        """The decisions that have not been undone, the first one first."""
        found: list[Decision] = []
        for decision in self.decisions:
            if not decision.is_undo:
                found.append(decision)
                continue
            undone = [i for i, other in enumerate(found) if other.span == decision.span]
            if undone:
                del found[undone[-1]]
        return found

    def latest(self, span: Span) -> Decision | None:
        """The last row about something of this span; None if there is none."""
        found = self._by_video.get(span.video, []) if self.decisions else []
        return next((d for d in reversed(found) if d.span.overlaps(span)), None)

    def decide(
        self,
        parts: Sequence[tuple[Span, str | None]],
        *,
        before: str | None,
        words: Sequence[str],
        split: str | None = None,
        expected: Decision | None,
    ) -> Decision:
        """Append the labels of a case, or of parts that make it up; returns when they are on disk.

        Args:
            before: its label until now.
            split: for the row of a video that the table does not name yet, if the table fixes the
                split of videos.
            expected: the latest decision about the case that the person knew of.

        Raises:
            InputError: a label is not allowed, or another process decided in between.
            OSError: the disk is full; the table is as it was.
        """
        whole = parts[0][0]._replace(end=parts[-1][0].end)
        labels = tuple(None if label is None else checked_label(label) for _, label in parts)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            latest = self.latest(whole)
            if latest != expected:
                raise InputError("decided in another window or by another program meanwhile")
            cells = self._prepared()
            now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            by = decider()
            rows = []
            for (span, _), label in zip(parts, labels, strict=True):
                row = self._shared_cells(cells, span.video, split)
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
        """Append a row that says what was before a decision.

        Raises:
            InputError: a later decision overlaps it.
        """
        found = self.standing
        later = found[found.index(decision) + 1 :] if decision in found else [decision]
        if any(other.span.overlaps(decision.span) for other in later):
            raise InputError("a later decision has to be undone first")
        return self.decide(
            [(decision.span, decision.before)],
            before=decision.labels[0] if len(set(decision.labels)) == 1 else None,
            words=(decision.words[0], UNDO),
            expected=self.latest(decision.span),
        )

    def _prepared(self) -> Cells:
        """The table, with the columns of decisions; called under the lock."""
        if not self.path.exists():
            write_text(self.path, ",".join(("video", "label", *_ADDED_COLUMNS)) + "\n")
        cells = read_cells(self.path)
        missing = [name for name in _ADDED_COLUMNS if name not in cells.header]
        if not missing:
            return cells
        # Once: every row gets the new cells, so that a shorter one is one that a crash cut off.
        raw = self.path.read_bytes()
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=cells.separator, lineterminator=cells.line_end)
        width = len(cells.header)
        first = next(csv.reader([raw.decode("utf-8-sig").splitlines()[0]],
                                delimiter=cells.separator))  # fmt: skip
        writer.writerow([*first, *missing])
        for line in cells.lines:
            padded = [*line[:width], *[""] * (width - len(line)), *[""] * len(missing)]
            writer.writerow(padded if any(line) else [])
        mark = "\ufeff" if raw.startswith(b"\xef\xbb\xbf") else ""
        write_text(self.path, mark + text.getvalue())
        return read_cells(self.path)

    def _shared_cells(self, cells: Cells, video: str, split: str | None) -> dict[str, str]:
        """The split and the group that the table has for a video."""
        shared: dict[str, str] = {}
        is_fixed = False
        for line in cells.lines:
            row = dict(zip(cells.header, line, strict=False))
            is_fixed |= bool(row.get("split", "").strip())
            if (
                composed(row.get("video", "").strip()).replace("\\", "/").removeprefix("./")
                == video
            ):
                shared = {name: row.get(name, "") for name in ("split", "group")}
        if not shared and is_fixed and split:
            shared = {"split": split}
        return shared

    def _append(self, cells: Cells, rows: Iterable[Sequence[str]]) -> None:
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
    name = composed(label).strip()
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


def random_decisions(standing: Iterable[Decision]) -> list[Decision]:
    """The decisions on cases that were drawn at random; the last one, if there are several."""
    found: dict[Span, Decision] = {}
    for decision in standing:
        if decision.words[0] == "random":
            found[decision.span] = decision
    return list(found.values())


def _grouped(path: Path) -> list[Decision]:
    """The decisions of a table; consecutive rows of one moment and video are one.

    Raises:
        DataError: a row is not valid.
    """
    cells = read_cells(path)
    found: list[Decision] = []
    for number, line in enumerate(cells.lines, 2):
        row = {name: cell.strip() for name, cell in zip(cells.header, line, strict=False)}
        if len(line) < len(cells.header) or not row.get("decided_at"):
            continue
        try:
            video, label, start, end, *_ = label_row(row, decimal_comma=cells.separator == ";")
        except ValueError as error:
            raise DataError(f"{path}: row {number}: {error}") from error
        parts: tuple[tuple[Span, str | None], ...] = ((Span(video, start, end), label),)
        last = found[-1] if found else None
        if last and (last.decided_at, last.span.video) == (row["decided_at"], video):
            parts = last.parts + parts
            found.pop()
        words = tuple(word.strip() for word in row.get("reason", "").split(","))
        before = composed(row.get("before", "")) or None
        found.append(Decision(parts, before, words, row["decided_at"], row.get("decided_by", "")))
    return found


def _time_cell(time: float | None, separator: str) -> str:
    if time is None or not math.isfinite(time):
        return ""
    text = f"{time:.{TIME_DIGITS}f}".rstrip("0").rstrip(".")
    return text.replace(".", ",") if separator == ";" else text


def _row(span: Span) -> LabelRow:
    return LabelRow(span.video, None, span.start, span.end, None, None)
