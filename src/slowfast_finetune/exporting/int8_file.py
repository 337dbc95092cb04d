"""A trained model with weights and activations of 8 bits, for predict and serve on a CPU."""

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slowfast_finetune.base.errors import ExportError
from slowfast_finetune.base.extras import import_extra
from slowfast_finetune.exporting.parity import Runner, stored_clips
from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from
from slowfast_finetune.model.exported_program import example_clips
from slowfast_finetune.predicting.int8_network import (
    GRAPH,
    WEIGHTS,
    Int8Network,
    file_metadata,
    import_openvino,
)
from slowfast_finetune.scoring.calibration import probabilities_of
from slowfast_finetune.scoring.ready import with_features

NUM_CLIPS = 64  # whose activations give the ranges that 8 bits are spread over


def quantised(checkpoint: Checkpoint, *, project: Path) -> tuple[bytes, bytes]:
    """Quantise the network by clips of training videos: graph and weights of OpenVINO.

    Ranges of activations, symmetric, and corrections of biases are those of NNCF's post-training
    quantisation.

    Args:
        project: folder whose data/clips.csv and clip store provide the clips.

    Raises:
        ExportError: the project has no clips of this checkpoint.
        InputError: OpenVINO or NNCF is not installed.
    """
    openvino = import_openvino()
    nncf = import_extra("nncf", extra="int8", what="int8")
    clips = stored_clips(checkpoint, project=project, split="train", at_most=NUM_CLIPS)
    if len(clips) == 0:
        raise ExportError(
            "int8 needs clips of training videos, made as the checkpoint's were: run it in the "
            "project that trained the checkpoint, after dvc repro"
        )
    example = example_clips(checkpoint)
    nncf.set_log_level(logging.ERROR)
    with (
        torch.no_grad(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),  # NNCF's bars
        tempfile.TemporaryDirectory() as folder,
    ):
        warnings.simplefilter("ignore")  # the tracer: shapes but for the batch are constants
        program = openvino.convert_model(
            _WithFeatures(checkpoint), example_input=example, input=[(-1, *example.shape[1:])]
        )
        program = nncf.quantize(
            program,
            nncf.Dataset([clip[None] for clip in clips]),
            subset_size=len(clips),
            preset=nncf.QuantizationPreset.PERFORMANCE,
        )
        path = Path(folder) / "network.xml"
        openvino.save_model(program, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


class _WithFeatures(nn.Module):
    """Maps clips (B, T, H, W, 3) to logits (B, classes) and features (B, D)."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.classifier = classifier_from(checkpoint).eval()

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        return with_features(self.classifier, clips)


def int8_bytes(graph: bytes, weights: bytes, *, checkpoint: Path) -> bytes:
    """The file that :class:`Int8Network` reads."""
    from safetensors.numpy import save

    parts = {GRAPH: np.frombuffer(graph, np.uint8), WEIGHTS: np.frombuffer(weights, np.uint8)}
    return save(parts, metadata=file_metadata(graph, weights, checkpoint=checkpoint))


def int8_runner(graph: bytes, weights: bytes, *, temperature: float) -> Runner:
    """Load a network that this process has just quantised."""
    network = Int8Network(graph, weights)

    return lambda clips: probabilities_of(
        network(torch.from_numpy(clips))[0].numpy(), temperature=temperature
    )
