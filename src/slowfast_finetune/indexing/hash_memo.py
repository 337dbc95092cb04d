"""Hash files, and remember the hash of a file that has not changed, so that it is read once."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slowfast_finetune.base.console import progress
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.hashing import hash_file

# A file changed twice within the clock's resolution looks unchanged; git waits in the same way.
SETTLED_SECONDS = 2.0
Fingerprint = tuple[int, int, int]  # size [bytes], modification time [ns], inode


def fingerprint(path: Path) -> Fingerprint | None:
    """What changes when a file does; None if it changed so lately that it may change unseen.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if time.time() - status.st_mtime < SETTLED_SECONDS:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


class HashMemo:
    """Content hashes by path, valid while size, time and inode stay; kept in an SQLite file.

    A memo that cannot be read or written is treated as empty: it only saves time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self, prints: Mapping[Path, Fingerprint | None]) -> dict[Path, str]:
        """The hashes of those files that are remembered and have not changed."""
        known: dict[str, tuple[Fingerprint, str]] = {}
        with contextlib.suppress(sqlite3.Error, OSError), self._connect() as connection:
            rows = connection.execute("SELECT path, size, mtime_ns, inode, hash FROM hashes")
            known = {path: (tuple(found), digest) for path, *found, digest in rows}
        kept = {path: known.get(_key(path)) for path in prints}
        return {
            path: entry[1] for path, entry in kept.items() if entry and entry[0] == prints[path]
        }

    def remember(self, hashes: Sequence[tuple[Path, Fingerprint, str]]) -> None:
        """Add or replace hashes."""
        with contextlib.suppress(sqlite3.Error, OSError), self._connect() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?)",
                [(_key(path), *found, digest) for path, found, digest in hashes],
            )

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self._path, timeout=10)) as connection:
            try:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, size INTEGER,"
                    " mtime_ns INTEGER, inode INTEGER, hash TEXT)"
                )
                with connection:
                    yield connection
            except sqlite3.OperationalError:
                raise  # locked by another run, or a full disk
            except sqlite3.DatabaseError:
                self._path.unlink(missing_ok=True)  # damaged: begin anew the next time
                raise


def _key(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would ask the disk for every part


def hash_files(paths: Sequence[Path], *, memo: HashMemo | None = None) -> list[str]:
    """BLAKE2b-128 of each file's bytes, as 32 hex digits, in the order given.

    Args:
        memo: where the hashes of unchanged files are found and new ones are kept.

    Raises:
        DataError: a file cannot be read.
    """
    prints = {path: fingerprint(path) for path in paths}
    known = memo.recall(prints) if memo else {}
    unknown = [path for path in dict.fromkeys(paths) if path not in known]
    # hashlib releases the GIL, so threads read and hash in parallel.
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) * 2)) as pool:
        hashes = pool.map(hash_file, unknown)
        done = progress(hashes, total=len(unknown), label="hashing videos")
        known |= zip(unknown, done, strict=True)
    if memo:
        memo.remember([(path, found, known[path]) for path in unknown if (found := prints[path])])
    return [known[path] for path in paths]
