"""The memo saves reading, and never at the price of a wrong hash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slowfast_finetune.base import hash_memo
from slowfast_finetune.base.files import hash_file
from slowfast_finetune.base.hash_memo import HashMemo, fingerprint, hash_files


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.mp4" for name in ("a", "b, c", "ü\n")]
    for path in paths:
        path.write_text(path.stem)
        age(path, seconds=100)
    return paths


def age(path: Path, *, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    seen: list[Path] = []

    def spy(path: Path) -> str:
        seen.append(path)
        return hash_file(path)

    monkeypatch.setattr(hash_memo, "hash_file", spy)
    return seen


def test_unchanged_files_are_read_once(
    videos: list[Path], read: list[Path], tmp_path: Path
) -> None:
    memo = HashMemo(tmp_path / "memo" / "hashes.sqlite")
    first = hash_files(videos, memo=memo)
    assert sorted(read) == sorted(videos)
    read.clear()
    assert hash_files(videos, memo=memo) == first == [hash_file(path) for path in videos]
    assert read == []


def test_changed_file_is_read_again(videos: list[Path], read: list[Path], tmp_path: Path) -> None:
    memo = HashMemo(tmp_path / "hashes.sqlite")
    hash_files(videos, memo=memo)
    read.clear()
    videos[0].write_text("A")  # as long as before
    age(videos[0], seconds=50)
    assert hash_files(videos, memo=memo)[0] == hash_file(videos[0])
    assert read == [videos[0]]


def test_file_replaced_with_its_old_time_is_read_again(
    videos: list[Path], read: list[Path], tmp_path: Path
) -> None:
    memo = HashMemo(tmp_path / "hashes.sqlite")
    hash_files(videos, memo=memo)
    read.clear()
    times = videos[0].stat()
    other = tmp_path / "other"
    other.write_text("A")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(videos[0])
    assert hash_files(videos, memo=memo)[0] == hash_file(videos[0])
    assert read == [videos[0]]


def test_file_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "fresh.mp4"
    path.write_text("x")
    memo = HashMemo(tmp_path / "hashes.sqlite")
    (content_hash,) = hash_files([path], memo=memo)
    assert memo.fingerprints({path: content_hash}) == {}
    age(path, seconds=3)
    hash_files([path], memo=memo)
    assert memo.fingerprints({path: content_hash}) == {path: fingerprint(path)}
    assert memo.fingerprints({path: "0" * 32}) == {}


def test_damaged_memo_is_as_good_as_none(
    videos: list[Path], read: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "hashes.sqlite"
    path.write_bytes(b"this is not a database" * 100)
    memo = HashMemo(path)
    expected = [hash_file(video) for video in videos]
    assert hash_files(videos, memo=memo) == expected
    assert hash_files(videos, memo=memo) == expected
    read.clear()
    assert hash_files(videos, memo=memo) == expected
    assert read == [], "it was made anew"


def test_memo_that_cannot_be_written_costs_only_time(videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memo = HashMemo(tmp_path / "file" / "hashes.sqlite")
    assert hash_files(videos, memo=memo) == [hash_file(video) for video in videos]
