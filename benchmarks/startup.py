"""Seconds a person waits: for the command's help, and from calling train to its first step."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.comparison import in_turn, timed
from benchmarks.drawn_videos import draw_video, write_copies
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import PROJECT, changed_values

HELP, FIRST_STEP = "slowfast --help", "train, to its first optimiser step"
TARGET_HELP = 0.3
CLASS_NAMES = ("clap", "jump")
VIDEOS_A_CLASS = 8
# Runs a script as Python would, and ends where an optimiser has made its first step.
UNTIL_FIRST_STEP = """
import os, runpy, sys
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(lambda *_: os._exit(0))
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
os._exit(3)
"""


def run(*, rounds: int, out: Path) -> None:
    """Measure both in turn, print a table, write startup.json."""
    command = Path(sys.executable).parent / "slowfast"
    if not command.exists():
        raise SystemExit(f"error: {command} is missing; install the project first: make setup")
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        project = Path(folder)
        prepare_project(project)
        seconds = in_turn(
            {
                HELP: lambda: _seconds_of([str(command), "--help"], project),
                FIRST_STEP: lambda: seconds_to_first_step(project),
            },
            rounds=rounds,
        )
    rows = [
        [name, f"{statistics.median(turns):.2f}", f"{min(turns):.2f} to {max(turns):.2f}"]
        for name, turns in seconds.items()
    ]
    print(format_table(["", "seconds", "lowest to highest"], rows), end="\n\n")
    median = statistics.median(seconds[HELP])
    targets = [Target(f"{HELP}, seconds", TARGET_HELP, median, at_most=True)]
    finish("startup", out=out, results={"seconds": seconds}, targets=targets)


def prepare_project(project: Path) -> None:
    """Draw a few small videos into an empty folder and bring it to where train is next."""
    original = draw_video(project / "drawn.mp4", width=96, height=72, num_frames=60)
    for index, class_name in enumerate(CLASS_NAMES):
        first = index * VIDEOS_A_CLASS
        folder = project / "videos" / class_name
        write_copies(original, folder, count=VIDEOS_A_CLASS, first=first)
    values = changed_values(
        data={"videos": "videos", "val_fraction": 0.25, "test_fraction": 0.25}
        | {"extensions": [".mp4"], "group_pattern": None},
        clip={"num_frames": 16, "sample_fps": 10, "short_side": 64},
        model={"name": "slowfast_shallow", "weights": "none"},
    )
    text = yaml.safe_dump(values, sort_keys=False)
    (project / "params.yaml").write_text(text, encoding="utf-8")
    for stage in ("index.py", "cache.py"):
        _seconds_of([sys.executable, str(PROJECT / "stages" / stage)], project)


def seconds_to_first_step(project: Path) -> float:
    """From starting ``python stages/train.py`` in a prepared project to its first step.

    Python's start, the imports, the model, the first batch and the sanity check are in it; DVC is
    not.
    """
    script = str(PROJECT / "stages" / "train.py")
    return _seconds_of([sys.executable, "-c", UNTIL_FIRST_STEP, script], project)


def _seconds_of(command: Sequence[str], folder: Path) -> float:
    with timed() as watch:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "CLIP_STORE": str(folder / "clips")},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(command[:2])} failed: {done.stderr[-2000:]}")
    return watch.seconds
