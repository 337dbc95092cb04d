"""models/best_model.pt2: the full model as a torch.export program; needs no code of ours."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import asdict
from pathlib import Path

import torch

from slowfast_finetune.files import write_bytes
from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from


def export_program(checkpoint: Checkpoint, path: Path) -> None:
    """Write the model as a program: uint8 (B, T, H, W, 3) in RGB → logits float32 (B, classes).

    T, H and W are those of the checkpoint's preprocessing, B is free. Class names and
    preprocessing travel as extra files of the archive, in JSON.
    """
    classifier = classifier_from(checkpoint)
    shape = checkpoint.preprocessing
    example = torch.zeros(
        2, shape.num_frames, shape.crop_size, shape.crop_size, 3, dtype=torch.uint8
    )
    with warnings.catch_warnings():
        # Notices from inside torch.export about its own future.
        warnings.simplefilter("ignore")
        program = torch.export.export(
            classifier, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        buffer = io.BytesIO()
        torch.export.save(
            program,
            buffer,
            extra_files={
                "class_names.json": json.dumps(checkpoint.class_names),
                "preprocessing.json": json.dumps(asdict(shape)),
            },
        )
    write_bytes(path, buffer.getbuffer())
