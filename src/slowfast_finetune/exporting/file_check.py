"""Check a model file that somebody else sent, without running anything in it.

Checkpoints (.pt) and ONNX models are data and can be checked. A .pt2 file cannot: torch.export.load
unpickles what the archive marks as pickled and evaluates shape expressions, so only the sender's
word stands for it, and the check refuses the format.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slowfast_finetune.base.errors import CheckpointError, ExportError
from slowfast_finetune.base.extras import import_extra
from slowfast_finetune.base.files import read_errors


def check_file(path: Path) -> str:
    """Check a .pt or .onnx file and return one line that says which model it holds.

    Raises:
        CheckpointError: the checkpoint is damaged, holds code, or was not written by this project.
        ExportError: the same for an ONNX model; or the file is a .pt2, which cannot be checked.
    """
    if path.suffix == ".pt2":
        raise ExportError(
            f"{path}: a .pt2 file cannot be checked, because torch.export.load can run code that "
            "is in it; load it only if you trust its sender, or ask for the .pt or .onnx file"
        )
    if path.suffix == ".onnx":
        metadata = _read_onnx_metadata(path)
        kind, model, names = "an ONNX model", metadata["model"], metadata["class_names"]
    else:
        from slowfast_finetune.model.checkpoint import classifier_from, load_checkpoint, view_params

        checkpoint = load_checkpoint(path)
        try:
            view_params(checkpoint)
            classifier_from(checkpoint)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        kind, model, names = "a checkpoint", checkpoint.model_name, checkpoint.class_names
    return f"{path}: {kind} of {model}; {len(names)} classes: {', '.join(names)}"


def _read_onnx_metadata(path: Path) -> dict[str, Any]:
    """Read and verify the metadata of an ONNX model that this project exported.

    Raises:
        ExportError: the file is damaged, refers to other files or foreign operators, or was not
            exported by this project.
    """
    from slowfast_finetune.exporting.onnx_file import METADATA_KEY, weights_digest

    onnx = import_extra("onnx", extra="onnx", what="ONNX")
    from google.protobuf.message import DecodeError

    with read_errors(path, ExportError):
        content = path.read_bytes()
    try:
        model = onnx.load_from_string(content)
    except (DecodeError, ValueError) as error:
        raise ExportError(f"{path}: is no ONNX file, or is cut short or damaged") from error
    texts = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in texts:
        raise ExportError(f"{path}: is not an export of this project, or is cut short")
    try:
        metadata = json.loads(texts[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path}: its metadata entry {METADATA_KEY} is not JSON") from error
    _check_metadata(path, metadata)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise ExportError(f"{path}: reads weights from other files, which an export never does")
    domains = {entry.domain for entry in (*model.opset_import, *model.graph.node)}
    if model.functions or domains - {"", "ai.onnx"}:
        raise ExportError(f"{path}: calls operators that are not part of ONNX")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path}: is damaged: {str(error).splitlines()[0]}") from error
    if metadata.get("weights_digest") != weights_digest(model):
        raise ExportError(
            f"{path}: is damaged: its weights differ from those that were exported, "
            "or its metadata lacks their weights_digest"
        )
    return dict(metadata)


def _check_metadata(path: Path, metadata: Any) -> None:
    from slowfast_finetune.model.exported_program import EXPORT_VERSION, KIND, TASK

    if not isinstance(metadata, dict):
        raise ExportError(f"{path}: is not an export of this project")
    for key, read in (("kind", KIND), ("format_version", EXPORT_VERSION), ("task", TASK)):
        if metadata.get(key) != read:
            found = f"{key} is {metadata.get(key)!r} in its metadata"
            raise ExportError(f"{path}: {found}; this version reads {read!r}")
    names, model = metadata.get("class_names"), metadata.get("model")
    are_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not (names and are_names and isinstance(model, str)):
        raise ExportError(
            f"{path}: class_names or model in its metadata is missing or has the wrong type"
        )


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor: weights, and constants in operators and in their nested graphs."""
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
