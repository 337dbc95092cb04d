"""Stage 4 as one call: the best checkpoint on the test split, video by video."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_reader import ClipLoader, ClipReader
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.tables import ClipRow
from slowfast_finetune.clips.windows import in_batches, plan_views
from slowfast_finetune.console import progress, say
from slowfast_finetune.errors import CheckpointError, DataError
from slowfast_finetune.evaluation.metrics import (
    Labels,
    Probabilities,
    average_views,
    log_loss,
    majority_baseline,
    score,
    score_classes,
)
from slowfast_finetune.files import Row, write_table, write_text
from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from, load_checkpoint
from slowfast_finetune.model.speed import speed_up
from slowfast_finetune.params import Params
from slowfast_finetune.training.device import choose_device, choose_precision, make_fabric

VIEWS_AT_ONCE = 8  # keeps any device busy; without gradients they need little memory
DIGITS = 4  # of a score in metrics.json; more would be noise


class PredictionRow(Row):
    """One test video: what it is, what it was taken for, and how surely (0 to 1)."""

    video_path: str
    actual: str
    predicted: str
    probability: float
    probability_of_actual: float


class ClassRow(Row):
    """One class on the test split; scores from 0 to 1."""

    class_name: str
    precision: float
    recall: float
    f1: float
    num_videos: int


@dataclass(frozen=True)
class EvaluationOutputs:
    """Where the results go."""

    metrics: Path
    predictions: Path
    per_class: Path


def evaluate_checkpoint(
    rows: Sequence[ClipRow],
    *,
    checkpoint_path: Path,
    params: Params,
    store: ClipStore,
    project: Path,
    outputs: EvaluationOutputs,
) -> None:
    """Predict every test video, averaging its views, and write the measurement.

    Raises:
        CheckpointError: the checkpoint cannot be used or knows other classes than clips.csv.
        DataError: no test video is left, or a clip cannot be restored.
    """
    checkpoint = load_checkpoint(checkpoint_path)
    test_rows = [row for row in rows if row.split == "test"]
    if not test_rows:
        raise DataError("data/clips.csv: no usable video in test; nothing can be measured")
    _check_classes(rows, checkpoint, checkpoint_path)
    restore_entries(test_rows, params=params, store=store, project=project)
    probabilities = predict_clips(test_rows, checkpoint=checkpoint, params=params, store=store)

    true = np.array([row.label for row in test_rows], dtype=np.int64)
    train = np.array([row.label for row in rows if row.split == "train"], dtype=np.int64)
    predicted = probabilities.argmax(axis=1)
    metrics = _metrics(true, probabilities, train=train)
    classes = [ClassRow(**row) for row in score_classes(true, predicted, checkpoint.class_names)]
    write_table(outputs.per_class, classes, ClassRow)
    write_table(
        outputs.predictions,
        _prediction_rows(test_rows, probabilities, checkpoint.class_names),
        PredictionRow,
    )
    write_text(outputs.metrics, json.dumps(metrics, indent=2) + "\n")
    say(describe(metrics, classes, num_videos=len(test_rows)))


def _check_classes(rows: Sequence[ClipRow], checkpoint: Checkpoint, path: Path) -> None:
    for row in rows:
        if checkpoint.class_names[row.label : row.label + 1] != [row.class_name]:
            raise CheckpointError(
                f"{path}: knows {', '.join(checkpoint.class_names)}; data/clips.csv has "
                f"{row.class_name!r} as label {row.label}; run `dvc repro`"
            )


@torch.inference_mode()
def predict_clips(
    rows: Sequence[ClipRow], *, checkpoint: Checkpoint, params: Params, store: ClipStore
) -> Probabilities:
    """Class probabilities (N, classes) of stored videos, averaged over their views."""
    device = choose_device(params.runtime)
    fabric = make_fabric(device, choose_precision(params.runtime, device))
    classifier = classifier_from(checkpoint)
    speed_up(classifier)
    model = fabric.setup_module(classifier)
    model.eval()
    shape = checkpoint.preprocessing
    reader = ClipReader(
        rows,
        folder=store.folder,
        num_frames=shape.num_frames,
        crop_size=shape.crop_size,
        pin_memory=device.type == "cuda",
    )
    windows = plan_views(
        rows,
        num_frames=shape.num_frames,
        crop_size=shape.crop_size,
        temporal_views=params.evaluate.temporal_views,
        spatial_crops=params.evaluate.spatial_crops,
    )
    size = params.runtime.batch_size_per_device
    loader = ClipLoader(reader, in_batches(windows, size=VIEWS_AT_ONCE if size == "auto" else size))
    views, clip_indices = [], []
    for batch in progress(loader, total=len(loader), label="evaluating", unit="batch"):
        logits = model(batch.clips.to(device, non_blocking=True))
        views.append(logits.float().softmax(dim=1).cpu())
        clip_indices.append(batch.clip_indices)
    return average_views(
        torch.cat(views).double().numpy(), torch.cat(clip_indices).numpy(), num_clips=len(rows)
    )


def _metrics(true: Labels, probabilities: Probabilities, *, train: Labels) -> dict[str, float]:
    scores = score(true, probabilities.argmax(axis=1))
    values = {
        "top1_accuracy": scores.accuracy,
        "macro_precision": scores.macro_precision,
        "macro_recall": scores.macro_recall,
        "macro_f1": scores.macro_f1,
        "loss": log_loss(true, probabilities),
        "majority_baseline": majority_baseline(train, true),
    }
    return {name: round(value, DIGITS) for name, value in values.items()}


def _prediction_rows(
    rows: Sequence[ClipRow], probabilities: Probabilities, class_names: Sequence[str]
) -> list[PredictionRow]:
    return [
        PredictionRow(
            video_path=row.video_path,
            actual=row.class_name,
            predicted=class_names[int(values.argmax())],
            probability=round(float(values.max()), DIGITS),
            probability_of_actual=round(float(values[row.label]), DIGITS),
        )
        for row, values in zip(rows, probabilities, strict=True)
    ]


def describe(metrics: dict[str, float], classes: Sequence[ClassRow], *, num_videos: int) -> str:
    """The result in a few lines, the dead class not hidden in the average."""
    width = max(len(row.class_name) for row in classes)
    lines = [f"{'class':{width}}  precision  recall  videos"]
    lines += [
        f"{row.class_name:{width}}  {row.precision:9.3f}  {row.recall:6.3f}  {row.num_videos:6}"
        for row in classes
    ]
    lines.append(
        f"top-1 accuracy {metrics['top1_accuracy']:.3f} on {num_videos} test videos; "
        f"always saying the most frequent class: {metrics['majority_baseline']:.3f}"
    )
    return "\n".join(lines)
