"""Export a checkpoint, compare the result with it, and only then write the file."""

from pathlib import Path
from typing import Literal

from slowfast_finetune.base.errors import ExportError
from slowfast_finetune.base.files import write_bytes
from slowfast_finetune.exporting.int8_file import int8_bytes, int8_runner, quantised
from slowfast_finetune.exporting.onnx_file import OPSET, onnx_bytes
from slowfast_finetune.exporting.parity import measure_parity, onnx_runner, pt2_runner
from slowfast_finetune.model.checkpoint import Checkpoint, load_checkpoint
from slowfast_finetune.model.exported_program import Precision, pt2_bytes

Format = Literal["pt2", "onnx", "int8"]

# Largest accepted difference of a probability. With bfloat16 (8 significant bits, float32 has 24)
# the difference depends on the model, so that its limit only catches a broken file.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "bf16": 0.1}
# In 8 bits probabilities differ; what counts is how many of the answers do.
INT8_NUM_REAL, INT8_MAX_TURNED = 64, 0.1


def export(
    checkpoint_path: Path,
    *,
    file_format: Format,
    precision: Precision = "fp32",
    output: Path | None = None,
    project: Path,
) -> str:
    """Export a checkpoint to ``output``, by default beside the checkpoint, and describe the file.

    Args:
        project: folder whose data/clips.csv and clip store provide real clips for the comparison.

    Returns:
        Size, input, output and parity of the file, one line each.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ExportError: a library is missing, or the exported model's probabilities differ.
    """
    if file_format != "pt2" and precision != "fp32":
        raise ExportError(f"--precision bf16 is for --format pt2, not for {file_format}")
    if file_format == "int8" and output is not None:
        raise ExportError("--out is not for int8: predict and serve look beside the checkpoint")
    ending = "" if precision == "fp32" else f"_{precision}"
    beside = checkpoint_path.with_name(f"{checkpoint_path.stem}{ending}.{file_format}")
    path = output or beside
    if path.resolve() == checkpoint_path.resolve():
        raise ExportError(f"{path}: is the checkpoint itself; it would be overwritten")
    checkpoint = load_checkpoint(checkpoint_path)
    if file_format == "int8":
        return _export_int8(checkpoint, checkpoint_path, path, project=project)
    content: bytes | memoryview
    if file_format == "onnx":
        content, kind = onnx_bytes(checkpoint), f"ONNX opset {OPSET}"
        runner = onnx_runner(content)
    else:
        content, kind = pt2_bytes(checkpoint, precision=precision), "torch.export program"
        runner = pt2_runner(content)
    parity = measure_parity(checkpoint, runner, project=project)
    if not parity.difference <= TOLERANCE[precision]:
        raise ExportError(
            "the probabilities of the exported model and of the checkpoint differ by "
            f"{parity.difference:.2g}, {TOLERANCE[precision]:g} is allowed; nothing was written"
        )
    write_bytes(path, content)
    shape, names = checkpoint.preprocessing, checkpoint.class_names
    side = shape.crop_size
    return "\n".join(
        [
            f"{path}: {len(content) / 1e6:.1f} MB, {kind}, {precision}",
            f"in:      clips, uint8 (B, {shape.num_frames}, {side}, {side}, 3), RGB; "
            "any batch size B",
            f"out:     probabilities, float32 (B, {len(names)}): {', '.join(names)}",
            f"parity:  probabilities differ from the checkpoint's by at most {parity}",
            f"example: examples/run_{file_format}.py; preprocessing: docs/exporting.md",
        ]
    )


def _export_int8(
    checkpoint: Checkpoint, checkpoint_path: Path, path: Path, *, project: Path
) -> str:
    """Write the network in 8 bits for predict and serve, unless it answers otherwise too often."""
    network = quantised(checkpoint, project=project)
    runner = int8_runner(*network, temperature=checkpoint.temperature)
    parity = measure_parity(checkpoint, runner, project=project, num_real=INT8_NUM_REAL)
    if parity.num_real_turned > INT8_MAX_TURNED * parity.num_real:
        raise ExportError(
            f"in 8 bits the model answers {parity.num_real_turned} of {parity.num_real} clips of "
            "test videos otherwise, a tenth is allowed; nothing was written"
        )
    content = int8_bytes(*network, checkpoint=checkpoint_path)
    write_bytes(path, content)
    return "\n".join(
        [
            f"{path}: {len(content) / 1e6:.1f} MB, weights and activations of 8 bits, for OpenVINO",
            f"parity:  probabilities differ from the checkpoint's by at most {parity}",
            f"use:     predict or serve with --checkpoint {checkpoint_path} --precision int8",
        ]
    )
