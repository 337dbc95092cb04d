"""Compare an exported model with its checkpoint on random and on real clips."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.extras import import_extra
from slowfast_finetune.base.manifest_table import Split
from slowfast_finetune.base.params import ClipParams
from slowfast_finetune.base.store_location import store_root
from slowfast_finetune.clips.clip_reader import ClipReader
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.clips.windows import plan_views
from slowfast_finetune.model.checkpoint import Checkpoint
from slowfast_finetune.model.exported_program import ClipProbabilities, example_clips

Clips = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.floating]
Runner = Callable[[Clips], Probabilities]

NUM_RANDOM = 3
NUM_REAL = 8


@dataclass(frozen=True)
class Parity:
    """Differences between the probabilities of an exported model and of its checkpoint."""

    num_real: int  # clips from test videos, beside NUM_RANDOM of random pixels
    random_difference: float  # largest absolute difference over the random clips and classes
    real_difference: float  # the same over the real clips
    num_turned: int  # clips whose most probable class differs
    num_real_turned: int  # of these, the real ones

    @property
    def difference(self) -> float:
        """Largest difference over all clips."""
        return max(self.random_difference, self.real_difference)

    def __str__(self) -> str:
        real = (
            f"{self.real_difference:.1e} on {self.num_real} real clips"
            if self.num_real
            else "not compared on real clips (this project has none)"
        )
        return (
            f"{self.random_difference:.1e} on {NUM_RANDOM} random clips, {real}; most probable "
            f"class differs on {self.num_turned} of {NUM_RANDOM + self.num_real}"
        )


def measure_parity(
    checkpoint: Checkpoint, runner: Runner, *, project: Path, num_real: int = NUM_REAL
) -> Parity:
    """Run both on the same clips: the checkpoint one by one, the export in two batch sizes.

    Args:
        num_real: clips of test videos of the project, at most.
    """
    shape = (NUM_RANDOM, *example_clips(checkpoint).shape[1:])
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    real = stored_clips(checkpoint, project=project, split="test", at_most=num_real)
    clips = np.concatenate([noise, real])
    model = ClipProbabilities(checkpoint)
    with torch.inference_mode():
        wanted = np.concatenate([model(torch.from_numpy(clip[None])).numpy() for clip in clips])
    # The first clip alone and the others as one batch, since any batch size must work.
    found = np.concatenate([runner(clips[:1]), runner(clips[1:])])
    differences = np.abs(wanted - found).max(axis=1)
    turned = wanted.argmax(axis=1) != found.argmax(axis=1)
    return Parity(
        num_real=len(real),
        random_difference=float(differences[:NUM_RANDOM].max()),
        real_difference=float(differences[NUM_RANDOM:].max(initial=0)),
        num_turned=int(turned.sum()),
        num_real_turned=int(turned[NUM_RANDOM:].sum()),
    )


def stored_clips(checkpoint: Checkpoint, *, project: Path, split: Split, at_most: int) -> Clips:
    """Read centre clips of videos, spread over the split, (N, T, H, W, 3); N may be 0."""
    shape = checkpoint.preprocessing
    try:
        rows = CLIPS.read_rows(project / "data" / "clips.csv")
        clip_params = ClipParams.model_validate(checkpoint.params.get("clip"))
        folder = ClipStore(store_root(project), clip_params).folder
        rows = [row for row in rows if row.split == split and row.settings == folder.name]
        # Rows lie class by class.
        spread = np.linspace(0, len(rows) - 1, min(at_most, len(rows))).round()
        rows = [rows[int(position)] for position in spread]
        if rows:
            reader = ClipReader(rows, folder=folder, shape=shape)
            return reader.gather(plan_views(rows, shape)).clips.numpy().copy()
    except (DataError, ValueError):
        pass  # there is no project, or its clips are made otherwise
    return np.zeros((0, shape.num_frames, shape.crop_size, shape.crop_size, 3), np.uint8)


def pt2_runner(content: bytes | memoryview) -> Runner:
    """Load a torch.export program that this process has just exported."""
    program = torch.export.load(io.BytesIO(content)).module()

    return torch.no_grad()(lambda clips: program(torch.from_numpy(clips)).numpy())


def onnx_runner(content: bytes) -> Runner:
    """Load an ONNX model that this process has just exported."""
    onnxruntime = import_extra("onnxruntime", extra="onnx", what="ONNX")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    return lambda clips: session.run(None, {"clips": clips})[0]
