"""models/best.pt and models/best_model.pt2: what is written can be used, what is not is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic import make_params

from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.model import exported_program
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    Preprocessing,
    classifier_from,
    load_checkpoint,
    save_checkpoint,
    view_params,
)
from slowfast_finetune.model.exported_program import export_program
from slowfast_finetune.model.slowfast import build_slowfast


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(3)
    network = build_slowfast("slowfast_shallow", num_classes=3)
    return Checkpoint(
        model_state=network.state_dict(),
        class_names=["jump", "run", "walk, slowly"],
        preprocessing=Preprocessing(
            num_frames=8, sample_fps=10.0, short_side=40, crop_size=32, padding="repeat_last"
        ),
        params={"model": {"name": "slowfast_shallow"}},
        epoch=4,
        val_loss=0.5,
        provenance={"seed": 3},
        temperature=0.5,
    )


@pytest.fixture(scope="module")
def saved(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "best.pt"
    save_checkpoint(path, checkpoint)
    return path


def test_checkpoint_is_a_plain_dict_with_the_documented_keys(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    assert set(content) == {
        "model_state",
        "class_names",
        "preprocessing",
        "params",
        "epoch",
        "val_loss",
        "provenance",
        "temperature",
        "threshold",
        "class_distances",
        "seen",
        "format_version",
    }
    assert content["preprocessing"] == {
        "num_frames": 8,
        "sample_fps": 10.0,
        "short_side": 40,
        "crop_size": 32,
        "padding": "repeat_last",
        "alpha": 4,
        "mean": 0.45,
        "std": 0.225,
    }


def test_loaded_classifier_gives_the_same_logits(saved: Path, checkpoint: Checkpoint) -> None:
    clips = torch.randint(0, 256, (2, 8, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(
            classifier_from(load_checkpoint(saved))(clips), classifier_from(checkpoint)(clips)
        )


def whole(**changes: Any) -> dict[str, Any]:
    """A small checkpoint file's content with something else in it."""
    preprocessing = Preprocessing(
        num_frames=8, sample_fps=10.0, short_side=40, crop_size=32, padding="repeat_last"
    )
    return {
        "model_state": {},
        "class_names": ["a", "b"],
        "preprocessing": vars(preprocessing),
        "params": {"model": {"name": "slowfast_shallow"}},
        "epoch": 1,
        "val_loss": 0.5,
        "provenance": {},
        "temperature": 1.5,
        "threshold": 0.4,
        "format_version": 3,
    } | changes


def shaped(**changes: Any) -> dict[str, Any]:
    """As :func:`whole`, with other preprocessing."""
    return whole(preprocessing=whole()["preprocessing"] | changes)


def test_what_the_changed_ones_are_made_from_is_sound(tmp_path: Path) -> None:
    torch.save(whole(), tmp_path / "whole.pt")
    assert load_checkpoint(tmp_path / "whole.pt").class_names == ["a", "b"]


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate": {"temporal_views": "x", "spatial_crops": 1}},
        {"evaluate": None},
        {"clip": {"max_seconds": 0}},
    ],
)
def test_parameters_of_the_views_that_make_no_sense(checkpoint: Checkpoint, changes: Any) -> None:
    params = make_params().model_dump(mode="json")
    clip, views = view_params(dataclasses.replace(checkpoint, params=params))
    assert (clip.num_frames, views.spatial_crops) == (8, 1)
    with pytest.raises(CheckpointError, match=r"params\.evaluate or params\.clip is not as"):
        view_params(dataclasses.replace(checkpoint, params=params | changes))


