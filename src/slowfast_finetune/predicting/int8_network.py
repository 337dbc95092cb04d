"""Compute the network of a checkpoint in 8-bit integers on a CPU, with OpenVINO.

``slowfast export --format int8`` makes the file, beside the checkpoint (docs/exporting.md).
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.base.extras import import_extra
from slowfast_finetune.base.files import hash_file

SUFFIX = ".int8"
FORMAT_VERSION = 1
GRAPH, WEIGHTS = "graph", "weights"  # of OpenVINO's intermediate representation, each uint8 (N,)


def import_openvino() -> Any:
    """Import OpenVINO.

    Raises:
        InputError: it is not installed.
    """
    # OpenVINO and NNCF report every import to their makers if they find this module.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_extra("openvino", extra="int8", what="int8")


class Int8Network:
    """A network that maps clips to logits and features; it computes with torch's threads.

    Args:
        graph, weights: of OpenVINO's intermediate representation: inputs uint8 (B, T, H, W, 3),
            outputs float32 (B, classes) and (B, D).
    """

    def __init__(self, graph: bytes, weights: bytes) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        values = openvino.Tensor(np.frombuffer(weights, np.uint8))
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # of the few layers that are not in 8 bits
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._compiled = core.compile_model(core.read_model(graph, values), "CPU", settings)

    @classmethod
    def beside(cls, checkpoint: Path) -> Int8Network:
        """Load the network that was made from a checkpoint.

        Raises:
            CheckpointError: there is none, it is damaged, or it was made from another checkpoint.
            ParamsError: OpenVINO is not installed.
        """
        from safetensors import SafetensorError, safe_open

        path = checkpoint.with_suffix(SUFFIX)
        remedy = f"make it with slowfast export --format int8 --checkpoint {checkpoint}"
        if not path.is_file():
            raise CheckpointError(f"{path}: there is no such file; {remedy}")
        try:
            with safe_open(path, framework="np") as file:
                graph, weights = (file.get_tensor(name).tobytes() for name in (GRAPH, WEIGHTS))
                found = file.metadata() or {}
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{path}: cannot be read: {error}; {remedy}") from error
        wanted = file_metadata(graph, weights, checkpoint=checkpoint)
        if found.get("checkpoint") != wanted["checkpoint"]:
            raise CheckpointError(f"{path}: was not made from this {checkpoint}; {remedy}")
        if found != wanted:
            raise CheckpointError(f"{path}: is damaged, or of another version; {remedy}")
        return cls(graph, weights)

    def __call__(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Map clips, uint8 (B, T, H, W, 3), to logits (B, classes) and features (B, D)."""
        logits, features = map(torch.from_numpy, self._compiled(clips.numpy()).values())
        return logits, features


def file_metadata(graph: bytes, weights: bytes, *, checkpoint: Path) -> dict[str, str]:
    """What a file says of itself: its format, its checkpoint, and a digest against damage."""
    return {
        "format_version": str(FORMAT_VERSION),
        "checkpoint": hash_file(checkpoint),
        "digest": hashlib.blake2b(graph + weights, digest_size=16).hexdigest(),
    }
