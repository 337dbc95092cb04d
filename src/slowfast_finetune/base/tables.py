"""CSV tables: described once, and read, checked and written from that description.

pandas is imported only where a table is read: the index stage and the decoding workers, which read
none, start without it.
"""

from __future__ import annotations

import csv
import io
import typing
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TextIO, TypeVar

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import read_errors, write_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

RowT = TypeVar("RowT", bound=NamedTuple)
SHARE = "0 to 1"  # the unit of a share; other numbers than these are refused
_EXPECTED = {str: "some text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    kind: type  # str, int, float or bool
    meaning: str
    unit: str = ""
    nullable: bool = False  # a cell may be empty
    choices: tuple[str, ...] = ()  # the texts that a cell may hold; empty for any

    @classmethod
    def of(cls, name: str, hint: object) -> Column:
        """The column of a field ``name: Annotated[type, meaning, unit]``; the unit may be left out.

        ``type | None`` makes it nullable, and a Literal gives its choices.
        """
        kind, meaning, unit = (*typing.get_args(hint), "")[:3]
        # A Literal with None is a Union of the typing module.
        nullable = typing.get_origin(kind) in (UnionType, typing.Union)
        if nullable:
            kind = typing.get_args(kind)[0]
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        return cls(name, str if choices else kind, meaning, unit, nullable, choices)

    @property
    def dtype(self) -> str:
        """The dtype of its values in a frame, where NaN or NA is an empty cell."""
        if self.kind is int and self.nullable:
            return "Int64"
        return {str: "str", int: "int64", float: "float64", bool: "bool"}[self.kind]

    @property
    def expected(self) -> str:
        """What a cell must hold, as an error says it."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return f"a number from {SHARE}" if self.unit == SHARE else _EXPECTED[self.kind]

    def convert(self, cells: npt.NDArray[np.object_], source: str) -> npt.NDArray[Any]:
        """Texts as values, NaN or None for empty ones.

        Raises:
            DataError: naming the first cell that does not fit.
        """
        # On arrays: in a small table a step on a pandas Series takes many times as long.
        import numpy as np
        import pandas as pd

        values = self._values(cells)
        fits = pd.notna(values)
        if self.unit == SHARE:
            fits &= (values >= 0) & (values <= 1)
        elif self.kind is float:
            fits |= np.array([cell.lower() == "nan" for cell in cells], dtype=bool)
        if self.nullable:
            fits |= cells == ""
        if not fits.all():
            index = int(fits.argmin())
            raise DataError(
                f"{source}: row {index + 1}, column {self.name}: found {cells[index]!r}, "
                f"expected {self.expected}"
            )
        return values

    def _values(self, cells: npt.NDArray[np.object_]) -> npt.NDArray[Any]:
        """NaN or None where a cell is empty or does not fit."""
        import numpy as np
        import pandas as pd

        if self.kind is str:
            fits = self.choices.__contains__ if self.choices else bool
            return np.array([cell if fits(cell) else None for cell in cells], dtype=object)
        if self.kind is bool:
            booleans = {"true": True, "false": False}
            return np.array([booleans.get(cell.lower()) for cell in cells], dtype=object)
        numbers = pd.to_numeric(cells, errors="coerce")
        if self.kind is int and numbers.dtype.kind == "f":
            return np.where(np.isfinite(numbers) & (numbers == np.floor(numbers)), numbers, np.nan)
        return numbers


@dataclass(frozen=True)
class Table(Generic[RowT]):
    """The description of one CSV file."""

    file: str  # where the pipeline keeps it, from the project's folder
    row: type[RowT]  # a NamedTuple, whose annotated fields are the columns; see Column.of
    version: int  # counts the changes of the columns
    per_class: Column | None = None  # describes further columns, one for each class: name(class)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns but for those of the classes."""
        hints = typing.get_type_hints(self.row, include_extras=True)
        return tuple(Column.of(name, hints[name]) for name in self.row._fields)

    def within(self, results: Path) -> Path:
        """Where a table of ``metrics/`` lies if that folder is another."""
        return results.joinpath(*Path(self.file).parts[1:])

    def read(self, path: Path) -> pd.DataFrame:
        """Read a file; see :meth:`parse`.

        Raises:
            DataError: it is missing, not a CSV table, lacks a column, or has a cell that does not
                fit its column.
        """
        with (
            read_errors(path, advice="; run `dvc repro`"),
            path.open(encoding="utf-8", newline="") as file,
        ):
            return self.parse(file, source=str(path))

    def read_rows(self, path: Path) -> list[RowT]:
        """Read a file as rows; raises as :meth:`read`."""
        return self.rows(self.read(path))

    def parse(
        self, file: TextIO, *, source: str, required: Collection[str] | None = None
    ) -> pd.DataFrame:
        """The columns of the description, then those of the classes; others are ignored.

        Texts are str, whole numbers int64, others float64, empty cells NaN; whole numbers that may
        be missing are Int64, empty cells NA.

        Args:
            source: what errors call the file.
            required: columns that must be there; None for all.

        Raises:
            DataError: as :meth:`read`.
        """
        import pandas as pd

        try:
            frame = pd.read_csv(file, header=None, dtype=object, keep_default_na=False)
        except pd.errors.EmptyDataError:
            frame = pd.DataFrame([[]])
        except ValueError as error:  # no UTF-8, or a row longer than the header
            said = " ".join(str(error).split())
            raise DataError(f"{source}: is not a CSV table: {said}") from error
        lines = frame.to_numpy(dtype=object)
        header: list[str] = lines[0].tolist()
        columns = [column for column in self.columns if column.name in header]
        wanted = self.row._fields if required is None else required
        missing = [name for name in wanted if name not in header]
        if self.per_class is not None:
            start = f"{self.per_class.name}("
            names = [name for name in header if name.startswith(start) and name.endswith(")")]
            columns += [replace(self.per_class, name=name) for name in names]
            missing += [] if names else [f"{start}<class>)"]
        if missing:
            columns_are = "column {} is" if len(missing) == 1 else "columns {} are"
            raise DataError(
                f"{source}: {columns_are.format(', '.join(missing))} missing; written by another "
                "version of this program? run `dvc repro` there"
            )
        if twice := [column.name for column in columns if header.count(column.name) > 1]:
            raise DataError(f"{source}: column {twice[0]} is there twice")
        cells = dict(zip(header, lines[1:].T, strict=True))
        values = {column.name: column.convert(cells[column.name], source) for column in columns}
        dtypes: dict[str, Any] = {column.name: column.dtype for column in columns}
        return pd.DataFrame({name: pd.array(values[name], dtypes[name]) for name in values})

    def rows(self, frame: pd.DataFrame) -> list[RowT]:
        """The rows of a frame with this table's columns; None for an empty cell."""
        values = []
        for column in self.columns:
            cells = frame[column.name]
            if column.nullable:
                cells = cells.astype(object).where(cells.notna(), None)
            values.append(cells.tolist())
        return list(map(self.row._make, zip(*values, strict=True)))

    def write(
        self,
        path: Path,
        rows: Iterable[RowT],
        *,
        class_names: Sequence[str] = (),
        class_values: npt.NDArray[Any] | None = None,
    ) -> None:
        """Write rows atomically, as :func:`csv_text` forms them.

        Args:
            class_names, class_values: names of the columns of the classes, and their cells
                (rows, classes).
        """
        header = list(self.row._fields)
        lines: Iterable[Sequence[object]] = rows
        if self.per_class is not None and class_values is not None:
            header += [f"{self.per_class.name}({name})" for name in class_names]
            # As text, numpy's numbers have as few digits as tell them apart in their precision.
            cells = (values.astype(str).tolist() for values in class_values)
            lines = ((*row, *more) for row, more in zip(rows, cells, strict=True))
        write_text(path, csv_text([header, *lines]))


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV (RFC 4180 quoting, ``\\n``): None is an empty cell, booleans are lower-case."""
    text = _Lines()
    # The writer quotes the characters of its line end; with "\n" alone it would not quote "\r".
    writer = csv.writer(text, lineterminator="\r\n")
    for row in rows:
        writer.writerow([str(v).lower() if isinstance(v, bool) else v for v in row])
    return text.getvalue()


class _Lines(io.StringIO):
    def write(self, line: str) -> int:
        return super().write(line.removesuffix("\r\n") + "\n")
