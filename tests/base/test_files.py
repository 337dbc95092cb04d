"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from slowfast_finetune.base.files import atomic_path, write_text


def write_half(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half of the ne")
        raise error


def test_a_named_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    """Nor is /dev/null, which a file in its place would take from everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "said")
    reader.join(timeout=10)
    assert read == ["said"]
    assert pipe.is_fifo()


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        write_half(path, ZeroDivisionError())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "a.txt", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_folders_are_made_and_files_are_as_readable_as_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    write_text(path, "Zeile\r\nbleibt ü\n")
    other = tmp_path / "other.txt"
    other.write_text("")
    assert path.read_bytes() == "Zeile\r\nbleibt ü\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_full_disk_names_the_file_and_other_errors_keep_their_words(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"No space left on device: .*table\.csv"),
        atomic_path(tmp_path / "table.csv"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(OSError, match=r"^the connection closed$"),
        atomic_path(tmp_path / "table.csv"),
    ):
        raise OSError("the connection closed")
    assert list(tmp_path.iterdir()) == []
