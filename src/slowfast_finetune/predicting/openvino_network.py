"""Compute the network with OpenVINO, which is faster than torch on CPUs without bfloat16."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from
from slowfast_finetune.scoring.ready import head_inputs

Engine = Literal["torch", "openvino"]


def check_openvino(*, device: str, precision: str) -> None:
    """Check that OpenVINO can compute; it does so on the CPU, in float32.

    Raises:
        ParamsError: it is not installed, or another device or precision is asked for.
    """
    if importlib.util.find_spec("openvino") is None:
        raise ParamsError(
            "the engine openvino is not installed: pip install 'slowfast-finetune[openvino]'"
        )
    if device not in ("auto", "cpu"):
        raise ParamsError(f"the engine openvino computes on the CPU, not on {device}")
    if precision not in ("auto", "fp32"):
        raise ParamsError(f"the engine openvino computes in fp32, not in {precision}")


class OpenVinoNetwork:
    """The network of a checkpoint, compiled for this CPU; float32, as many threads as torch.

    Args:
        batch_size: it is compiled for batches of this many clips; smaller ones are padded.
    """

    def __init__(self, checkpoint: Checkpoint, *, batch_size: int) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        shape = checkpoint.preprocessing
        side = shape.crop_size
        clips = torch.zeros(batch_size, shape.num_frames, side, side, 3, dtype=torch.uint8)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer: shapes become constants, as wanted
            traced = torch.jit.trace(_WithFeatures(checkpoint), (clips,))
        # What openvino.convert_model does, which also reports its use to the makers.
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced)  # named, so that it lives as long as it is read
        program = frontend.convert(frontend.load(decoder))
        program.reshape(list(clips.shape))
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._compiled = openvino.compile_model(program, "CPU", settings)
        self._batch = clips
        self._features = torch.empty(0)

    def __call__(self, clips: Tensor) -> Tensor:
        """Map clips, uint8 (B, T, H, W, 3), to logits, float32 (B, classes)."""
        count = len(clips)
        self._batch[:count] = clips
        logits, self._features = (
            torch.from_numpy(values[:count])
            for values in self._compiled(self._batch.numpy()).values()
        )
        return logits

    def features(self) -> Tensor:
        """What the last layer was given for the latest batch, float32 (B, D)."""
        return self._features


class _WithFeatures(nn.Module):
    """Maps clips (B, T, H, W, 3) to logits (B, classes) and features (B, D)."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.classifier = classifier_from(checkpoint).eval()
        self._latest = head_inputs(self.classifier)

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        return self.classifier(clips), self._latest()