def test_a_checkpoint_of_an_earlier_version_is_read(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """These sections hold the keys of format 3 when it was first written, and no others."""
    params: dict[str, Any] = {
        "model": {"name": "slowfast_shallow"},
        "clip": {
            "num_frames": 8,
            "sample_fps": 15.0,
            "short_side": 32,
            "max_seconds": 60.0,
            "padding": "loop",
        },
        "evaluate": {"temporal_views": 3, "spatial_crops": 1},
    }
    save_checkpoint(tmp_path / "best.pt", dataclasses.replace(checkpoint, params=params))
    read_clip, views = view_params(load_checkpoint(tmp_path / "best.pt"))
    assert (read_clip.num_frames, read_clip.max_seconds, read_clip.padding) == (8, 60.0, "loop")
    assert (views.temporal_views, views.spatial_crops) == (3, 1)


def test_cut_short_checkpoint(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes(saved.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="cut short"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_state": {}}, "not a checkpoint of this project"),
        ([1], "not a checkpoint of this project"),
        ({"format_version": 99}, "has format 99; this version reads 3"),
        ({"format_version": 3, "model_state": {}}, "lacks class_names, preprocessing, params"),
        (whole(class_names=None), "class_names, .* is not as this project writes it"),
        (whole(class_names="ab"), "class_names, .* is not as this project writes it"),
        (whole(class_names=["a", "a"]), "class_names, .* is not as this project writes it"),
        (whole(class_names=[]), "class_names, .* is not as this project writes it"),
        (shaped(sample_fps="x"), "preprocessing, .* is not as this project writes it"),
        (shaped(num_frames=0), "preprocessing, .* is not as this project writes it"),
        (shaped(num_frames=10**9), "preprocessing, .* is not as this project writes it"),
        (shaped(crop_size=41), "preprocessing, .* is not as this project writes it"),
        (shaped(crop_size="32"), "preprocessing, .* is not as this project writes it"),
        (shaped(alpha=8), "preprocessing, .* is not as this project writes it"),
        (whole(preprocessing=None), "preprocessing, .* is not as this project writes it"),
        (whole(params={}), "params, .* is not as this project writes it"),
        (whole(params={"model": {"name": "other"}}), "params, .* is not as this project writes it"),
        (whole(temperature=0.0), "threshold or seen is not as this project writes it"),
        (
            whole(temperature="warm"),
            "threshold or seen is not as this project writes it",
        ),
        (whole(temperature=float("inf")), "threshold or seen is not as this"),
        (whole(threshold=1.5), "threshold or seen is not as this project writes it"),
    ],
)
def test_foreign_and_future_checkpoints(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_full_disk_is_an_os_error_and_keeps_the_old_checkpoint(
    saved: Path, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(saved.read_bytes())

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exported_program, "pt2_bytes", lambda *_, **__: b"a program")
    monkeypatch.setattr(Path, "write_bytes", full)
    for write in (save_checkpoint, lambda target, what: export_program(what, target)):
        with pytest.raises(OSError, match="No space left"):
            write(path, checkpoint)
    assert load_checkpoint(path).epoch == checkpoint.epoch
    assert [found.name for found in tmp_path.iterdir()] == ["best.pt"]


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.pt")


def test_weights_that_do_not_fit(checkpoint: Checkpoint) -> None:
    other = Checkpoint(**{**vars(checkpoint), "class_names": ["only", "two"]})
    with pytest.raises(CheckpointError, match="not those of slowfast_shallow with 2 classes"):
        classifier_from(other)


def test_a_program_without_weights_is_of_one_number_of_classes(checkpoint: Checkpoint) -> None:
    more = dataclasses.replace(checkpoint, class_names=[*checkpoint.class_names, "another"])
    others = dataclasses.replace(checkpoint, class_names=checkpoint.class_names[::-1])
    digest = exported_program._frame_digest
    assert digest(more) != digest(checkpoint) == digest(others)


@pytest.mark.process
def test_exported_program_runs_without_this_project(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, frames = tmp_path / "best_model.pt2", tmp_path / "programs"
    # Traced with other weights and temperature; a later program is that one, filled anew.
    state = {name: value + 1 for name, value in checkpoint.model_state.items()}
    other = Checkpoint(**{**vars(checkpoint), "model_state": state, "temperature": 0.9})
    export_program(other, path, frames=frames)
    traced = path.read_bytes()
    (frame,) = frames.iterdir()
    assert frame.stat().st_size < len(traced) / 2
    with monkeypatch.context() as patch:
        patch.setattr(exported_program, "pt2_bytes", None)
        export_program(other, path, frames=frames)
        assert path.read_bytes() == traced
        export_program(checkpoint, path, frames=frames)
    clips = torch.randint(0, 256, (3, 8, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = (classifier_from(checkpoint)(clips) / 0.5).softmax(dim=1)
    torch.save({"clips": clips, "expected": expected}, tmp_path / "io.pt")
    script = """
import json, sys, torch
sys.modules["slowfast_finetune"] = sys.modules["pytorchvideo"] = None  # not importable
extra = {"slowfast.json": ""}
model = torch.export.load("best_model.pt2", extra_files=extra).module()
io = torch.load("io.pt")
with torch.no_grad():
    whole = model(io["clips"])
    single = model(io["clips"][:1])
print(json.dumps([
    (whole - io["expected"]).abs().max().item(),
    (single - io["expected"][:1]).abs().max().item(),
    json.loads(extra["slowfast.json"])["class_names"],
    json.loads(extra["slowfast.json"])["preprocessing"]["num_frames"],
]))
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    difference, single_difference, names, num_frames = json.loads(result.stdout)
    assert difference < 1e-5
    assert single_difference < 1e-5
    assert names == ["jump", "run", "walk, slowly"]
    assert num_frames == 8
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []
