"""Computing in 8 bits against fp32 and bf16: clips a second, and what becomes of the answers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from benchmarks.comparison import in_turn, speed_ratio, timed
from benchmarks.evaluation import drawn_people
from benchmarks.report import Target, finish, format_table
from slowfast_finetune.base.files import write_bytes
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.exporting.int8_file import int8_bytes, quantised
from slowfast_finetune.exporting.model_export import export
from slowfast_finetune.exporting.parity import stored_clips
from slowfast_finetune.model.checkpoint import load_checkpoint
from slowfast_finetune.predicting.int8_network import SUFFIX
from slowfast_finetune.predicting.predictor import Predictor, load_model

PRECISIONS = ("fp32", "bf16", "int8")
DRAWN = 24  # videos, of which the ranges are taken
SPEED_WANTED, TURNED_ALLOWED = 1.3, 0.02


def run(
    *, presets: Sequence[str], projects: Sequence[Path], batches: int, rounds: int, out: Path
) -> None:
    """Measure speed on untrained models of presets, answers in trained projects; write int8.json.

    Args:
        projects: folders after ``dvc repro``; their int8 file is written anew.
        batches: so many are computed in a round.
    """
    results: dict[str, Any] = {}
    targets = []
    for preset in presets:
        seconds = _speed(preset, batches=batches, rounds=rounds)
        fastest = {p: speed_ratio(seconds["int8"], seconds[p]) for p in PRECISIONS}
        lines = [
            [name, f"{min(seconds[name]):.2f}", f"{ratio.median:.2f} ({ratio.lowest:.2f} to "
             f"{ratio.highest:.2f})"]
            for name, ratio in fastest.items()
        ]  # fmt: skip
        print(format_table([f"preset {preset}", "s", "int8 is so many times as fast"], lines))
        results[preset] = {"seconds": seconds, "ratios": {p: asdict(r) for p, r in fastest.items()}}
        targets += [
            Target(f"{preset}: speed of {p}", SPEED_WANTED, fastest[p].median)
            for p in ("fp32", "bf16")
        ]
    for project in projects:
        found = _answers(project)
        results[str(project)] = found
        print(format_table([project.name, *found], [["", *map(str, found.values())]]))
        share = found["answers turned"] / found["test videos"]
        targets.append(
            Target(f"{project.name}: answers turned", TURNED_ALLOWED, share, at_most=True)
        )
    finish("int8", out=out, results=results, targets=targets)


def _speed(preset: str, *, batches: int, rounds: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory(prefix="int8-") as name:
        folder = Path(name)
        _, rows = drawn_people(folder, DRAWN, preset=preset)
        (folder / "data").mkdir()
        CLIPS.write(folder / "data" / "clips.csv", rows)
        path = folder / "best.pt"
        # Not by exporting: an untrained model answers at random, and that is refused.
        with mock.patch.dict(os.environ, CLIP_STORE=name):
            network = quantised(load_checkpoint(path), project=folder)
        write_bytes(path.with_suffix(SUFFIX), int8_bytes(*network, checkpoint=path))
        contenders = {}
        for precision in PRECISIONS:
            model = load_model(path, precision=precision, device="cpu")
            shape = model.preprocessing
            side = shape.crop_size
            size = model.clips_at_once, shape.num_frames, side, side, 3
            clips = np.random.default_rng(0).integers(0, 256, size, np.uint8)
            contenders[precision] = partial(_compute, model, clips, batches)
        return in_turn(contenders, rounds=rounds)


def _compute(model: Predictor, clips: npt.NDArray[np.uint8], batches: int) -> float:
    with timed() as watch:
        for _ in range(batches):
            model.logits_and_features(clips)
    return watch.seconds


def _answers(project: Path) -> dict[str, Any]:
    """Top-1 of the centre clips of all test videos in each precision; answers that int8 turns."""
    path = project / "models" / "best.pt"
    export(path, file_format="int8", project=project)
    rows = CLIPS.read_rows(project / "data" / "clips.csv")
    labels = np.array([row.label for row in rows if row.split == "test"])
    models = {p: load_model(path, precision=p, device="cpu") for p in PRECISIONS}
    clips = stored_clips(
        models["fp32"].checkpoint, project=project, split="test", at_most=len(labels)
    )
    size = models["fp32"].clips_at_once
    starts = range(0, len(clips), size)
    answers = {
        name: np.concatenate(
            [model.logits_and_features(clips[at : at + size])[0].argmax(1) for at in starts]
        )
        for name, model in models.items()
    }
    return {
        "test videos": len(labels),
        **{name: round(float((found == labels).mean()), 4) for name, found in answers.items()},
        "answers turned": int((answers["int8"] != answers["fp32"]).sum()),
    }
