"""A trained model as one ONNX file: the program of model/exported_program.py in another form."""

import contextlib
import hashlib
import io
import warnings
from typing import Any

import torch

from slowfast_finetune.base.extras import import_extra
from slowfast_finetune.model.checkpoint import Checkpoint
from slowfast_finetune.model.exported_program import (
    ClipProbabilities,
    example_clips,
    free_batch,
    metadata_text,
)

OPSET = 20  # what torch's exporter writes without converting; onnxruntime reads it since 1.17
METADATA_KEY = "slowfast"


def onnx_bytes(checkpoint: Checkpoint) -> bytes:
    """Export to ONNX: ``clips`` uint8 (B, T, H, W, 3), RGB → ``probabilities`` float32 (B, N).

    The file holds the weights, and a description as JSON in the metadata entry "slowfast".
    """
    onnx, _ = (import_extra(name, extra="onnx", what="ONNX") for name in ("onnx", "onnxscript"))
    model = ClipProbabilities(checkpoint)  # not sped up: onnxruntime folds the batch norms itself
    # The exporter prints its progress and gives deprecation warnings.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (example_clips(checkpoint),),
            dynamo=True,
            dynamic_shapes=free_batch(),
            input_names=["clips"],
            output_names=["probabilities"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _forget_origin(proto)
    about = metadata_text(checkpoint, precision="fp32", weights_digest=weights_digest(proto))
    onnx.helper.set_model_props(proto, {METADATA_KEY: about})
    onnx.checker.check_model(proto, full_check=True)
    content: bytes = proto.SerializeToString()
    return content


def weights_digest(proto: Any) -> str:
    """Hash the names, types, shapes and values of a model's weights with BLAKE2b-128.

    ONNX files have no checksum: without this, a file changed in transit would load and give
    different probabilities.
    """
    import onnx

    digest = hashlib.blake2b(digest_size=16)
    for tensor in sorted(proto.graph.initializer, key=lambda tensor: tensor.name):
        values = onnx.numpy_helper.to_array(tensor)
        digest.update(f"{tensor.name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _forget_origin(proto: Any) -> None:
    """Remove the exporter's stack traces, which hold paths of this machine."""
    graph = proto.graph
    values = (*graph.initializer, *graph.value_info, *graph.input, *graph.output)
    for part in (graph, *graph.node, *values):
        del part.metadata_props[:]
