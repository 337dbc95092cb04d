"""Write files atomically, a reader finds the whole file or none; and the hash of a file."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slowfast_finetune.base.errors import DataError, InputError

HASH_BYTES = 16  # of BLAKE2b: 32 hex digits, no accidental collision in any collection


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
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        error.filename = str(path)  # what the person named
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; ours are as readable as any other the person makes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        # A write to a full disk fails without a file name; the message should have one.
        # Others (a connection that closed) have no number, and a message of their own.
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def read_errors(
    path: Path, kind: type[InputError] = DataError, *, advice: str = ""
) -> Iterator[None]:
    """Turn an OSError into an error of ``kind`` that says which file cannot be read, and why."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path}: cannot be read: {error.strerror}{advice}") from error


def hash_file(path: Path) -> str:
    """BLAKE2b-128 of one file's bytes, as 32 hex digits."""
    with read_errors(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=HASH_BYTES))
    return digest.hexdigest()
