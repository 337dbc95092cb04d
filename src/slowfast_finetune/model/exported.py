"""A trained model as one program: uint8 clips in, probabilities out; needs only torch."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from slowfast_finetune.base.files import write_bytes
from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from
from slowfast_finetune.model.speed import speed_up

EXPORT_VERSION = 1
KIND = "slowfast-finetune export"
TASK = "video-classification"
METADATA_NAME = "slowfast.json"  # extra file of a pt2 archive

FREE_BATCH = ({0: torch.export.Dim("batch")},)  # for the exporters: any number of clips

Precision = Literal["fp32", "bf16"]


class ClipProbabilities(nn.Module):
    """Normalising, network, temperature and softmax: from clips to probabilities.

    Args:
        precision: ``bf16`` computes in bfloat16; weights and probabilities stay float32.
    """

    def __init__(self, checkpoint: Checkpoint, *, precision: Precision = "fp32") -> None:
        super().__init__()
        self.classifier = classifier_from(checkpoint)
        self.temperature = checkpoint.temperature
        self.is_bf16 = precision == "bf16"
        self.eval()

    def forward(self, clips: Tensor) -> Tensor:
        """Give class probabilities, float32 (B, classes), of clips, uint8 (B, T, H, W, 3), RGB."""
        if self.is_bf16:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = self.classifier(clips)
        else:
            logits = self.classifier(clips)
        return torch.softmax(logits / self.temperature, dim=1)


def export_program(checkpoint: Checkpoint, path: Path) -> None:
    """Write the model as a torch.export program, atomically; see :func:`pt2_bytes`."""
    write_bytes(path, pt2_bytes(checkpoint))


def pt2_bytes(checkpoint: Checkpoint, *, precision: Precision = "fp32") -> memoryview:
    """A torch.export program: uint8 (B, T, H, W, 3) in RGB → probabilities float32 (B, classes).

    T, H and W are those of the checkpoint's preprocessing, B is free. The model's metadata is
    an extra file of the archive, in JSON.
    """
    model = ClipProbabilities(checkpoint, precision=precision)
    speed_up(model.classifier)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # Notices from inside torch.export about its own future.
        warnings.simplefilter("ignore")
        program = torch.export.export(
            model, (example_clips(checkpoint),), dynamic_shapes=FREE_BATCH
        )
        _forget_origin(program)
        about = metadata_text(checkpoint, precision=precision)
        torch.export.save(program, buffer, extra_files={METADATA_NAME: about})
    return buffer.getbuffer()


def example_clips(checkpoint: Checkpoint) -> Tensor:
    """Two black clips of the model's shape; a batch of one would be taken for a constant."""
    shape = checkpoint.preprocessing
    return torch.zeros(2, shape.num_frames, shape.crop_size, shape.crop_size, 3, dtype=torch.uint8)


def metadata_text(checkpoint: Checkpoint, *, precision: str, **more: str) -> str:
    """The metadata inside an exported file, as JSON; docs/formats.md lists it."""
    content = {
        "kind": KIND,
        "format_version": EXPORT_VERSION,
        "task": TASK,
        "class_names": list(checkpoint.class_names),
        "preprocessing": asdict(checkpoint.preprocessing),
        "temperature": checkpoint.temperature,
        "threshold": checkpoint.threshold,
        "precision": precision,
        "model": checkpoint.model_name,
        "epoch": checkpoint.epoch,
        "provenance": checkpoint.provenance,
        **more,
    }
    return json.dumps(content)


def _forget_origin(program: torch.export.ExportedProgram) -> None:
    """Remove the example clips and the paths of the code on this machine."""
    program._example_inputs = None
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
