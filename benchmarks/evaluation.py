"""The evaluate stage against the bare forward passes of its views."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparison import in_turn, speed_ratio, timed
from benchmarks.experiment import prepare
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import quiet, values_of_preset
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.demo.generator import generate_demo
from slowfast_finetune.evaluation.evaluate import evaluate_checkpoint
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    Preprocessing,
    save_checkpoint,
)
from slowfast_finetune.model.slowfast import build_slowfast
from slowfast_finetune.scoring.ready import made_ready, views_at_once

STAGE, FORWARD = "the evaluate stage", "forward passes of one batch in memory"
TARGET = 1.1
VIDEOS_PER_PERSON = 12  # six actions, two videos of each


def run(*, videos: int, views: Sequence[str], rounds: int, out: Path) -> None:
    """Measure each number of views, print a table, write evaluate.json."""
    results: dict[str, Any] = {}
    targets, lines = [], []
    with tempfile.TemporaryDirectory(prefix="evaluate-") as folder:
        params, rows = drawn_people(Path(folder), videos)
        for choice in views:
            temporal, spatial = (int(number) for number in choice.split("x"))
            looks = {"temporal_views": temporal, "spatial_crops": spatial}
            changed = params.model_copy(
                update={"evaluate": params.evaluate.model_copy(update=looks)}
            )
            seconds = in_turn(
                {
                    STAGE: partial(_evaluate, Path(folder), changed, rows),
                    FORWARD: partial(forward, Path(folder), changed, videos * temporal * spatial),
                },
                rounds=rounds,
                warm_up=temporal * spatial == 1,
            )
            cost = speed_ratio(seconds[FORWARD], seconds[STAGE])
            lines.append(
                [
                    choice,
                    *(f"{min(seconds[name]):.2f}" for name in (STAGE, FORWARD)),
                    f"{cost.median:.3f} ({cost.lowest:.3f} to {cost.highest:.3f})",
                ]
            )
            results[choice] = {"videos": videos, "seconds": seconds, "ratio": asdict(cost)}
            targets.append(Target(f"{choice}: of {FORWARD}", TARGET, cost.median, at_most=True))
    print(format_table(["views", f"{STAGE} [s]", "forward [s]", "ratio"], lines), end="\n\n")
    finish("evaluate", out=out, results=results, targets=targets)


def drawn_people(
    folder: Path, videos: int, *, preset: str = "demo"
) -> tuple[Params, list[ClipRow]]:
    """A store of drawn people: ``videos`` of them to test on, as many people as make six train."""
    people = -(-videos // VIDEOS_PER_PERSON) + 1
    with quiet():
        generate_demo(folder / "videos", people=people, videos_per_person=2)
    values = values_of_preset(preset)
    values["data"]["videos"] = str(folder / "videos")
    params = Params.model_validate(values)
    rows = prepare(params, folder)
    rows = [
        row._replace(split="test" if index < videos else "train") for index, row in enumerate(rows)
    ]
    names = {row.label: row.class_name for row in rows}
    torch.manual_seed(0)
    network = build_slowfast(params.model.name, num_classes=len(names))
    save_checkpoint(
        folder / "best.pt",
        Checkpoint(
            model_state=network.state_dict(),
            class_names=[names[label] for label in sorted(names)],
            preprocessing=Preprocessing.from_params(params.clip, crop_size=params.train.crop_size),
            params=params.model_dump(mode="json"),
            epoch=1,
            val_loss=1.0,
            provenance={},
        ),
    )
    return params, rows


def _evaluate(folder: Path, params: Params, rows: Sequence[ClipRow]) -> float:
    with timed() as watch, quiet():
        evaluate_checkpoint(
            rows,
            checkpoint_path=folder / "best.pt",
            params=params,
            store=ClipStore(folder, params.clip),
            project=folder,
            results=folder / "metrics",
        )
    return watch.seconds


@torch.inference_mode()
def forward(folder: Path, params: Params, num_views: int) -> float:
    """The same model in the same precision on one batch, as often as makes all views."""
    from slowfast_finetune.model.checkpoint import classifier_from, load_checkpoint

    checkpoint = load_checkpoint(folder / "best.pt")
    model, device = made_ready(classifier_from(checkpoint), params.runtime)
    at_once = views_at_once(checkpoint.preprocessing, device)
    size = checkpoint.preprocessing.crop_size
    frames = checkpoint.preprocessing.num_frames
    clips = torch.randint(
        0, 256, (at_once, frames, size, size, 3), dtype=torch.uint8, device=device
    )
    model(clips)
    with timed() as watch:
        for _ in range(num_views // at_once):
            model(clips)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return watch.seconds
