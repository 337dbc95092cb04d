"""Export a checkpoint, compare the result with it, and only then write the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slowfast_finetune.base.errors import ExportError
from slowfast_finetune.base.files import write_bytes
from slowfast_finetune.exporting.onnx_file import OPSET, onnx_bytes
from slowfast_finetune.exporting.parity import Parity, measure_parity, onnx_runner, pt2_runner
from slowfast_finetune.model.checkpoint import Checkpoint, load_checkpoint
from slowfast_finetune.model.exported import Precision, pt2_bytes

Format = Literal["pt2", "onnx"]

# Largest accepted difference of a probability. With bfloat16 (8 significant bits, float32 has 24)
# the difference depends on the model, so that its limit only catches a broken file.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "bf16": 0.1}


@dataclass(frozen=True)
class Exported:
    """A written export and its agreement with the checkpoint; ``shape`` is that of one clip."""

    path: Path
    file_format: Format
    precision: Precision
    num_bytes: int
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    parity: Parity


def export(
    checkpoint_path: Path,
    *,
    file_format: Format,
    precision: Precision = "fp32",
    output: Path | None = None,
    project: Path,
) -> Exported:
    """Export a checkpoint to ``output``, by default beside the checkpoint.

    Args:
        project: folder whose data/clips.csv and clip store provide real clips for the comparison.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ExportError: a library is missing, or the exported model's probabilities differ.
    """
    if file_format == "onnx" and precision != "fp32":
        raise ExportError("--precision bf16 is for --format pt2; ONNX files are fp32")
    checkpoint = load_checkpoint(checkpoint_path)
    content, parity = _exported_bytes(checkpoint, file_format, precision, project)
    tolerance = TOLERANCE[precision]
    if not parity.difference <= tolerance:
        raise ExportError(
            f"the exported model is not the checkpoint's: probabilities differ by "
            f"{parity.difference:.2g}, {tolerance:g} is allowed; nothing was written"
        )
    path = output or default_output(checkpoint_path, file_format=file_format, precision=precision)
    write_bytes(path, content)
    shape = checkpoint.preprocessing
    return Exported(
        path,
        file_format,
        precision,
        len(content),
        (shape.num_frames, shape.crop_size, shape.crop_size, 3),
        tuple(checkpoint.class_names),
        parity,
    )


def _exported_bytes(
    checkpoint: Checkpoint, file_format: Format, precision: Precision, project: Path
) -> tuple[bytes | memoryview, Parity]:
    if file_format == "onnx":
        model = onnx_bytes(checkpoint)
        return model, measure_parity(checkpoint, onnx_runner(model), project=project)
    program = pt2_bytes(checkpoint, precision=precision)
    return program, measure_parity(checkpoint, pt2_runner(program), project=project)


def default_output(checkpoint_path: Path, *, file_format: Format, precision: Precision) -> Path:
    """Return the default path: models/best.onnx, models/best.pt2 or models/best_bf16.pt2."""
    ending = "" if precision == "fp32" else f"_{precision}"
    return checkpoint_path.with_name(f"{checkpoint_path.stem}{ending}.{file_format}")


def describe_export(exported: Exported) -> str:
    """Describe the written file: its size, input, output and parity."""
    parity = exported.parity
    kind = f"ONNX opset {OPSET}" if exported.file_format == "onnx" else "torch.export program"
    shape = ", ".join(map(str, exported.shape))
    real = (
        f"{parity.real_difference:.1e} on {parity.num_real} real clips"
        if parity.num_real
        else "not compared on real clips (this project has none)"
    )
    total = parity.num_random + parity.num_real
    return "\n".join(
        [
            f"{exported.path}: {exported.num_bytes / 1e6:.1f} MB, {kind}, {exported.precision}",
            f"in:      clips, uint8 (B, {shape}), RGB; any batch size B",
            f"out:     probabilities, float32 (B, {len(exported.class_names)}): "
            + ", ".join(exported.class_names),
            f"parity:  probabilities differ from the checkpoint's by at most "
            f"{parity.random_difference:.1e} on {parity.num_random} random clips, {real}; "
            f"most probable class differs on {parity.num_turned} of {total}",
            f"example: examples/run_{exported.file_format}.py; preprocessing: docs/exporting.md",
        ]
    )
