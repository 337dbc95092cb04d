"""``slowfast export --check``: is a file that came from elsewhere one that this project writes?

It is read, and nothing in it is run. That matters for pt2: ``torch.export.load`` unpickles what the
archive marks as pickled and evaluates the shape expressions in it, so it can be made to run code.
What a sound file of ours never holds is refused here.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slowfast_finetune.base.errors import CheckpointError, ExportError
from slowfast_finetune.exporting.archive import members_of

# What torch.export.save writes for a model of plain tensors.
_MEMBERS = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|extra/slowfast\.json"
    r"|archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
)
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|_operator\.getitem|torch\.ops\.higher_order\.wrap_with_autocast"
)
_EXPRESSION = re.compile(r"\d+|(Symbol\('\w+'(, (positive|integer|nonnegative)=True)*\))|[su]\d+")
_NAME = re.compile(r"[\w.]*")


def check_file(path: Path) -> str:
    """Look at a checkpoint or an exported file; gives a line that says what it is.

    Raises:
        CheckpointError, ExportError: it is damaged, carries code, or is not ours.
    """
    if path.suffix == ".onnx":
        return _said(path, read_onnx_metadata(path), "an ONNX model")
    if path.suffix == ".pt2":
        return _said(path, read_pt2_metadata(path), "a torch.export program")
    from slowfast_finetune.model.checkpoint import classifier_from, load_checkpoint, view_params

    checkpoint = load_checkpoint(path)
    try:
        view_params(checkpoint)
        classifier_from(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return f"{path}: a checkpoint of {checkpoint.model_name}; {_classes(checkpoint.class_names)}"


def _said(path: Path, metadata: dict[str, Any], what: str) -> str:
    return f"{path}: {what} of {metadata['model']}; {_classes(metadata['class_names'])}"


def _classes(names: list[str]) -> str:
    return f"{len(names)} classes: {', '.join(names)}"


def read_pt2_metadata(path: Path) -> dict[str, Any]:
    """What a torch.export program of ours says of itself; torch does not see the file.

    Raises:
        ExportError: it is damaged, holds what could run, or is not ours.
    """
    _content_of(path, limit=4)
    try:
        with zipfile.ZipFile(path) as archive:
            members = members_of(path, archive)
            if "extra/slowfast.json" not in members:
                raise ExportError(f"{path}: is not an export of this project")
            metadata = _checked_metadata(path, _json(path, archive, members, "extra/slowfast.json"))
            _refuse_code(path, archive, members)
            if (damaged := archive.testzip()) is not None:
                raise ExportError(f"{path}: is damaged: {damaged} is not as it was written")
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise ExportError(f"{path}: is cut short or damaged, or no torch.export file") from error
    return metadata


def _refuse_code(path: Path, archive: zipfile.ZipFile, members: dict[str, str]) -> None:
    for name in members:
        if not _MEMBERS.fullmatch(name):
            raise ExportError(f"{path}: holds {name}, which could carry code; nothing was run")
    if "data/sample_inputs/model.pt" in members and archive.read(
        members["data/sample_inputs/model.pt"]
    ):
        raise ExportError(f"{path}: holds pickled inputs, which could carry code; nothing was run")
    for part in ("weights", "constants"):
        config = _json(path, archive, members, f"data/{part}/model_{part}_config.json")
        for payload in (_dict(path, config, "config")).values():
            if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
                raise ExportError(
                    f"{path}: holds pickled {part}, which could carry code; nothing was run"
                )
            if not re.fullmatch(r"(weight|tensor)_\d+", str(payload.get("path_name"))):
                raise ExportError(f"{path}: holds {part} of an unknown kind; nothing was run")
    _refuse_code_in_graph(path, _json(path, archive, members, "models/model.json"))


def _refuse_code_in_graph(path: Path, graph: Any) -> None:
    """Let pass only operators of torch's own, names, and sizes: all else is looked up or run."""
    if _dict(path, {"graph": graph}, "graph").get("guards_code"):
        raise ExportError(f"{path}: its program carries Python; nothing was run")
    allowed = {
        "target": _OPERATOR,
        "as_operator": _OPERATOR,
        "expr_str": _EXPRESSION,
        "name": _NAME,
        "as_name": _NAME,
    }
    for key, value in _pairs(graph):
        if key == "as_custom_obj" and value is not None:
            raise ExportError(f"{path}: its program holds an object; nothing was run")
        if key in ("in_spec", "out_spec") and "__" in str(value):
            raise ExportError(f"{path}: its program names a foreign type; nothing was run")
        if key == "stack_trace" or (
            key in allowed
            and isinstance(value, str)
            and not allowed[key].fullmatch(value)
            # A buffer's or parameter's own name may be its target.
            and not (key == "target" and re.fullmatch(r"(?!torch|math|_operator)[\w.]+", value))
        ):
            raise ExportError(
                f"{path}: its program holds {str(value)[:60]!r}, which this project does not write;"
                " nothing was run"
            )


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a JSON document, however deep."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _json(path: Path, archive: zipfile.ZipFile, members: dict[str, str], name: str) -> Any:
    if name not in members:
        raise ExportError(f"{path}: lacks {name}")
    try:
        return json.loads(archive.read(members[name]))
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path}: {name} in it is not JSON") from error


