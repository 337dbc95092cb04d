"""A project of a few drawn clips that is ready to be trained on, and its training as a process."""

from __future__ import annotations

import functools
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver, popen_forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from pipeline_imports import PROJECT
from synthetic import make_params, make_rows, write_entry, write_params

from slowfast_finetune.base.manifest_table import Split
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.training import probe, run
from slowfast_finetune.training.history import HISTORY

# A process that has imported what training needs, which takes seconds; those that train are copies
# of it. The package has another one, which decodes.
SERVER = forkserver.ForkServer()
SERVER.set_forkserver_preload(["training_imports"])
SUPPORT = str(Path(__file__).parent)


class TrainingProcess(ForkServerProcess):
    """A process that is a copy of SERVER's."""

    @staticmethod
    def _Popen(process: Any) -> popen_forkserver.Popen:
        # The server does not search where this process does, and says nothing of what it misses.
        path = os.pathsep.join(filter(None, [SUPPORT, os.environ.get("PYTHONPATH")]))
        with mock.patch.dict(os.environ, PYTHONPATH=path):
            SERVER.ensure_running()
        connect = SERVER.connect_to_new_process
        with mock.patch.object(forkserver, "connect_to_new_process", connect):
            return popen_forkserver.Popen(process)


CLASS_NAMES = ("clap", "jump", "wave")
SPLITS: tuple[Split, ...] = ("train",) * 5 + ("val",) * 2 + ("test",)
# What differs between two runs of the same.
MEASURED = {
    "train_seconds",
    "epoch_seconds",
    "clips_per_second",
    "data_wait_fraction",
    "peak_memory_mb",
}


def write_project(folder: Path, **sections: dict[str, Any]) -> Params:
    """params.yaml, data/clips.csv and a clip store of 3 × 8 clips of noise, a colour a class."""
    params = make_params(**sections)
    store = ClipStore(folder / "store", params.clip)
    rng = np.random.default_rng(0)
    rows = []
    for label, class_name in enumerate(CLASS_NAMES):
        changes = {"class_name": class_name, "label": label, "num_frames": 12, "num_sampled": 12}
        for index, (row, split) in enumerate(
            zip(make_rows(len(SPLITS), **changes), SPLITS, strict=True)
        ):
            row = row._replace(
                split=split,
                video_path=f"{class_name}/{index}.mp4",
                content_hash=f"{label * 100 + index:032x}",
                settings=store.folder.name,
            )
            frames = rng.integers(0, 150, (row.num_frames, row.height, row.width, 3), np.uint8)
            frames[..., label] += 60
            write_entry(store, row, frames)
            rows.append(row)
    CLIPS.write(folder / "data" / "clips.csv", rows)
    write_params(folder / "params.yaml", params)
    return params


class Training:
    """The train stage in a process of its own, with one thread.

    What it prints goes to ``output.txt`` and ``errors.txt`` in its folder.
    """

    def __init__(self, folder: Path, prepare: Callable[[], None]) -> None:
        self._process = TrainingProcess(target=_train, args=(folder, prepare))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def wait(self) -> int:
        """Wait for its end; the exit code, or the number of the signal that ended it, negative."""
        self._process.join(300)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode

    def kill(self) -> int:
        """End it by SIGKILL; as :meth:`wait`."""
        self._process.kill()
        return self.wait()


def _train(folder: Path, prepare: Callable[[], None]) -> None:
    assert "training_imports" in sys.modules, "the server has not imported what training needs"
    os.chdir(folder)
    os.environ["CLIP_STORE"] = str(folder / "store")
    for stream, name in ((sys.stdout, "output.txt"), (sys.stderr, "errors.txt")):
        with Path(name).open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    torch.set_num_threads(1)
    prepare()
    sys.argv = ["train.py"]
    runpy.run_path(str(PROJECT / "stages" / "train.py"), run_name="__main__")


def without_export() -> None:
    """Write an empty file in place of best_model.pt2, which takes longer than all the rest."""
    for module in (run, probe):
        exporting: Any = module
        exporting.export_program = lambda _, path, **__: path.write_bytes(b"")


def with_export() -> None:
    """Write best_model.pt2."""


def start_training(folder: Path, prepare: Callable[[], None] = without_export) -> Training:
    """Start the train stage; ``prepare`` is called there first."""
    return Training(folder, prepare)


def train(folder: Path, prepare: Callable[[], None] = without_export) -> str:
    """Train to the end; what was printed."""
    code = start_training(folder, prepare).wait()
    output = (folder / "output.txt").read_text()
    assert code == 0, output + (folder / "errors.txt").read_text()
    return output


def refused(folder: Path, prepare: Callable[[], None] = without_export) -> str:
    """Train where that must end with exit code 1; the error."""
    assert start_training(folder, prepare).wait() == 1
    return (folder / "errors.txt").read_text()


def run_python(folder: Path, *words: str) -> str:
    """Run Python in the project's folder to a good end; what was printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"CLIP_STORE": str(folder / "store"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_for(folder: Path, word: str) -> None:
    """Wait until the process has printed a word."""
    output = folder / "output.txt"
    deadline = time.monotonic() + 60
    while not output.exists() or word not in output.read_text():
        assert time.monotonic() < deadline, (folder / "errors.txt").read_text()
        time.sleep(0.01)


def history(folder: Path) -> list[dict[str, Any]]:
    """Every epoch, without what differs between two runs of the same."""
    rows = HISTORY.read_rows(folder / "metrics" / "history.csv")
    return [{k: v for k, v in row._asdict().items() if k not in MEASURED} for row in rows]


def best(folder: Path) -> dict[str, Any]:
    """The content of models/best.pt."""
    content: dict[str, Any] = torch.load(folder / "models" / "best.pt", weights_only=True)
    return content


def assert_same_weights(one: Path, other: Path, *, tolerance: float = 0.0) -> None:
    """Compare the best epochs of two projects."""
    first, second = best(one)["model_state"], best(other)["model_state"]
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(
            second[name],
            value,
            rtol=tolerance,
            atol=tolerance,
            msg=functools.partial("{}: {}".format, name),
        )
