"""Which unfinished runs are resumed."""

from __future__ import annotations

import itertools
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from cpu_fabric import cpu_fabric
from pipeline_imports import PACKAGE, PROJECT, SOURCE
from synthetic import make_params, make_rows
from toy_learner import Batches, coloured, feed, make_learner

from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.model.checkpoint import Checkpoint, Preprocessing
from slowfast_finetune.training import run
from slowfast_finetune.training.engine import fit
from slowfast_finetune.training.epoch_progress import EpochProgress, TrainingProgress
from slowfast_finetune.training.history import EpochRow
from slowfast_finetune.training.provenance import data_digest
from slowfast_finetune.training.resume import CODE, UnfinishedRun, digest_of_code, fingerprint


def test_code_of_a_run_is_what_the_train_stage_depends_on() -> None:
    deps = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["train"]["deps"]
    folder = f"src/{PACKAGE}/"
    assert set(CODE) == {
        dep.removeprefix(folder).rstrip("/") for dep in deps if dep.startswith(folder)
    }


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that may be changed."""
    return shutil.copytree(SOURCE / PACKAGE, tmp_path / "package")


def edit(name: str) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write("# a comment\n")

    return change


def rename(package: Path) -> None:
    (package / "model" / "speed.py").rename(package / "model" / "faster.py")


@pytest.mark.parametrize(
    "change",
    [
        edit("__init__.py"),
        edit("model/device.py"),
        edit("base/params.py"),
        edit("training/engine.py"),
        edit("scoring/deeper/new.py"),
        edit("clips/table.json"),
        rename,
    ],
)
def test_a_change_of_what_decides_the_weights_discards_an_unfinished_run(
    package: Path, change: Callable[[Path], None]
) -> None:
    before = digest_of_code(package)
    change(package)
    assert digest_of_code(package) != before


@pytest.mark.parametrize(
    "name",
    [
        "comparing/comparison.py",
        "evaluation/evaluate.py",
        "serving/app.py",
        "report/page.py",
        "cli.py",
        "model/__pycache__/device.cpython-311.pyc",
        "model/.device.py.swp",
        "model/device.py~",
    ],
)
def test_a_change_of_anything_else_keeps_it(package: Path, name: str) -> None:
    before = digest_of_code(package)
    edit(name)(package)
    assert digest_of_code(package) == before


def test_what_a_run_is_known_by() -> None:
    """Everything that its weights depend on; the order of the clips, too, but not their names."""
    rows = [row._replace(content_hash=f"{i:032x}") for i, row in enumerate(make_rows(3))]
    learner = make_learner(cpu_fabric())

    def known_by(rows: list[ClipRow] = rows, commit: str = "a", **sections: Any) -> str:
        described = description(rows, commit=commit, **sections)
        return fingerprint(learner, described, rows, batch_size_per_device=2)

    changed = [
        known_by(clip={"sample_fps": 10}),
        known_by(model={"dropout_rate": 0.1}),
        known_by(train={"learning_rate": 1.0}),
        known_by(augment={"max_zoom": 1.5}),
        known_by(rows[:2]),
        known_by(rows[::-1]),
    ]
    assert len({known_by(), *changed}) == 1 + len(changed)
    renamed = [row._replace(video_path=f"z/{row.video_path}") for row in rows]
    assert known_by() == known_by(renamed, evaluate={"temporal_views": 2}, commit="b")


def description(rows: list[ClipRow], *, commit: str, **sections: Any) -> Checkpoint:
    params = make_params(**sections)
    return Checkpoint(
        model_state={},
        class_names=["jump"],
        preprocessing=Preprocessing.from_params(params.clip, crop_size=params.train.crop_size),
        params=params.model_dump(mode="json"),
        epoch=0,
        val_loss=math.inf,
        provenance={"data_digest": data_digest(rows), "git_commit": commit},
    )


def test_a_state_of_another_fingerprint_is_refused_in_a_sentence(tmp_path: Path) -> None:
    UnfinishedRun(tmp_path, "old").save({"anything": 1})
    assert UnfinishedRun(tmp_path, "new").load() == (
        f"an unfinished run in {tmp_path} is of other parameters, clips or code"
    )
    assert UnfinishedRun(tmp_path, "old").load() == {"anything": 1, "fingerprint": "old"}


def test_a_learner_and_its_progress_go_on_from_their_states(tmp_path: Path) -> None:
    """Stopped after the first of two steps of the second epoch; loaded into fresh objects."""
    fabric, val = cpu_fabric(), Batches(coloured([0, 1, 1]))
    changes = {"epochs": 3, "ema_decay": 0.9, "schedule": "cosine"}

    def train(learner, progress, after_step) -> list[EpochRow]:  # type: ignore[no-untyped-def]
        return fit(
            learner,
            feed_of=lambda _: feed([0, 1], [1, 0]),
            val_loader=val,
            progress=progress,
            after_step=after_step,
        )

    whole, progress = make_learner(fabric, **changes), TrainingProgress()

    def save() -> None:
        if (len(progress.history), progress.epoch.step) == (1, 1):
            state = {"learner": whole.state_dict(), "progress": progress.state_dict(fabric)}
            torch.save(state, tmp_path / "state.pt")

    rows = train(whole, progress, save)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed, resumed_progress = make_learner(fabric, seed=1, **changes), TrainingProgress()
    resumed.load_state_dict(state["learner"])
    resumed_progress.load_state_dict(state["progress"], fabric)
    assert resumed_progress.epoch.step == 1
    resumed_rows = train(resumed, resumed_progress, lambda: None)
    for first, second in zip(rows, resumed_rows, strict=True):
        assert (first.train_loss, first.val_loss, first.grad_norm) == (
            second.train_loss,
            second.val_loss,
            second.grad_norm,
        )
    for name, value in whole.evaluation_model.state_dict().items():
        assert torch.equal(resumed.evaluation_model.state_dict()[name], value)


def test_progress_of_an_epoch_that_has_not_begun_can_be_saved() -> None:
    fabric, other = cpu_fabric(), EpochProgress()
    other.load_state_dict(EpochProgress().state_dict(fabric), fabric)
    assert (other.step, other.waiting_share) == (0, 0.0)
    assert other.grad_norms == {"head": [], "backbone": []}


def test_within_an_epoch_the_state_is_saved_when_its_minutes_have_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every two minutes; the clock is read after each step and at each save."""
    saved: list[int] = []

    class Unfinished(UnfinishedRun):
        def save(self, content: Mapping[str, Any]) -> None:
            saved.append(content["progress"]["epoch"]["step"])

    seconds = itertools.chain([119, 120, 120, 239, 240, 240], itertools.repeat(300))
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    nothing: Any = None
    training = run.TrainingRun(
        make_learner(cpu_fabric()),
        nothing,
        nothing,
        nothing,
        Unfinished(tmp_path, ""),
        save_minutes=2,
        saved_at=0.0,
    )
    for _ in range(4):
        training.progress.epoch.step += 1
        training.after_step()
    assert saved == [2, 4]