def _dict(path: Path, content: Any, name: str) -> dict[str, Any]:
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise ExportError(f"{path}: {name} in it is not as torch writes it")
    return found


def read_onnx_metadata(path: Path) -> dict[str, Any]:
    """What an ONNX model of ours says of itself.

    Raises:
        ExportError: it is damaged, reaches outside of itself, or is not ours.
    """
    from slowfast_finetune.exporting.onnx_file import METADATA_KEY, need, weights_digest

    need("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(_content_of(path))
    except (DecodeError, ValueError) as error:
        raise ExportError(f"{path}: is cut short or damaged, or no ONNX file") from error
    texts = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in texts:
        raise ExportError(f"{path}: is not an export of this project, or is cut short")
    try:
        metadata = json.loads(texts[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path}: {METADATA_KEY} in it is not JSON") from error
    checked = _checked_metadata(path, metadata)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise ExportError(f"{path}: reads weights from other files, which ours never does")
    domains = {entry.domain for entry in model.opset_import} | {
        node.domain for node in model.graph.node
    }
    if model.functions or domains - {"", "ai.onnx"}:
        raise ExportError(f"{path}: calls operators that are not ONNX's own")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path}: is damaged: {str(error).splitlines()[0]}") from error
    if "weights_digest" not in checked:
        raise ExportError(f"{path}: lacks weights_digest in its metadata; export it anew")
    if checked["weights_digest"] != weights_digest(model):
        raise ExportError(f"{path}: is damaged: its weights are not as they were written")
    return checked


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a model: weights, and constants inside operators, however deep."""
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


def _checked_metadata(path: Path, metadata: Any) -> dict[str, Any]:
    from slowfast_finetune.model.exported import EXPORT_VERSION, KIND, TASK

    if not isinstance(metadata, dict) or metadata.get("kind") != KIND:
        raise ExportError(f"{path}: is not an export of this project")
    version = metadata.get("format_version")
    if version != EXPORT_VERSION:
        raise ExportError(f"{path}: has format {version}; this version reads {EXPORT_VERSION}")
    if metadata.get("task") != TASK:
        raise ExportError(f"{path}: is for {metadata.get('task')}; ours are for {TASK}")
    names = metadata.get("class_names")
    if not (
        isinstance(names, list)
        and names
        and all(isinstance(name, str) for name in names)
        and isinstance(metadata.get("model"), str)
        and isinstance(metadata.get("preprocessing"), dict)
    ):
        raise ExportError(f"{path}: class_names, model or preprocessing is not as we write it")
    return metadata


def _content_of(path: Path, *, limit: int = -1) -> bytes:
    """The file's first bytes, or all of them."""
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from error
