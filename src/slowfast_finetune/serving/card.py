"""What is known of a model, as Markdown."""

from __future__ import annotations

from pathlib import Path

from slowfast_finetune.model.checkpoint import Checkpoint

MAX_CARD_BYTES = 200_000


def card_text(checkpoint_path: Path, checkpoint: Checkpoint) -> str:
    """The card beside the checkpoint; where there is none, what the checkpoint itself tells."""
    try:
        content = checkpoint_path.with_name("README.md").read_bytes()
    except OSError:
        return _from_checkpoint(checkpoint)
    return content[:MAX_CARD_BYTES].decode("utf-8", "replace")


def _from_checkpoint(checkpoint: Checkpoint) -> str:
    shape = checkpoint.preprocessing
    facts: dict[str, object] = {
        "classes": ", ".join(checkpoint.class_names),
        "clip": f"{shape.num_frames} frames at {shape.sample_fps:g} a second, "
        f"{shape.crop_size} × {shape.crop_size} px of a frame {shape.short_side} px high or wide",
        "best epoch": checkpoint.epoch,
        "validation loss": f"{checkpoint.val_loss:.4f}",
        "threshold": f"{checkpoint.threshold:.3f}",
        "temperature": f"{checkpoint.temperature:.3f}",
    }
    known = {
        key.replace("_", " "): value
        for key, value in checkpoint.provenance.items()
        if isinstance(value, str | int | float)
    }
    rows = [f"| {key} | {value} |" for key, value in {**facts, **known}.items()]
    return "\n".join([f"# {checkpoint.model_name}", "", "| | |", "| --- | --- |", *rows, ""])
