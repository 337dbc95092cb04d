"""Temperature and threshold of the best checkpoint, from the clips that chose it."""

from __future__ import annotations

import dataclasses

import numpy as np

from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from
from slowfast_finetune.model.speed import speed_up
from slowfast_finetune.scoring.calibration import calibrate
from slowfast_finetune.scoring.views import view_stored
from slowfast_finetune.training.setup import Clips


def calibrated(checkpoint: Checkpoint, clips: Clips) -> Checkpoint:
    """The checkpoint with temperature and threshold fitted to the validation videos.

    Each is looked at once, at its centre. The process that calls this looks at all of them.
    """
    classifier = classifier_from(checkpoint)
    speed_up(classifier)
    classifier.to(clips.fabric.device)
    with clips.fabric.autocast():
        views = view_stored(
            classifier,
            clips.val_rows,
            shape=checkpoint.preprocessing,
            folder=clips.folder,
            device=clips.fabric.device,
        )
    true = np.array([row.label for row in clips.val_rows], dtype=np.int64)
    found = calibrate(views.logits, true)
    return dataclasses.replace(checkpoint, temperature=found.temperature, threshold=found.threshold)
