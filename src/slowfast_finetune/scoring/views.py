"""Run a model on each view of stored videos, and average the probabilities per video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from slowfast_finetune.base.console import progress
from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.clips.clip_reader import ClipLoader, ClipReader, reading_threads
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import Window, in_batches, plan_views
from slowfast_finetune.model.checkpoint import Checkpoint
from slowfast_finetune.scoring.calibration import probabilities_of
from slowfast_finetune.scoring.novelty import ClassDistances, fit_class_distances, with_limit
from slowfast_finetune.scoring.ready import ready_classifier, views_at_once


@dataclass(frozen=True)
class Views:
    """The V views of some videos, and what the network makes of them."""

    windows: Sequence[Window]  # grouped by video; ``clip`` is the position of the video, from 0
    logits: npt.NDArray[np.float32]  # (V, classes)
    features: npt.NDArray[np.float32]  # (V, D), what the last layer is given

    def probabilities(self, *, temperature: float) -> npt.NDArray[np.float64]:
        """Average softmax(logits / temperature) over the views: (videos, classes)."""
        return self._averaged(probabilities_of(self.logits, temperature=temperature))

    def novelty(self, distances: ClassDistances) -> npt.NDArray[np.float64]:
        """The novelty of the mean features of the views: (videos,)."""
        return distances.novelty(self._averaged(self.features).astype(np.float32))

    def _averaged(self, each: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        clips = np.array([window.clip for window in self.windows])
        total = np.zeros((clips.max() + 1, each.shape[1]))
        np.add.at(total, clips, each)
        averaged: npt.NDArray[np.float64] = total / np.bincount(clips)[:, None]
        return averaged


def class_distances_from(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], val: Views
) -> ClassDistances:
    """Fit to features (N, D) and labels (N,) of training videos; the limit to validation videos.

    These must be shown as test videos will be: the mean of many views lies nearer than one view.
    """
    found = fit_class_distances(features, labels)
    return with_limit(found, val.novelty(found))


@torch.inference_mode()
def view_stored(
    rows: Sequence[ClipRow],
    *,
    checkpoint: Checkpoint,
    clips: Path,
    runtime: RuntimeParams,
    temporal_views: int = 1,
    spatial_crops: int = 1,
) -> Views:
    """Run a checkpoint's model on every view of stored videos.

    Args:
        clips: the folder of the clip store, which has the entries of all rows.

    Raises:
        DataError: a clip is gone or damaged.
        ParamsError: the device does not exist, or cannot compute in the precision.
    """
    model, device = ready_classifier(checkpoint, runtime)
    shape = checkpoint.preprocessing
    reader = ClipReader(
        rows,
        folder=clips,
        num_frames=shape.num_frames,
        crop_size=shape.crop_size,
        pin_memory=device.type == "cuda",
    )
    windows = plan_views(
        rows,
        num_frames=shape.num_frames,
        crop_size=shape.crop_size,
        temporal_views=temporal_views,
        spatial_crops=spatial_crops,
    )
    size = views_at_once(shape, device, runtime.batch_size_per_device)
    threads = reading_threads(device)
    loader = ClipLoader(reader, in_batches(windows, size=size), num_threads=threads)
    logits, features = [], []
    for batch in progress(loader, total=len(loader), label="viewing", unit="batch"):
        found = model(batch.clips.to(device, non_blocking=True))
        logits.append(found[0].cpu())
        features.append(found[1].cpu())
    return Views(windows, torch.cat(logits).numpy(), torch.cat(features).numpy())
