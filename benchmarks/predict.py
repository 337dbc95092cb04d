"""Predicting videos against decoding them alone and computing alone; one clip against a forward."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.comparison import in_turn, speed_ratio, timed
from benchmarks.drawn_videos import draw_video, write_copies
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import demo_params
from slowfast_finetune.decoding.sampled_frames import sampled_frames
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    Preprocessing,
    save_checkpoint,
)
from slowfast_finetune.model.slowfast import build_slowfast
from slowfast_finetune.predicting.clip_selection import VideoClips, select_clips
from slowfast_finetune.predicting.frame_pipe import FrameRun
from slowfast_finetune.predicting.predictor import Predictor, load_model

PREDICT, DECODE, COMPUTE = "slowfast predict", "decoding alone", "computing alone"
LATENCY, FORWARD = "a clip, from file to answer", "its forward passes"
TARGET = 0.95
NUM_CLASSES = 6
CLIP_SECONDS = 2


@dataclass(frozen=True)
class Case:
    """So many videos of a size, and how the model looks at them [px]."""

    width: int
    height: int
    short_side: int
    crop_size: int
    count: int

    @classmethod
    def of(cls, text: str) -> Case:
        """``1920x1080:256:224:24``."""
        size, short_side, crop_size, count = text.split(":")
        width, height = size.split("x")
        return cls(int(width), int(height), int(short_side), int(crop_size), int(count))


def run(*, cases: Sequence[str], seconds: int, model: str, rounds: int, out: Path) -> None:
    """Measure each case with one decoder and one thread that computes; write predict.json."""
    # One core decodes and one computes: with more threads than cores, each side alone would have
    # what both must share, and no overlap could reach the slower of the two.
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    targets, lines, latencies = [], [], []
    for text in cases:
        case = Case.of(text)
        with tempfile.TemporaryDirectory(prefix="predict-") as folder:
            trained = _model(Path(folder), case, model)
            videos = _videos(Path(folder), case, count=case.count, seconds=seconds)
            took = in_turn(
                {
                    PREDICT: partial(_predict, trained, videos),
                    DECODE: partial(_decode, trained, videos),
                    COMPUTE: partial(_compute, trained, _clips_of(trained, seconds) * case.count),
                },
                rounds=rounds,
            )
            slower = [max(pair) for pair in zip(took[DECODE], took[COMPUTE], strict=True)]
            ratio = speed_ratio(took[PREDICT], slower)
            (clip,) = _videos(Path(folder), case, count=1, seconds=CLIP_SECONDS)
            one = in_turn(
                {
                    LATENCY: partial(_predict, trained, [clip]),
                    FORWARD: partial(_compute, trained, _clips_of(trained, CLIP_SECONDS)),
                },
                rounds=max(rounds, 5),
            )
        lines.append(
            [
                text,
                *(f"{min(took[name]):.2f}" for name in (PREDICT, DECODE, COMPUTE)),
                f"{ratio.median:.3f} ({ratio.lowest:.3f} to {ratio.highest:.3f})",
            ]
        )
        latencies.append([text, *(f"{median(one[name]) * 1e3:.0f}" for name in (LATENCY, FORWARD))])
        results[text] = {
            "videos": case.count,
            "seconds_each": seconds,
            "seconds": took,
            "ratio": asdict(ratio),
            "clip_seconds": one,
        }
        targets.append(Target(f"{text}: of the slower alone", TARGET, ratio.median))
    print(format_table(["case", *(f"{n} [s]" for n in took), "speed"], lines), end="\n\n")
    print(format_table(["case", *(f"{n} [ms]" for n in one)], latencies), end="\n\n")
    finish("predict", out=out, results=results, targets=targets)


def _model(folder: Path, case: Case, name: str) -> Predictor:
    """An untrained model: its numbers mean nothing, and take as long."""
    params = demo_params(
        clip={"short_side": case.short_side},
        model={"name": name, "weights": "none"},
        train={"crop_size": case.crop_size},
    )
    # The section says crop_size is the short side; here it is what was asked for.
    crop = params.train.model_copy(update={"crop_size": case.crop_size})
    params = params.model_copy(update={"train": crop})
    torch.manual_seed(0)
    network = build_slowfast(params.model.name, num_classes=NUM_CLASSES)
    save_checkpoint(
        folder / "best.pt",
        Checkpoint(
            model_state=network.state_dict(),
            class_names=[f"class {label}" for label in range(NUM_CLASSES)],
            preprocessing=Preprocessing.from_params(params.clip, crop_size=case.crop_size),
            params=params.model_dump(mode="json"),
            epoch=1,
            val_loss=1.0,
            provenance={},
        ),
    )
    return load_model(folder / "best.pt")


def _videos(folder: Path, case: Case, *, count: int, seconds: int) -> list[Path]:
    video = draw_video(
        folder / f"{seconds}.mp4", width=case.width, height=case.height, num_frames=30 * seconds
    )
    return write_copies(video, folder / str(seconds), count=count)


def _clips_of(model: Predictor, seconds: int) -> int:
    """How many clips predict shows of a video."""
    side = model.preprocessing.short_side
    num_frames = round(seconds * model.preprocessing.sample_fps)
    runs = [FrameRun(np.zeros((side, side, 3), np.uint8), 1)] * num_frames
    return sum(1 for _ in select_clips(runs, model._plan(None), VideoClips()))


def _predict(model: Predictor, videos: Sequence[Path]) -> float:
    with timed() as watch:
        answers = list(model.predict_many(videos, num_workers=1))
    assert len(answers) == len(videos)
    return watch.seconds


def _decode(model: Predictor, videos: Sequence[Path]) -> float:
    """The same frames, decoded in this process and thrown away."""
    with timed() as watch:
        for video in videos:
            for _ in sampled_frames(video, settings=model.decode_settings):
                pass
    return watch.seconds


def _compute(model: Predictor, clips: int) -> float:
    """As many clips as predict shows, from memory, in batches like its own."""
    shape = model.preprocessing
    at_once = (model.clips_at_once, shape.num_frames, shape.crop_size, shape.crop_size, 3)
    batch = np.zeros(at_once, np.uint8)
    full, rest = divmod(clips, len(batch))
    with timed() as watch:
        for size in [len(batch)] * full + [rest] * bool(rest):
            model.logits_and_features(batch[:size])
    return watch.seconds
