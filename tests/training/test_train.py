"""The train stage as a person runs it: killed, resumed, shared by devices, recorded."""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline_imports import PROJECT
from small_run import (
    CLASS_NAMES,
    assert_same_weights,
    best,
    history,
    refused,
    run_python,
    start_training,
    train,
    wait_for,
    with_export,
    without_export,
    write_project,
)
from synthetic import read_entry, write_params

from slowfast_finetune.base import console
from slowfast_finetune.base.manifest_table import Split
from slowfast_finetune.base.params import load_params
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.clips.windows import ViewPlan
from slowfast_finetune.model.checkpoint import classifier_from, load_checkpoint
from slowfast_finetune.model.slowfast import build_slowfast
from slowfast_finetune.scoring.calibration import calibrate
from slowfast_finetune.scoring.novelty import ClassDistances
from slowfast_finetune.scoring.views import view_stored

# Everything that is random or has a memory: dropout, momentum, an average of weights, mixing.
RICH: dict[str, Any] = {
    "model": {"dropout_rate": 0.5},
    "train": {
        "epochs": 3,
        "ema_decay": 0.9,
        "schedule": "cosine",
        "warmup_epochs": 1,
        "max_grad_norm": 1.0,
        "class_balance": "sampler",
        "batch_norm": "precise",
    },
    "augment": {"mixup_alpha": 0.3, "max_zoom": 1.3, "rand_augment_ops": 1},
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_project(folder, **RICH)
    train(folder)
    return folder


@pytest.mark.process
def test_the_best_epoch_is_left_as_a_program_too(tmp_path: Path) -> None:
    write_project(tmp_path, train={"epochs": 1})
    train(tmp_path, with_export)
    program = torch.export.load(tmp_path / "models/best_model.pt2").module()
    checkpoint = load_checkpoint(tmp_path / "models/best.pt")
    clips = torch.randint(0, 256, (3, 8, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = torch.softmax(classifier_from(checkpoint)(clips) / checkpoint.temperature, 1)
        torch.testing.assert_close(program(clips), expected, rtol=1e-3, atol=1e-4)


def test_what_a_run_leaves(undisturbed: Path) -> None:
    assert len(history(undisturbed)) == 3
    summary = json.loads((undisturbed / "metrics/train.json").read_text())
    checkpoint = best(undisturbed)
    assert summary["best_epoch"] == checkpoint["epoch"]
    assert summary["best_val_loss"] == round(checkpoint["val_loss"], 4)
    (run,) = summary["run"]
    made_from = checkpoint["provenance"]
    assert {key: run[key] for key in made_from} == made_from
    assert run["params"] == checkpoint["params"]
    assert run["epochs"] == 3
    assert made_from["seed"] == 0
    assert made_from["versions"]["torch"] == torch.__version__
    assert run["parameters_trained"] == sum(
        parameter.numel()
        for parameter in build_slowfast("slowfast_shallow", num_classes=3).parameters()
    )
    models = {path.name for path in (undisturbed / "models").iterdir()}
    assert models == {"best.pt", "best_model.pt2", ".training.lock", ".training.pid"}
    assert summary["train_minutes"] > 0
    assert run["clips_per_second"] > 0
    assert 0 <= run["data_wait_fraction"] < 1


def test_best_epoch_is_calibrated_on_the_validation_clips(undisturbed: Path) -> None:
    params = load_params(undisturbed / "params.yaml")
    rows = [row for row in CLIPS.read_rows(undisturbed / "data/clips.csv") if row.split == "val"]
    store = ClipStore(undisturbed / "store", params.clip)
    checkpoint = load_checkpoint(undisturbed / "models/best.pt")
    size, frames = params.train.crop_size, params.clip.num_frames
    clips = []
    for row in rows:
        stored = read_entry(store, row.content_hash)
        start, top, left = (
            (whole - part) // 2
            for whole, part in zip(stored.shape[:3], (frames, size, size), strict=True)
        )
        window = stored[start : start + frames, top : top + size, left : left + size]
        clips.append(torch.from_numpy(window.copy()))
    with torch.no_grad():
        logits = classifier_from(checkpoint)(torch.stack(clips)).numpy()
    expected = calibrate(logits, np.array([row.label for row in rows]))
    assert checkpoint.temperature == pytest.approx(expected.temperature, rel=0.02)
    assert checkpoint.threshold == pytest.approx(expected.threshold, rel=0.02)
    assert checkpoint.temperature != 1.0
    # Of six validation videos, shown as evaluate shows them, the strangest lies at the limit.
    distances = ClassDistances.of(checkpoint)
    assert distances is not None
    shown = view_stored(
        rows,
        checkpoint=checkpoint,
        clips=store.folder,
        runtime=params.runtime,
        views=ViewPlan(**params.evaluate.model_dump()),
    )
    assert len(rows) == 6
    assert max(shown.novelty(distances)) == pytest.approx(1, abs=0.005)


def with_lines_after_every_step() -> None:
    without_export()
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    console.SECONDS_BETWEEN_LINES = 0


@pytest.mark.process
def test_what_is_no_terminal_gets_a_log_of_whole_lines(tmp_path: Path) -> None:
    """Output and errors into one file, and a line of progress after every step."""
    write_project(tmp_path)
    train(tmp_path, with_lines_after_every_step)
    text = (tmp_path / "output.txt").read_text()
    assert not set(text) & {"\r", "\x1b", "\t"}
    kinds = {
        "progress of an epoch": r"epoch [12]/2: \d+ of 15, [\d.e+]+ clip/s, \d:\d\d:\d\d left, "
        r"waiting for data \d+%",
        "row of an epoch": r" {6}[12] [ \d.e+-]+% +[\d.]+ GB +[\d.]+(  best)?",
    }
    found = {
        name: sum(bool(re.fullmatch(kind, line)) for line in text.splitlines())
        for name, kind in kinds.items()
    }
    steps_per_epoch = len(range(0, 15, load_params(tmp_path / "params.yaml").train.batch_size))
    assert found == {"progress of an epoch": 2 * steps_per_epoch, "row of an epoch": 2}, text
    assert (tmp_path / "logs/train.log").read_text().splitlines() == [
        line for line in text.splitlines() if not line.startswith(("epoch", "viewing"))
    ]


# Where a run of three epochs of four steps is killed: at which call of what, by the name of
# its module and its own; and the epochs and steps that this run found done.
MOMENTS: list[tuple[str, str, int, str]] = [
    ("train", "try_a_step", 1, ""),
    ("engine", "take_step", 1, ""),
    ("engine", "take_step", 3, ""),
    ("resume", "torch.save", 2, "0 epochs and 2 steps"),  # while the state is written
    ("engine", "validate", 1, "0 epochs and 3 steps"),
    ("run", "TrainingRun._save", 1, "0 epochs and 4 steps"),  # the best is newer than the state
    ("run", "UnfinishedRun.save", 1, "0 epochs and 4 steps"),  # the best has been read
    ("engine", "take_step", 6, "0 epochs and 4 steps"),
    ("engine", "validate", 1, "2 epochs and 1 steps"),
    ("run", "load_checkpoint", 1, "2 epochs and 4 steps"),
    ("run", "export_program", 1, "3 epochs"),  # the best checkpoint is calibrated
    ("run", "write_summary", 1, "3 epochs"),
    ("resume", "UnfinishedRun.clear", 1, "3 epochs"),
]


def die_at(module_name: str, name: str, number: int) -> None:
    """Let the process kill itself at a call; where that writes a file, after half of it."""
    without_export()
    owner: Any = importlib.import_module(f"slowfast_finetune.training.{module_name}")
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    calls, really = itertools.count(1), getattr(owner, last)

    def call(*values: Any, **options: Any) -> Any:
        if next(calls) < number:
            return really(*values, **options)
        if name == "torch.save":
            really(*values, **options)
            os.truncate(values[1], Path(values[1]).stat().st_size // 2)
        return os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, last, call)


@pytest.mark.extended
@pytest.mark.process
def test_killed_at_any_moment_it_ends_with_the_same_weights(
    undisturbed: Path, tmp_path: Path
) -> None:
    # A state is saved after every step.
    write_project(tmp_path, **RICH, runtime={"save_minutes": 1e-9})
    for module, name, number, done in MOMENTS:
        run = start_training(tmp_path, functools.partial(die_at, module, name, number))
        assert run.wait() == -signal.SIGKILL, f"{name}: it came to its end"
        output = (tmp_path / "output.txt").read_text()
        found = re.search(r"resuming an unfinished run: (\d epochs(?: and \d steps)?)", output)
        assert (found.group(1) if found else "") == done, name
        # DVC deletes the outputs before it runs a stage again.
        for name in ("models/best.pt", "metrics/history.csv", "logs/train.log"):
            (tmp_path / name).unlink(missing_ok=True)
    output = train(tmp_path)
    assert "resuming an unfinished run: 3 epochs are done" in output
    assert history(tmp_path) == history(undisturbed)
    assert_same_weights(tmp_path, undisturbed)
    assert best(tmp_path)["epoch"] == best(undisturbed)["epoch"]
    assert not (tmp_path / "models/.unfinished").exists()


def stop_after(folder: Path, epoch: int) -> None:
    """Kill a run once it has told of an epoch."""
    run = start_training(folder)
    wait_for(folder, f"      {epoch}  ")
    run.kill()


@pytest.mark.process
def test_state_of_another_configuration_is_not_picked_up(tmp_path: Path) -> None:
    changes = {"train": {"epochs": 40}}
    params = write_project(tmp_path, **changes)
    stop_after(tmp_path, 2)
    assert (tmp_path / "models/.unfinished/state.pt").exists()
    other = params.model_copy(
        update={"train": params.train.model_copy(update={"learning_rate": 2e-3, "epochs": 2})}
    )
    write_params(tmp_path / "params.yaml", other)
    output = train(tmp_path)
    assert "is of other parameters, clips or code; starting anew" in output
    assert len(history(tmp_path)) == 2


@pytest.mark.process
def test_a_damaged_state_is_told_and_not_used(tmp_path: Path) -> None:
    write_project(tmp_path)
    state = tmp_path / "models/.unfinished/state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"PK nothing")
    assert "cannot be read" in train(tmp_path)
    assert len(history(tmp_path)) == 2


@pytest.mark.process
def test_no_room_for_the_state_does_not_stop_training(tmp_path: Path) -> None:
    write_project(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/.unfinished").write_text("a file where the folder should be")
    output = train(tmp_path)
    assert "warning: the state to go on from cannot be saved" in output
    assert len(history(tmp_path)) == 2
    assert best(tmp_path)["epoch"] in (1, 2)


@pytest.mark.process
def test_two_trainers_in_one_workspace_are_refused(tmp_path: Path) -> None:
    write_project(tmp_path, train={"epochs": 200})
    first = start_training(tmp_path)
    try:
        wait_for(tmp_path, "sanity check")
        assert refused(tmp_path) == (
            f"error: process {first.pid} is training into models, perhaps left over from a killed "
            f"`dvc repro`; wait for it, or stop it: kill {first.pid}\n"
        )
    finally:
        first.kill()


def frozen_start(folder: Path) -> dict[str, Any]:
    """Parameters that begin with a file of weights, so that statistics may be frozen."""
    torch.manual_seed(5)
    network = build_slowfast("slowfast_shallow", num_classes=7)
    torch.save({"model_state": network.state_dict()}, folder / "first.pyth")
    return {
        "model": {"weights": str(folder / "first.pyth")},
        "train": {"batch_norm": "frozen", "frozen_epochs": 1, "epochs": 3, "batch_size": 4},
        "augment": {"mixup_alpha": 0.3, "rand_augment_ops": 1},
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, whole steps of four clips."""
    folder = tmp_path_factory.mktemp("alone")
    write_project(folder, **frozen_start(folder))
    train(folder)
    return folder


def assert_nearly_equal(one: Path, other: Path) -> None:
    for first, second in zip(history(one), history(other), strict=True):
        numbers = [{k: v for k, v in row.items() if v is not None} for row in (first, second)]
        assert numbers[1] == pytest.approx(numbers[0], rel=2e-3, abs=2e-4)
    assert_same_weights(one, other, tolerance=2e-3)


@pytest.mark.extended
@pytest.mark.parametrize("launcher", ["runtime.devices", "torchrun"])
def test_two_processes_train_to_the_same_numbers_as_one(
    launcher: str, alone: Path, tmp_path: Path
) -> None:
    """Two of 15 clips a step's last are left over for one device: steps of 4, 4, 4 and 3."""
    changes = frozen_start(alone)
    changes["model"]["weights"] = str(alone / "first.pyth")
    words = [str(PROJECT / "stages" / "train.py")]
    if launcher == "torchrun":
        words = ["-m", "torch.distributed.run", "--nproc-per-node=2", *words]
        write_project(tmp_path, **changes)
    else:
        write_project(tmp_path, **changes, runtime={"devices": 2})
    output = run_python(tmp_path, *words)
    assert "2 × CPU" in output
    assert output.count("sanity check") == 1, "one process speaks"
    assert_nearly_equal(alone, tmp_path)


def test_parts_of_steps_train_to_the_same_numbers_as_whole_ones(
    alone: Path, tmp_path: Path
) -> None:
    write_project(tmp_path, **frozen_start(alone), runtime={"batch_size_per_device": 3})
    output = train(tmp_path)
    assert "4 clips a step: 3 at once, gradients added up over 2 parts" in output
    assert_nearly_equal(alone, tmp_path)


def on_32_cores() -> None:
    """There, eight threads read ahead; on two cores, one does."""
    without_export()
    os.cpu_count = lambda: 32


def test_number_of_workers_and_reading_threads_changes_nothing(alone: Path, tmp_path: Path) -> None:
    write_project(tmp_path, **frozen_start(alone), runtime={"num_workers": 0})
    train(tmp_path, on_32_cores)
    assert history(tmp_path) == history(alone)
    assert_same_weights(tmp_path, alone)


def test_best_checkpoint_of_other_classes_begins_another_training(
    alone: Path, tmp_path: Path
) -> None:
    write_project(tmp_path, model={"weights": str(alone / "models/best.pt")})
    output = train(tmp_path)
    loaded = len(best(alone)["model_state"]) - 2
    assert (
        f"model: slowfast_shallow from {alone}/models/best.pt: {loaded} tensors loaded; in the "
        "last layer 0 classes are new, 3 kept by their names, 0 dropped\n"
    ) in output
    assert best(tmp_path)["provenance"]["initial_weights"] in output
    assert best(tmp_path)["class_names"] == list(CLASS_NAMES)


@pytest.mark.process
def test_test_videos_that_trained_the_first_weights_are_counted(
    undisturbed: Path, tmp_path: Path
) -> None:
    assert best(undisturbed)["provenance"]["test_videos_seen"] == 0
    weights = undisturbed / "models/best.pt"
    write_project(tmp_path, model={"weights": str(weights)}, train={"epochs": 1})
    path = tmp_path / "data" / "clips.csv"
    rows = CLIPS.read_rows(path)
    # What chose the first model's epoch, two videos of each class, is tested now.
    exchanged: dict[Split, Split] = {"train": "train", "val": "test", "test": "val"}
    rows = [row._replace(split=exchanged[row.split]) for row in rows]
    CLIPS.write(path, rows)
    output = train(tmp_path)
    assert (
        f"warning: 6 of the 6 test videos trained {weights} or chose its epoch; "
        "their accuracy will be too high\n"
    ) in output
    assert best(tmp_path)["provenance"]["test_videos_seen"] == 6
    # 24 videos: 15 trained both models, 6 chose the first one's epoch, 3 the second one's.
    assert len(best(tmp_path)["seen"]) == 24


@pytest.mark.process
def test_what_a_file_of_weights_does_not_say_is_not_known(alone: Path, tmp_path: Path) -> None:
    content = torch.load(alone / "models/best.pt", weights_only=True)
    del content["seen"]
    torch.save(content, tmp_path / "mine.pt")
    write_project(tmp_path, model={"weights": "mine.pt"}, train={"epochs": 1})
    output = train(tmp_path)
    assert "warning: if mine.pt was trained on some of the test videos, which its file" in output
    assert best(tmp_path)["provenance"]["test_videos_seen"] is None
    assert best(tmp_path)["seen"] is None


@pytest.mark.process
def test_mirrored_class_names_are_refused_before_any_work(tmp_path: Path) -> None:
    write_project(tmp_path)
    table = tmp_path / "data/clips.csv"
    text = table.read_text().replace(",clap,", ",turn left,").replace(",jump,", ",turn right,")
    table.write_text(text)
    errors = refused(tmp_path)
    assert errors.startswith("error: augment.horizontal_flip: 0.5 would show 'turn left' as its")
    assert errors.count("\n") == 1
    assert not (tmp_path / "models").exists()


def without_tensorboard() -> None:
    sys.modules["tensorboard"] = None  # type: ignore[assignment]


@pytest.mark.process
def test_tensorboard_is_an_extra(tmp_path: Path) -> None:
    write_project(tmp_path, runtime={"tensorboard": True})
    assert refused(tmp_path, without_tensorboard) == (
        "error: runtime.tensorboard: true needs tensorboard, which is not installed: "
        "pip install 'slowfast-finetune[tensorboard]'\n"
    )


def with_a_compiler_that_fails() -> None:
    without_export()

    def compile_model(model: torch.nn.Module, **_: object) -> Any:
        def run(clips: object) -> None:
            raise RuntimeError("no compiler\nhere")

        wrapper: Any = torch.nn.Module()
        wrapper.inner, wrapper.forward = model, run
        return wrapper

    module: Any = torch
    module.compile = compile_model


@pytest.mark.process
def test_compiler_that_fails_is_told_and_done_without(tmp_path: Path) -> None:
    write_project(tmp_path, runtime={"compile": True})
    output = train(tmp_path, with_a_compiler_that_fails)
    assert "runs without torch.compile, which failed: no compiler here" in output
    assert len(history(tmp_path)) == 2
