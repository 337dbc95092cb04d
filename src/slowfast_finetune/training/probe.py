"""``train.method: probe``: fit the last layer alone, to features computed once for each video."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.base.manifest_table import case_noun
from slowfast_finetune.base.params import AugmentParams, Params, TrainParams
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import ViewPlan, plan_views
from slowfast_finetune.features import extraction
from slowfast_finetune.features.extraction import Backbone, VideoFeatures
from slowfast_finetune.features.feature_store import PROGRAMS
from slowfast_finetune.features.logistic import Head, Probe, fit_probe
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    copied_state,
    save_checkpoint,
    view_params,
)
from slowfast_finetune.model.exported_program import export_program
from slowfast_finetune.model.slowfast import head_of
from slowfast_finetune.scoring.novelty import ClassDistances
from slowfast_finetune.scoring.views import class_distances_from
from slowfast_finetune.training.epoch_progress import gather
from slowfast_finetune.training.history import HISTORY, EpochRow, Recorder
from slowfast_finetune.training.memory import peak_memory_mb
from slowfast_finetune.training.run import TrainingOutputs, write_summary

if TYPE_CHECKING:
    from lightning_fabric import Fabric

USED = {"method", "probe_views", "seed", "class_balance", "crop_size"}  # of train:
# The parameters that do nothing to a probe, by section.
UNUSED = {
    "train": [name for name in TrainParams.model_fields if name not in USED],
    "augment": [name for name in AugmentParams.model_fields if name != "horizontal_flip"],
    "model": ["dropout_rate"],
}
# Of logits of stored features, against the network's: in bf16 it rounds them, too.
TOLERANCE = {"32-true": 1e-3, "bf16-mixed": 5e-2, "16-mixed": 5e-2}


def train_probe(
    network: nn.Module,
    rows: Sequence[ClipRow],
    *,
    description: Checkpoint,
    params: Params,
    clips: Path,
    device: torch.device,
    fabric: Fabric | None,
    outputs: TrainingOutputs,
    recorder: Recorder,
) -> None:
    """Fit a logistic regression on features of the training and validation videos together.

    The strength of its L2 penalty is chosen by group-aware cross-validation inside these videos;
    what is called validation in the outputs are the videos left out of each fold. The head is then
    fitted to all of them, and takes the place of the network's last layer.

    Args:
        network: with its weights; its last layer is replaced.
        rows: training and validation videos.
        description: the checkpoint of the run, without weights.
        clips: the folder of the clip store, which has the entries of all rows.
        fabric: joins the processes that compute the features, of which the first then fits the
            head; None for one.

    Raises:
        DataError: a clip is missing, or a class has too few groups.
        TrainingError: the network does not give the logits that the features give.
    """
    without_effect = "; ".join(f"{name}: {', '.join(rest)}" for name, rest in UNUSED.items())
    recorder.note(
        "train.method: probe: only the last layer is fitted, to the features that the others give; "
        f"without effect are {without_effect}"
    )
    backbone = Backbone(network, params.model.name, description.preprocessing)
    begun = time.monotonic()
    computed = partial(
        extraction.features_of,
        backbone=backbone,
        views=extraction.probe_views(params.train, params.augment),
        clips=clips,
        runtime=params.runtime,
    )
    features = _shared_features(rows, fabric, computed)
    if features is None:
        return
    feature_seconds = time.monotonic() - begun
    recorder.note(_feature_line(features, feature_seconds))
    begun = time.monotonic()
    probe = fit_probe(
        rows,
        features.values,
        num_views=features.unmirrored.shape[1],
        balanced=params.train.is_balanced,
        seed=params.train.seed,
    )
    fit_seconds = time.monotonic() - begun
    put_head(network, probe.head)
    difference = _check(backbone, rows, features, probe.head, params, clips)
    recorder.note(
        f"sanity check: the features are finite and differ; the network gives the logits of stored "
        f"features to within {difference:.1e}"
    )
    history = _history(probe, features, seconds=fit_seconds, device=device)
    recorder.note(_table(probe, history))
    HISTORY.write(outputs.history, history)
    chosen = history[probe.best]
    best = replace(
        description,
        model_state=copied_state(network),
        epoch=chosen.epoch,
        val_loss=chosen.val_loss,
        temperature=probe.calibration.temperature,
        threshold=probe.calibration.threshold,
    )
    distances = _class_distances(best, rows, features, params, clips)
    best = replace(best, class_distances=distances.as_plain())
    save_checkpoint(outputs.best_checkpoint, best)
    export_program(best, outputs.best_model, frames=clips.parent / PROGRAMS)
    facts = {
        "method": "probe",
        "penalty": chosen.penalty,
        "penalties": len(history),
        "folds": probe.num_folds,
        "fitted_videos": len(rows),
        "views": features.settings.num_views,
        "features": features.values.shape[2],
        "features_computed": features.num_computed,
        "feature_seconds": round(feature_seconds, 2),
        "fit_seconds": round(fit_seconds, 2),
        "parameters_trained": sum(p.numel() for p in head_of(network).parameters()),
    }
    seconds = feature_seconds + fit_seconds
    write_summary(outputs.summary, history, best, seconds=seconds, facts=facts)
    noun = case_noun(rows)
    recorder.note(
        f"penalty {chosen.penalty:g} chosen by {probe.num_folds}-fold cross-validation: loss "
        f"{chosen.val_loss:.3f}, accuracy {chosen.val_accuracy:.3f} of {noun}s left out; fitted to "
        f"all {len(rows)} training and validation {noun}s in {fit_seconds:.1f} s; temperature "
        f"{best.temperature:.2f}, threshold {best.threshold:.2f}; wrote {outputs.best_checkpoint}, "
        f"{outputs.best_model}"
    )


def _class_distances(
    checkpoint: Checkpoint,
    rows: Sequence[ClipRow],
    features: VideoFeatures,
    params: Params,
    clips: Path,
) -> ClassDistances:
    """Fit the classes to the middle view of each training video, the limit to validation videos.

    These are shown the views that the checkpoint names for evaluate; what the feature store lacks
    of them is computed.
    """
    inside = np.array([row.split == "train" for row in rows])
    shown = extraction.view_features(
        [row for row in rows if row.split == "val"],
        checkpoint=checkpoint,
        clips=clips,
        runtime=params.runtime,
        views=ViewPlan(**view_params(checkpoint)[1].model_dump()),
    )
    labels = np.array([row.label for row in rows], np.int64)[inside]
    middle = features.values[inside, features.unmirrored.shape[1] // 2]
    return class_distances_from(middle, labels, shown)


def _shared_features(
    rows: Sequence[ClipRow],
    fabric: Fabric | None,
    features_of_rows: Callable[[Sequence[ClipRow]], VideoFeatures],
) -> VideoFeatures | None:
    """Give the first process the features of all rows, each process having computed its share.

    The others are given None.
    """
    if fabric is None:
        return features_of_rows(rows)
    # By position, which is the same for all processes, whatever each finds in the store.
    share = rows[fabric.global_rank :: fabric.world_size]
    computed = sum(gather(features_of_rows(share).num_computed if share else 0, fabric))
    if not fabric.is_global_zero:
        return None
    found = features_of_rows(rows)
    return replace(found, num_computed=computed + found.num_computed)


def put_head(network: nn.Module, head: Head) -> None:
    """Replace the weights of the last layer, whose size must be that of the head."""
    layer = head_of(network)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))


def _feature_line(features: VideoFeatures, seconds: float) -> str:
    num_videos, num_views, size = features.values.shape
    line = (
        f"features: {num_videos} videos × {num_views} views × {size} numbers; "
        f"{num_videos - features.num_computed} videos from the store, "
        f"{features.num_computed} computed"
    )
    if features.num_computed:
        line += f" in {seconds:.1f} s ({features.num_computed * num_views / seconds:.2f} views/s)"
    return line


def _check(
    backbone: Backbone,
    rows: Sequence[ClipRow],
    features: VideoFeatures,
    head: Head,
    params: Params,
    clips: Path,
) -> float:
    """Compare the logits of one video, by the network as it is now, with those of its features.

    Gives the largest difference, as a share of the largest logit.
    """
    views = extraction.probe_views(params.train, params.augment)
    windows = plan_views(rows[:1], backbone.shape, views)[:1]
    (fresh,) = extraction.compute(
        backbone, rows[:1], windows, clips=clips, runtime=params.runtime, rough=True
    )
    layer = head_of(backbone.network)
    with torch.no_grad():
        found = layer(torch.from_numpy(fresh).to(layer.weight.device)).cpu().numpy()
    expected = head.logits(features.values[:1, 0])
    difference = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
    if not difference <= TOLERANCE[features.settings.precision]:
        raise TrainingError(
            f"sanity check: {rows[0].video_path}: the network's logits differ by {difference:.2g} "
            "from those of its stored features; delete the folder `features` of the clip store "
            "(`slowfast clips status` says where it lies) and run again"
        )
    return difference


def _history(
    probe: Probe, features: VideoFeatures, *, seconds: float, device: torch.device
) -> list[EpochRow]:
    num_videos, num_views, _ = features.values.shape
    each = seconds / len(probe.results)
    return [
        EpochRow(
            epoch=number,
            **{f"train_{name}": value for name, value in result.train.items()},
            **{f"val_{name}": value for name, value in result.val.items()},
            grad_norm=0.0,
            grad_norm_head=0.0,
            grad_norm_backbone=0.0,
            learning_rate=0.0,
            learning_rate_backbone=0.0,
            clips_per_second=num_videos * num_views / each,
            data_wait_fraction=0.0,
            peak_memory_mb=peak_memory_mb(device),
            train_seconds=each,
            epoch_seconds=each,
            penalty=result.penalty,
        )
        for number, result in enumerate(probe.results, start=1)
    ]


def _table(probe: Probe, history: Sequence[EpochRow]) -> str:
    lines = ["  penalty   loss  loss left out    acc  acc left out  F1 left out"]
    lines += [
        f"{row.penalty:9g}{row.train_loss:7.3f}{row.val_loss:15.3f}{row.train_accuracy:7.3f}"
        f"{row.val_accuracy:14.3f}{row.val_macro_f1:13.3f}"
        + ("  best" if number == probe.best else "")
        for number, row in enumerate(history)
    ]
    return "\n".join(lines)
