"""What several test files share, and which tests belong to `make fast` and `make test`."""

from __future__ import annotations

import multiprocessing.process
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic

from slowfast_finetune.base.params import Params

TESTS = Path(__file__).parent
# Marks that a test has by its room, and by a fixture that it uses.
MARKS_OF_ROOM = {"browser": ("process", "extended"), "exporting": ("slow",)}
MARKS_OF_FIXTURE = {
    "alone": ("process",),
    "browser": ("process", "extended"),
    "cached": ("process",),
    "one_server": ("process",),
    "project": ("process",),
    "stored": ("process",),
    "undisturbed": ("process",),
}
# Every process that was started since the last test.
STARTED: list[str] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark by room and fixture; leave out the real videos where no folder of them is named."""
    for item in items:
        room = item.path.relative_to(TESTS).parts[0]
        names = set(MARKS_OF_ROOM.get(room, ()))
        for fixture in getattr(item, "fixturenames", ()):
            names.update(MARKS_OF_FIXTURE.get(fixture, ()))
        for name in names:
            item.add_marker(name)
    if "SLOWFAST_REAL_VIDEOS" not in os.environ:
        left_out = [item for item in items if item.get_closest_marker("real_videos")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("real_videos")]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed what is random for all, so that a test does not depend on those that ran before it."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        # torch.manual_seed notes where it was called for every kind of device that is never used.
        torch.default_generator.manual_seed(0)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(0)


@pytest.fixture(scope="session", autouse=True)
def _record_processes() -> Iterator[None]:
    """Note every process that this one starts."""
    start_command, start_worker = (
        subprocess.Popen.__init__,
        multiprocessing.process.BaseProcess.start,
    )

    def command(process: subprocess.Popen[Any], *args: Any, **options: Any) -> None:
        STARTED.append(f"subprocess.Popen{args}")
        start_command(process, *args, **options)

    def worker(process: multiprocessing.process.BaseProcess) -> None:
        STARTED.append(f"{process}.start()")
        start_worker(process)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", command)
        patch.setattr(multiprocessing.process.BaseProcess, "start", worker)
        yield


@pytest.fixture(autouse=True)
def _processes_are_marked(
    _record_processes: None, request: pytest.FixtureRequest
) -> Iterator[None]:
    """Fail a test of `make fast` that starts a process, itself or by its fixtures."""
    yield
    started = STARTED.copy()
    STARTED.clear()
    if started and "not process" in request.config.option.markexpr:
        pytest.fail(f"mark this test `process`: it started {started[0]}")


@pytest.fixture(scope="session", autouse=True)
def _few_trees() -> Iterator[None]:
    """Fit few forests of few trees in this process: each takes as long, and one fact needs one.

    The commands and stages that tests start as processes fit whole forests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slowfast_finetune.evaluation.metadata_baseline.NUM_TREES", 5)
        patch.setattr("slowfast_finetune.evaluation.metadata_baseline.REPEATS", 2)
        yield


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of six mp4 files, 64×48, ten frames at 15 fps. Shared: change nothing in it."""
    root = tmp_path_factory.mktemp("class_folders") / "videos"
    return synthetic.write_class_folders(root, {"clap": 6, "jump": 6, "wave": 6})


@pytest.fixture
def small_params() -> Callable[..., Params]:
    """A maker of small valid parameters: ``small_params(train={"epochs": 3})`` changes some."""
    return synthetic.make_params


@pytest.fixture
def clip_store_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty clip store, which ``CLIP_STORE`` points at."""
    root = tmp_path / "clip_store"
    monkeypatch.setenv("CLIP_STORE", str(root))
    return root
