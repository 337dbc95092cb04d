"""A file of labels as another program wrote it, and the labels that are read from it."""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import read_errors
from slowfast_finetune.base.manifest_table import Split
from slowfast_finetune.indexing.label_table import TIME_DIGITS
from slowfast_finetune.indexing.split_folders import SPLIT_FOLDERS

_JSON = re.compile(r"\s*[\[{]\s*[\"\[{\]}]|\s*[\[{]\s*$")


class ListedLabel(NamedTuple):
    """A label as a file gives it, before its video is looked for."""

    where: str  # line or element, for errors; the importer puts the file before it
    video: str  # the path, address or name of the video, as the file has it
    label: str | None  # the class; none: the video is left out
    start: float | None = None  # of the part [s]; none: where the video starts
    end: float | None = None  # none: where the video ends
    split: Split | None = None
    group: str | None = None
    track: str | None = None  # the tier, subject, attribute or control that it belongs to
    also: tuple[str, ...] = ()  # further names that the video file may have
    trimmed: str | None = None  # name without extension of a file that holds only the part


@dataclass
class Reading:
    """What readers need beside the files, and what they passed over."""

    extensions: Sequence[str]  # of video files, in lower case with their dots
    fps: float | None = None  # frames a second where a file counts frames; none: as the file says
    class_names: Mapping[int, str] | None = None  # by id, for lists that give numbers
    passed_over: Counter[str] = field(default_factory=Counter)  # what the files hold beside labels
    remarks: dict[str, None] = field(default_factory=dict)  # what else should be said, each once

    def remark(self, text: str) -> None:
        """Note something once."""
        self.remarks[text] = None

    def is_video(self, name: str) -> bool:
        """Whether a name ends as those of videos do."""
        return name.lower().endswith(tuple(self.extensions))


@dataclass(frozen=True)
class SourceFile:
    """The text of a file, and what its reader needs besides."""

    path: Path
    text: str
    reading: Reading

    @classmethod
    def load(cls, path: Path, reading: Reading) -> SourceFile:
        """Read UTF-8, or UTF-16 with a byte order mark, which ELAN can write.

        Raises:
            DataError: there is no such file, or it is no such text.
        """
        try:
            with read_errors(path):
                data = path.read_bytes()
            wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            return cls(path, data.decode("utf-16" if wide else "utf-8-sig"), reading)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not text in UTF-8; found other bytes") from error

    def error(self, where: str, what: str) -> DataError:
        """An error about a line or element of this file."""
        return DataError(f"{self.path}: {where}: {what}")

    @cached_property
    def lines(self) -> list[tuple[int, str]]:
        """The lines that are not empty, without spaces around, with their numbers from 1."""
        lines = self.text.splitlines()
        return [(n, line.strip(" ")) for n, line in enumerate(lines, 1) if line.strip()]

    @cached_property
    def json(self) -> Any:
        """The value of a JSON file; None for other files."""
        if not _JSON.match(self.text):
            return None
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.path}: is not sound JSON: {error}") from error

    @cached_property
    def header(self) -> list[str]:
        """The cells of the first line of a table, which commas, semicolons or tabs separate."""
        try:
            return [name.strip() for name in self._reader().fieldnames or []]
        except csv.Error:
            return []  # no table

    def table(self) -> Iterator[tuple[str, dict[str, str]]]:
        """The rows below the header, each with its name for errors.

        Raises:
            DataError: it is not CSV, or a row has more or fewer cells than the header.
        """
        reader = self._reader()
        try:
            for row in reader:
                where = f"line {reader.line_num}"
                if None in row or None in row.values():
                    raise self.error(where, f"not as many cells as the {len(row)} of the header")
                yield where, {name.strip(): cell.strip() for name, cell in row.items()}
        except csv.Error as error:
            raise self.error(f"line {reader.line_num}", f"is not CSV: {error}") from error

    def _reader(self) -> csv.DictReader[str]:
        separator = max(",;\t", key=self.text.partition("\n")[0].count)
        lines = self.text.splitlines(keepends=True)
        return csv.DictReader(lines, delimiter=separator, strict=True)

    def seconds(self, value: object, where: str, *, scale: float = 1.0) -> float:
        """A time as a number, times ``scale`` [s], rounded as labels.csv has it.

        Raises:
            DataError: it is no number that is finite and not negative.
        """
        try:
            number = math.nan if isinstance(value, bool) else float(value) * scale  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise self.error(where, f"found {value!r}, expected a time, a number from 0")
        return round(number, TIME_DIGITS)

    def split(self, value: object, where: str) -> Split:
        """The split that a word stands for: train, training, val, validate, test …"""
        try:
            return SPLIT_FOLDERS[str(value).lower()]
        except KeyError as error:
            expected = ", ".join(SPLIT_FOLDERS)
            raise self.error(where, f"split: found {value!r}, expected {expected}") from error


class LabelFormat(NamedTuple):
    """A format: its name, what it is, whether a file has it, and its reader."""

    name: str
    title: str
    recognise: Callable[[SourceFile], bool]
    read: Callable[[SourceFile], Iterator[ListedLabel]]


def reader_of(
    name: str, title: str, recognise: Callable[[SourceFile], bool]
) -> Callable[[Callable[[SourceFile], Iterator[ListedLabel]]], LabelFormat]:
    """Make a reader, which gives the labels of a file, into a format; see LabelFormat.

    Readers raise DataError at the first line or element that is not of the format.
    """
    return lambda read: LabelFormat(name, title, recognise, read)


def has_keys(value: object, *keys: str) -> bool:
    """Whether a JSON value is an object with these keys."""
    return isinstance(value, dict) and set(keys) <= set(value)
