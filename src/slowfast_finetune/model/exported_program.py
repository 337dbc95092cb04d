"""A trained model as one program: uint8 clips in, probabilities out; needs only torch."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
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
LIMITS = "gives probabilities alone; cannot tell videos unlike the training videos, best.pt can"
METADATA_NAME = "slowfast.json"  # extra file of a pt2 archive

WEIGHTS = "data/weights/"  # records of a pt2 archive, and the one that names them:
WEIGHTS_CONFIG = f"{WEIGHTS}model_weights_config.json"
_OF_THE_WRITER = (".data/", "byteorder")  # records that torch's writer adds itself

Precision = Literal["fp32", "bf16"]


class ClipProbabilities(nn.Module):
    """Normalising, network, temperature and softmax: from clips to probabilities.

    Args:
        precision: ``bf16`` computes in bfloat16; weights and probabilities stay float32.
    """

    def __init__(self, checkpoint: Checkpoint, *, precision: Precision = "fp32") -> None:
        super().__init__()
        self.classifier = classifier_from(checkpoint)
        # A tensor, not a number: the program itself is then the same for every checkpoint.
        self.register_buffer("temperature", torch.tensor(checkpoint.temperature))
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


def export_program(checkpoint: Checkpoint, path: Path, *, frames: Path | None = None) -> None:
    """Write the model as a torch.export program, atomically; see :func:`pt2_bytes`.

    Tracing takes most of the time, and what it gives depends on the architecture, the shape of
    clips and the number of classes alone. So it is kept.

    Args:
        frames: a folder of programs without weights, used and added to.
    """
    if frames is None:
        write_bytes(path, pt2_bytes(checkpoint))
        return
    frame = frames / f"{_frame_digest(checkpoint)}.pt2"
    try:
        content = _filled(frame, checkpoint)
    except (RuntimeError, KeyError):  # there is none, or it is damaged
        content = pt2_bytes(checkpoint)
        empty = dict.fromkeys(_weight_records(io.BytesIO(content)).values(), b"")
        write_bytes(frame, _rewritten(io.BytesIO(content), empty))
    write_bytes(path, content)


def _frame_digest(checkpoint: Checkpoint) -> str:
    """A digest of all that a program without weights depends on: 16 hex digits."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    about = {
        "model": checkpoint.model_name,
        "classes": len(checkpoint.class_names),
        "preprocessing": asdict(checkpoint.preprocessing),
        "libraries": [metadata.version(name) for name in ("torch", "pytorchvideo")],
    }
    digest.update(json.dumps(about).encode())
    return digest.hexdigest()


def _weight_records(archive: str | io.BytesIO) -> dict[str, str]:
    """The record of a pt2 archive that holds each tensor, by the tensor's name."""
    config = json.loads(torch._C.PyTorchFileReader(archive).get_record(WEIGHTS_CONFIG))["config"]
    return {name: WEIGHTS + about["path_name"] for name, about in config.items()}


def _filled(frame: Path, checkpoint: Checkpoint) -> memoryview:
    """The program of a checkpoint, byte for byte as :func:`pt2_bytes`, by one without weights.

    Raises:
        RuntimeError: there is no such file, or it is damaged.
        KeyError: it is a program of other tensors.
    """
    tensors = {f"classifier.network.{name}": v for name, v in checkpoint.model_state.items()}
    tensors["temperature"] = torch.tensor(checkpoint.temperature)
    records: dict[str, bytes] = {}
    for name, record in _weight_records(str(frame)).items():
        value = tensors.pop(name)
        # As to_channels_last lays it out in memory.
        laid_out = value.permute(0, 2, 3, 4, 1) if value.ndim == 5 else value
        records[record] = laid_out.contiguous().numpy().tobytes()
    if tensors:
        raise KeyError(*tensors)
    records[f"extra/{METADATA_NAME}"] = metadata_text(checkpoint, precision="fp32").encode()
    return _rewritten(str(frame), records)


def _rewritten(archive: str | io.BytesIO, records: Mapping[str, bytes]) -> memoryview:
    """A copy of a pt2 archive in which some records have other contents."""
    reader, buffer = torch._C.PyTorchFileReader(archive), io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    writer.set_min_version(6)  # as torch.export.save
    for name in reader.get_all_records():
        if not name.startswith(_OF_THE_WRITER):
            content = records[name] if name in records else reader.get_record(name)
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return buffer.getbuffer()


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
            model, (example_clips(checkpoint),), dynamic_shapes=free_batch()
        )
        _forget_origin(program)
        about = metadata_text(checkpoint, precision=precision)
        torch.export.save(program, buffer, extra_files={METADATA_NAME: about})
    return buffer.getbuffer()


def free_batch() -> tuple[dict[int, torch.export.Dim]]:
    """For the exporters: any number of clips."""
    return ({0: torch.export.Dim("batch")},)  # importing torch.export takes a second


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
        "limits": LIMITS,
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
