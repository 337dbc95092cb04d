"""Files that are whole or not there, and CSV tables with a checked schema."""

from __future__ import annotations

import csv
import errno
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import pydantic

from slowfast_finetune.base.errors import DataError


class Row(pydantic.BaseModel):
    """One row of a CSV table: its fields, in order, are the columns."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


RowT = TypeVar("RowT", bound=Row)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that becomes ``path`` when the block succeeds.

    A crash or an exception leaves the old file as it was and no half-written one. A device or a
    named pipe (/dev/null) is no file to be replaced: it is given as it is.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; ours are as readable as any other the person makes.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        # A full disk strikes in a write that knows no name; the person should hear which file.
        # An error of another kind (a connection that closed) has no number, and words of its own.
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_table(
    path: Path,
    rows: Sequence[RowT],
    row_type: type[RowT],
    *,
    more_columns: Sequence[str] = (),
    more_cells: Sequence[Sequence[object]] | None = None,
) -> None:
    """Write rows as CSV (RFC 4180 quoting, UTF-8, ``\\n``), atomically; None is an empty cell.

    Args:
        more_columns, more_cells: columns whose names are known only at run time, behind those of
            the row type, and their cells for each row.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for values in (
            [*row_type.model_fields, *more_columns],
            *(
                [*row.model_dump().values(), *more]
                for row, more in zip(rows, more_cells or [()] * len(rows), strict=True)
            ),
        ):
            file.write(csv_line(values) + "\n")


def csv_line(values: Sequence[object]) -> str:
    """One record of a CSV table, without its line end; None is an empty cell."""
    cells = [_cell(value) for value in values]
    line = io.StringIO()
    # By itself the writer leaves a lone carriage return unquoted, and no reader takes that.
    has_return = any("\r" in cell for cell in cells)
    quoting: Literal[0, 1] = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
    csv.writer(line, lineterminator="\n", quoting=quoting).writerow(cells)
    return line.getvalue().removesuffix("\n")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def read_table(path: Path, row_type: type[RowT]) -> list[RowT]:
    """Read a CSV table written by :func:`write_table`; extra columns are ignored.

    Raises:
        DataError: the file is missing, lacks a column, or a cell does not fit its column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lacking = [
                name for name in row_type.model_fields if name not in (reader.fieldnames or ())
            ]
            if lacking:
                raise DataError(f"{path}: column {', '.join(lacking)} is missing")
            rows = [{name: _value(row[name]) for name in row_type.model_fields} for row in reader]
        return pydantic.TypeAdapter(list[row_type]).validate_python(rows)  # type: ignore[valid-type]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; run `dvc repro`") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not a CSV table: {error}") from error
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        row, column = fault["loc"][0], fault["loc"][-1]
        raise DataError(
            f"{path}: row {int(row) + 1}, column {column}: found {fault['input']!r}, {fault['msg']}"
        ) from error


def _value(cell: str | None) -> str | None:
    return cell or None
