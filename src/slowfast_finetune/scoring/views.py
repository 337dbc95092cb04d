"""Run a model on each view of stored videos, and average the probabilities per video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from slowfast_finetune.base.console import ProgressBar
from slowfast_finetune.base.params import ClipShape, RuntimeParams
from slowfast_finetune.clips.clip_reader import ClipLoader, ClipReader, reading_threads
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import MIDDLE, ViewPlan, Window, in_batches, plan_views
from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from
from slowfast_finetune.scoring.calibration import probabilities_of
from slowfast_finetune.scoring.novelty import ClassDistances, fit_class_distances, with_limit
from slowfast_finetune.scoring.ready import made_ready, views_at_once


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
        return total / np.bincount(clips)[:, None]


def class_distances_from(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], val: Views
) -> ClassDistances:
    """Fit to features (N, D) and labels (N,) of training videos; the limit to validation videos.

    These must be shown as test videos will be: the mean of many views lies nearer than one view.
    """
    found = fit_class_distances(features, labels)
    return with_limit(found, val.novelty(found))


@torch.inference_mode()
def outputs_of(
    classifier: nn.Module,
    rows: Sequence[ClipRow],
    windows: Sequence[Window],
    *,
    shape: ClipShape,
    clips: Path,
    runtime: RuntimeParams,
    pads: bool = True,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (B, classes) and features (B, D) of windows of stored videos, batch by batch.

    Args:
        classifier: is prepared in place by :func:`made_ready`, as is what ``pads`` means.
        clips: the folder of the clip store, which has the entries of all rows.

    Raises:
        DataError: a clip is gone or damaged.
        ParamsError: the device does not exist, or cannot compute in the precision.
    """
    model, device = made_ready(classifier, runtime, pads=pads)
    reader = ClipReader(rows, folder=clips, shape=shape, pin_memory=device.type == "cuda")
    batches = in_batches(windows, size=views_at_once(shape, device, runtime.batch_size_per_device))
    loader = ClipLoader(reader, batches, num_threads=reading_threads(device))
    for batch, shown in zip(loader, batches, strict=True):
        given = batch.clips.to(device, non_blocking=True)
        mirrored = [position for position, window in enumerate(shown) if window.mirrored]
        given[mirrored] = given[mirrored].flip(3)
        logits, features = model(given)
        yield logits.cpu(), features.cpu()


def view_stored(
    rows: Sequence[ClipRow],
    *,
    checkpoint: Checkpoint,
    clips: Path,
    runtime: RuntimeParams,
    views: ViewPlan = MIDDLE,
) -> Views:
    """Run a checkpoint's model on every view of stored videos.

    Raises:
        DataError, ParamsError: as :func:`outputs_of`.
    """
    shape, classifier = checkpoint.preprocessing, classifier_from(checkpoint)
    windows = plan_views(rows, shape, views)
    logits, features = [], []
    with ProgressBar("viewing", total=len(windows), unit="view") as bar:
        for found in outputs_of(
            classifier, rows, windows, shape=shape, clips=clips, runtime=runtime
        ):
            logits.append(found[0])
            features.append(found[1])
            bar.advance(len(found[0]))
    return Views(windows, torch.cat(logits).numpy(), torch.cat(features).numpy())
