"""What a result was made from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from synthetic import make_rows

from slowfast_finetune.training.provenance import data_digest, git_commit


def test_digest_of_the_data_sees_content_label_split_and_settings_and_no_order() -> None:
    rows = make_rows(4)
    digest = data_digest(rows)
    assert data_digest(rows[::-1]) == digest
    for change in (
        {"content_hash": "f" * 32},
        {"label": 9},
        {"split": "val"},
        {"settings": "other"},
    ):
        assert data_digest([*rows[:3], rows[3]._replace(**change)]) != digest
    assert data_digest(rows[:3]) != digest
    # A new name is the same video.
    renamed = rows[3]._replace(video_path="jump/zz.mp4")
    assert data_digest([*rows[:3], renamed]) == digest


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None, "no repository"
    git(tmp_path, "init")
    assert git_commit(tmp_path) is None, "no commit"
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{commit}+changes"
