"""A project of a few drawn clips that is ready to be trained on, and its training as a process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pipeline_imports import PROJECT
from synthetic import make_params, make_rows, write_entry, write_params

from slowfast_finetune.base.manifest_table import Split
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.training.history import HISTORY

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


def start_training(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """The train stage as its own process; one thread, so that tests share the machine.

    What it prints goes to ``output.txt`` and ``errors.txt``.
    """
    with (folder / "output.txt").open("w") as output, (folder / "errors.txt").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, *(words or (str(PROJECT / "stages" / "train.py"),))],
            cwd=folder,
            env=os.environ | {"CLIP_STORE": str(folder / "store"), "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=errors,
        )


def train(folder: Path, *words: str) -> str:
    """Train to the end; what was printed."""
    code = start_training(folder, *words).wait(timeout=300)
    output = (folder / "output.txt").read_text()
    assert code == 0, output + (folder / "errors.txt").read_text()
    return output


def refused(folder: Path, *words: str) -> str:
    """Train where that must end with exit code 1; the error."""
    assert start_training(folder, *words).wait(timeout=60) == 1
    return (folder / "errors.txt").read_text()


def wait_for(folder: Path, word: str) -> None:
    """Wait until the process has printed a word."""
    deadline = time.monotonic() + 60
    while word not in (folder / "output.txt").read_text():
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
