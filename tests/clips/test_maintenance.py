"""slowfast clips status, verify and prune, over a store with something wrong in it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_process import COMMAND, Done, run_here
from synthetic import make_manifest, make_params, steady, write_params, write_video

from slowfast_finetune.base.console import readable_bytes
from slowfast_finetune.base.manifest_table import MANIFEST
from slowfast_finetune.base.params import Params
from slowfast_finetune.clip_maintenance import corners, find_leftovers, remove
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.features.feature_store import FeatureSettings, FeatureStore

NAMES = [f"jump/{index}.mp4" for index in range(4)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for index, name in enumerate(NAMES):
        write_video(tmp_path / name, steady(5 + index, 15))
    write_params(tmp_path / "params.yaml", make_params())
    return tmp_path


def fill(project: Path, params: Params, names: list[str]) -> ClipStore:
    rows = make_manifest(project, names)
    store = ClipStore(project / "store", params.clip)
    cache_videos(
        rows,
        params=params,
        store=store,
        project=project,
    )
    MANIFEST.write(project / "data/manifest.csv", rows)
    return store


def slowfast(project: Path, *words: str) -> Done:
    return run_here(project, COMMAND, *words)


def entries(store: ClipStore) -> list[Path]:
    return sorted(store.folder.glob("*.safetensors"))


@pytest.mark.process
def test_status_tells_what_each_setting_holds(project: Path) -> None:
    store = fill(project, make_params(), NAMES)
    fill(project, make_params(clip={"sample_fps": 5}), NAMES[:2])
    found = {corner.digest: corner for corner in corners(project / "store")}
    assert found[store.folder.name].num_entries == 4
    assert found[store.folder.name].num_bytes == sum(e.stat().st_size for e in entries(store))
    result = slowfast(project, "clips", "status")
    assert result.returncode == 0
    current = [line for line in result.stdout.splitlines() if "params.yaml" in line]
    assert [line.split()[:2] for line in current] == [[store.folder.name, "4"]]
    assert "@ 5/s" in result.stdout


@pytest.mark.process
def test_status_tells_what_raw_frames_would_take(project: Path) -> None:
    fill(project, make_params(clip={"encoding": "jpeg"}), NAMES)
    (corner,) = corners(project / "store")
    # 5 to 8 frames, padded to 8, of 64×48 px.
    assert corner.raw_bytes == 4 * 8 * 64 * 48 * 3
    assert corner.num_bytes < corner.raw_bytes / 4
    printed = slowfast(project, "clips", "status").stdout
    assert readable_bytes(corner.raw_bytes) in printed
    assert "JPEG 90" in printed


@pytest.mark.process
def test_verify_finds_one_changed_byte_and_removes_only_that(project: Path) -> None:
    store = fill(project, make_params(), NAMES)
    assert slowfast(project, "clips", "verify").returncode == 0
    victim = entries(store)[2]
    data = bytearray(victim.read_bytes())
    data[-100] ^= 1
    victim.write_bytes(data)
    result = slowfast(project, "clips", "verify")
    assert result.returncode == 1
    assert result.stdout.strip() == f"{victim}: the checksum does not match"
    assert "damaged or of another format: 1 file;" in result.stderr
    assert slowfast(project, "clips", "verify", "--remove").returncode == 0
    assert len(entries(store)) == 3
    assert victim not in entries(store)


@pytest.mark.process
def test_prune_first_only_tells_then_deletes_what_nothing_refers_to(project: Path) -> None:
    other = fill(project, make_params(clip={"sample_fps": 5}), NAMES)
    store = fill(project, make_params(), NAMES)
    keep = {row.content_hash for row in make_manifest(project, NAMES[:3])}
    MANIFEST.write(project / "data/manifest.csv", make_manifest(project, NAMES[:3]))
    old, fresh = (store.folder / f".{digit * 32}.run.tmp" for digit in "01")
    for path in (old, fresh):
        path.write_text("half")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))

    told = slowfast(project, "clips", "prune")
    assert told.returncode == 0
    assert "nothing was deleted" in told.stdout
    assert len(entries(store)) == len(entries(other)) == 4

    assert "deleted" in slowfast(project, "clips", "prune", "--yes").stdout
    assert {path.stem for path in entries(store)} == keep
    assert not other.folder.exists()
    assert fresh.exists(), "another run may be writing it"
    assert not old.exists()
    assert "nothing to delete" in slowfast(project, "clips", "prune", "--yes").stdout


def test_a_folder_keeps_its_settings_while_something_may_be_writing_there(project: Path) -> None:
    other = fill(project, make_params(clip={"sample_fps": 5}), NAMES[:2])
    half = other.folder / f".{'0' * 32}.run.tmp"
    half.write_text("half")
    known = {"current": "0" * 16, "keys": set[str]()}
    for files in find_leftovers(project / "store", **known).values():
        remove(files)
    assert {path.name for path in other.folder.iterdir()} == {half.name, "settings.json"}
    os.utime(half, (0, 0))  # its writer was killed long ago
    for files in find_leftovers(project / "store", **known).values():
        remove(files)
    assert not other.folder.exists()


@pytest.mark.process
def test_status_and_verify_do_not_take_an_older_format_for_damage(project: Path) -> None:
    store = fill(project, make_params(), NAMES[:2])
    for entry in entries(store):
        data = entry.read_bytes()
        entry.write_bytes(data.replace(b'"format_version": "4"', b'"format_version": "3"'))
    status = slowfast(project, "clips", "status").stdout
    assert "unknown" in status
    verify = slowfast(project, "clips", "verify")
    assert verify.returncode == 1
    assert verify.stdout.count("has format 3; this version reads 4") == 2
    assert "damaged or of another format: 2 files;" in verify.stderr


@pytest.mark.process
def test_features_are_told_verified_and_pruned_like_clips(project: Path) -> None:
    store = fill(project, make_params(), NAMES[:2])
    kept, gone = (row.content_hash for row in make_manifest(project, NAMES[:2]))
    MANIFEST.write(project / "data/manifest.csv", make_manifest(project, NAMES[:1]))
    settings = FeatureSettings(
        model="slowfast_r50", weights="ab" * 16, clips=store.folder.name, num_frames=8,
        crop_size=32, precision="32-true", temporal_views=3, spatial_crops=1, mirrored=True,
    )  # fmt: skip
    features = FeatureStore.of(project / "store", settings)
    others = FeatureStore.of(project / "store", replace(settings, clips="0" * 16))
    for each in (features, others):
        for key in (kept, gone):
            each.write(key, np.ones((6, 4), np.float32))
    line = next(
        line
        for line in slowfast(project, "clips", "status").stdout.splitlines()
        if line.startswith(features.folder.name)
    )
    assert line.split()[1] == "2"
    assert "slowfast_r50, weights abababab, 6 views of 32 px" in line
    assert line.endswith("← params.yaml")

    path = features.path(kept)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert f"{path}: the features are damaged" in slowfast(project, "clips", "verify").stdout
    assert slowfast(project, "clips", "verify", "--remove").returncode == 0
    assert features.keys() == {gone}

    features.write(kept, np.ones((6, 4), np.float32))
    told = slowfast(project, "clips", "prune", "--yes").stdout
    assert "features are kept; --features deletes them too" in told
    assert features.keys() == {kept}
    assert not others.folder.exists()
    # The one that was kept, and the settings of its folder.
    program = project / "store" / "programs" / "0123456789abcdef.pt2"
    program.parent.mkdir()
    program.write_bytes(b"without weights")
    told = slowfast(project, "clips", "prune", "--features").stdout
    assert "1 file, 15 B: exported programs" in told
    assert "2 files, 590 B: features" in told
    assert features.keys() == {kept}
    slowfast(project, "clips", "prune", "--features", "--yes")
    assert not program.exists()
    assert features.keys() == set()


@pytest.mark.process
def test_prune_touches_nothing_that_is_not_the_stores(project: Path) -> None:
    store = fill(project, make_params(), NAMES)
    foreign = [
        project / "store/walking/a.mp4",
        project / "store/walking/model.safetensors",
        project / "store/0123456789abcdef/notes.txt",
        store.folder / "notes.txt",
        store.folder / "weights.safetensors",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    (project / "store/0123456789abcdef/settings.json").write_text("{}")
    MANIFEST.write(project / "data/manifest.csv", make_manifest(project, NAMES[:1]))
    assert slowfast(project, "clips", "prune", "--yes").returncode == 0
    assert all(path.read_text() == "precious" for path in foreign)
    assert slowfast(project, "clips", "verify").returncode == 0, "and foreign files are not read"


@pytest.mark.process
def test_store_that_is_a_file_is_said_to_be_one(project: Path) -> None:
    (project / "store").write_text("")
    result = slowfast(project, "clips", "status")
    assert result.returncode == 1
    assert "must be a folder; this is a file" in result.stderr


@pytest.mark.process
def test_prune_without_a_manifest_deletes_nothing(project: Path) -> None:
    store = fill(project, make_params(), NAMES)
    (project / "data/manifest.csv").unlink()
    result = slowfast(project, "clips", "prune", "--yes")
    assert result.returncode == 1
    assert "data/manifest.csv: cannot be read" in result.stderr
    assert len(entries(store)) == 4


@pytest.mark.process
def test_no_store_yet_is_one_line(project: Path) -> None:
    result = slowfast(project, "clips", "status")
    assert result.returncode == 1
    assert "there is no clip store yet" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (5 * 2**30, "5.0 GB"), (2**51, "2048.0 TB")],
)
def test_readable_bytes(number: int, text: str) -> None:
    assert readable_bytes(number) == text
