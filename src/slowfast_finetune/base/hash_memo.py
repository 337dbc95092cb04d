"""Hash files, and remember the hash of a file that has not changed, so that it is read once."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slowfast_finetune.base.console import progress
from slowfast_finetune.base.files import hash_file, read_errors

# A file changed twice within the clock's grain looks unchanged; git waits in the same way.
SETTLED_SECONDS = 2.0
MEMO_NAME = "hashes.sqlite"  # beside the settings' folders in the clip store
Fingerprint = tuple[int, int, int]  # size [bytes], modification time [ns], inode


def fingerprint(path: Path) -> Fingerprint:
    """What changes when a file does.

    Raises:
        OSError: the file is not there.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


class HashMemo:
    """Content hashes by path, valid while size, time and inode stay; kept in an SQLite file.

    It is only a shortcut: a memo that cannot be read or written is as good as an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def fingerprints(self, hashes: Mapping[Path, str]) -> dict[Path, Fingerprint]:
        """What the files looked like when they were found to have these hashes, if they were."""
        known = self.known(hashes)
        return {path: found for path, (found, digest) in known.items() if digest == hashes[path]}

    def known(self, paths: Iterable[Path]) -> dict[Path, tuple[Fingerprint, str]]:
        """Fingerprint and hash of those files that are remembered."""
        if not self._path.exists():
            return {}
        with contextlib.suppress(sqlite3.Error, OSError), self._connect() as connection:
            rows = connection.execute("SELECT path, size, mtime_ns, inode, hash FROM hashes")
            held = {key: ((size, mtime, inode), digest) for key, size, mtime, inode, digest in rows}
            return {path: held[key] for path in paths if (key := _key(path)) in held}
        return {}

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
        connection = sqlite3.connect(self._path, timeout=10)
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS hashes"
                " (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, hash TEXT)"
            )
            with connection:
                yield connection
        except sqlite3.OperationalError:
            raise  # locked by another run, or a full disk
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)  # damaged: begin anew the next time
            raise
        finally:
            connection.close()


def _key(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would ask the disk for every part


def hash_files(paths: Sequence[Path], *, memo: HashMemo | None = None) -> list[str]:
    """BLAKE2b-128 of each file's bytes, as 32 hex digits, in the order given.

    Args:
        memo: where the hashes of unchanged files are found and new ones are kept.

    Raises:
        DataError: a file cannot be read.
    """
    prints = {path: _settled(path) for path in paths}
    remembered = memo.known(paths) if memo else {}
    known = {path: digest for path, (found, digest) in remembered.items() if found == prints[path]}
    unknown = [path for path in prints if path not in known]
    # hashlib releases the GIL, so threads read and hash in parallel.
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) * 2)) as pool:
        hashes = pool.map(hash_file, unknown)
        counted = progress(hashes, total=len(unknown), label="hashing videos")
        known |= dict(zip(unknown, counted, strict=True))
    if memo:
        memo.remember([(path, found, known[path]) for path in unknown if (found := prints[path])])
    return [known[path] for path in paths]


def _settled(path: Path) -> Fingerprint | None:
    """The fingerprint of a file; None if it changed so lately that it may change unseen."""
    with read_errors(path):
        found = fingerprint(path)
    return found if time.time() - found[1] / 1e9 >= SETTLED_SECONDS else None
