"""Killed at any moment, the cache stage loses nothing and leaves nothing half-written."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_imports import PROJECT
from synthetic import make_manifest, make_params, steady, write_params, write_video

from slowfast_finetune.base.manifest_table import MANIFEST
from slowfast_finetune.clip_maintenance import damaged_entries
from slowfast_finetune.clips.clip_store import ClipStore

NUM_VIDEOS = 14
STAGE = str(PROJECT / "stages" / "cache.py")


@pytest.fixture(params=["raw", "jpeg"])
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    names = [f"jump/{index}.mp4" for index in range(NUM_VIDEOS)]
    for index, name in enumerate(names):
        write_video(tmp_path / name, steady(20 + index, 30))
    MANIFEST.write(tmp_path / "data/manifest.csv", make_manifest(tmp_path, names))
    params = make_params(
        runtime={"num_workers": 2}, clip={"short_side": 96, "encoding": request.param}
    )
    write_params(tmp_path / "params.yaml", params)
    return tmp_path


def start_stage(project: Path, store: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *(words or (STAGE,))],
        cwd=project,
        env=os.environ | {"CLIP_STORE": str(store)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".tmp"
    }


def alive_in(session: int) -> list[int]:
    """Processes of a session that have not ended; Linux only."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # Fields after the name in brackets: state, parent, group, session.
            state, _, _, owner = status.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(owner) == session and state not in "ZX":
            found.append(int(status.parent.name))
    return found


def ends(process: int) -> bool:
    """Wait for the end of a process that is not a child of this one; Linux only."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 20)[0])
    finally:
        os.close(handle)


# Runs the stage and kills it: once so many videos are decoded, or with "-" before the second table.
DYING = """
import os, runpy, signal, sys
from slowfast_finetune.base.tables import Table
from slowfast_finetune.clips import caching
stage, moment = sys.argv[1:]
decode_all, write, tables = caching.decode_all, Table.write, []
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def decoded(*jobs, **options):
    for count, result in enumerate(decode_all(*jobs, **options)):
        if str(count) == moment:
            die()
        yield result
    if moment == "all":
        die()
def write_one(*values, **options):
    if tables and moment == "-":
        die()
    tables.append(values)
    write(*values, **options)
caching.decode_all, Table.write = decoded, write_one
sys.argv = [stage]
runpy.run_path(stage, run_name="__main__")
"""


@pytest.mark.extended
@pytest.mark.process
def test_killed_at_any_moment_it_ends_with_the_same_store(project: Path) -> None:
    undisturbed, disturbed = project / "undisturbed", project / "disturbed"
    assert start_stage(project, undisturbed).wait(timeout=120) == 0
    tables = {
        name: (project / "data" / name).read_bytes() for name in ("clips.csv", "rejected.csv")
    }

    for moment in ("0", "1", "3", "all", "-"):
        process = start_stage(project, disturbed, "-c", DYING, STAGE, moment)
        assert process.wait(timeout=60) == -signal.SIGKILL
        # What stands under its final name is whole at every moment.
        assert list(damaged_entries(disturbed)) == []
        for worker in alive_in(process.pid):
            assert ends(worker), "workers end with the stage"
    assert len(list(disturbed.glob("*/*.safetensors"))) == NUM_VIDEOS

    assert start_stage(project, disturbed).wait(timeout=120) == 0
    assert contents(disturbed) == contents(undisturbed)
    assert len(contents(disturbed)) == NUM_VIDEOS + 1  # and settings.json
    for name, table in tables.items():
        assert (project / "data" / name).read_bytes() == table


@pytest.mark.extended
@pytest.mark.process
def test_two_runs_at_once_share_a_store(project: Path) -> None:
    alone, shared = project / "alone", project / "shared"
    assert start_stage(project, alone).wait(timeout=120) == 0
    both = [start_stage(project, shared) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert contents(shared) == contents(alone)
    assert not list(shared.rglob("*.tmp"))


def test_entry_names_say_which_settings_made_them(tmp_path: Path) -> None:
    slow = ClipStore(tmp_path, make_params(clip={"sample_fps": 5}).clip)
    fast = ClipStore(tmp_path, make_params(clip={"sample_fps": 10}).clip)
    assert slow.folder != fast.folder
