"""models/best.pt: the weights and everything needed to use them; loads without running code."""

from __future__ import annotations

import io
import math
import pickle
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.base.files import write_bytes
from slowfast_finetune.base.params import ClipParams, ClipShape, EvaluateParams, ModelName, Padding
from slowfast_finetune.model.slowfast import ALPHA, MEAN, STD, ClipClassifier, build_slowfast

FORMAT_VERSION = 3


@dataclass(frozen=True)
class Preprocessing(ClipShape):
    """How a clip is made from a video; what the model has been trained on."""

    sample_fps: float  # frames taken a second
    short_side: int  # of the scaled frame [px]
    padding: Padding  # how a video shorter than a clip is filled
    alpha: int = ALPHA  # fast frames to each slow frame
    mean: float = MEAN  # the model itself normalises, to (x / 255 - mean) / std
    std: float = STD

    @classmethod
    def from_params(cls, clip: ClipParams, *, crop_size: int) -> Preprocessing:
        """Collect the values that params.yaml holds in two sections."""
        shared = {"num_frames", "sample_fps", "short_side", "padding"}
        return cls(**clip.model_dump(include=shared), crop_size=crop_size)


@dataclass(frozen=True)
class Checkpoint:
    """A trained model at its best epoch."""

    model_state: dict[str, Tensor]  # under pytorchvideo's names
    class_names: list[str]  # by label
    preprocessing: Preprocessing
    params: dict[str, Any]  # all of params.yaml as it was
    epoch: int  # counted from 1
    val_loss: float  # cross-entropy on the validation split
    provenance: dict[str, Any]  # seed, versions, digest of the data, commit, device, first weights
    temperature: float = 1.0  # logits are divided by it before the softmax
    threshold: float = 0.0  # an answer less probable is "none of these"; from 0 to 1
    # What scoring.novelty.ClassDistances is made from; None in files of versions without it.
    class_distances: dict[str, Any] | None = None
    # The videos that trained the weights or chose the epoch, those of the first weights included:
    # int64 (N,), see :func:`video_numbers`; None in files of versions without it.
    seen: Tensor | None = None

    @property
    def model_name(self) -> ModelName:
        """Which architecture the weights belong to."""
        name: ModelName = self.params["model"]["name"]
        return name


def video_numbers(content_hashes: Iterable[str]) -> Tensor:
    """The videos as ``Checkpoint.seen`` has them: 63 bits of each content hash, int64 (N,)."""
    numbers = [int(each[-16:], 16) & 0x7FFF_FFFF_FFFF_FFFF for each in content_hashes]
    return torch.tensor(numbers, dtype=torch.int64)


def copied_state(network: nn.Module) -> dict[str, Tensor]:
    """Contiguous copies on the CPU of a network's tensors: loadable anywhere."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; it is a plain dict for ``torch.load(weights_only=True)``."""
    # asdict would copy every tensor.
    content = dict(vars(checkpoint)) | {
        "preprocessing": asdict(checkpoint.preprocessing),
        "format_version": FORMAT_VERSION,
    }
    # By way of memory: on a full disk torch's own writer fails with an error about positions.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint that this project wrote.

    Raises:
        CheckpointError: missing, cut short, of another kind, or of a newer format.
    """
    try:
        content = load_plain(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: no such checkpoint; run `dvc repro`, in the project's folder"
        ) from error
    except UnreadableError as error:
        raise CheckpointError(f"{path}: cannot be used: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version is None:
        raise CheckpointError(f"{path}: is not a checkpoint of this project")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: has format {version}; this version reads {FORMAT_VERSION}")
    content = {"class_distances": None, "seen": None} | content
    lacking = [name for name in Checkpoint.__dataclass_fields__ if name not in content]
    if lacking:
        raise CheckpointError(f"{path}: lacks {', '.join(lacking)}")
    fields = {name: content[name] for name in Checkpoint.__dataclass_fields__}
    try:
        fields["preprocessing"] = Preprocessing(**content["preprocessing"])
        checkpoint = Checkpoint(**fields)
        if checkpoint.model_name not in get_args(ModelName):
            raise KeyError(checkpoint.model_name)
        _check_values(checkpoint)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: class_names, preprocessing, params, temperature, threshold or seen "
            "is not as this project writes it"
        ) from error
    return checkpoint


def _check_values(checkpoint: Checkpoint) -> None:
    """Raise ValueError or TypeError for values that no run of this project writes."""
    shape, names = checkpoint.preprocessing, checkpoint.class_names
    shared = ("num_frames", "sample_fps", "short_side", "padding")
    ClipParams.restored({name: getattr(shape, name) for name in shared} | {"max_seconds": 1})
    is_sound = (
        isinstance(shape.crop_size, int)
        and 1 <= shape.crop_size <= shape.short_side
        and (shape.alpha, shape.mean, shape.std) == (ALPHA, MEAN, STD)
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and 1 <= len(set(names)) == len(names)
        and 0 < checkpoint.temperature < math.inf
        and 0 <= checkpoint.threshold <= 1
        and (checkpoint.seen is None or is_list_of_videos(checkpoint.seen))
    )
    if not is_sound:
        raise ValueError("out of range")


def is_list_of_videos(value: object) -> bool:
    """Whether a value can be ``Checkpoint.seen``."""
    return isinstance(value, Tensor) and value.dtype == torch.int64 and value.ndim == 1


def view_params(checkpoint: Checkpoint) -> tuple[ClipParams, EvaluateParams]:
    """The sections ``clip`` and ``evaluate`` of a run's parameters.

    Raises:
        CheckpointError: they are not as this project writes them.
    """
    try:
        clip, evaluate = (checkpoint.params[name] for name in ("clip", "evaluate"))
        return ClipParams.restored(clip), EvaluateParams.model_validate(evaluate)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            "the checkpoint's params.evaluate or params.clip is not as written here"
        ) from error


def classifier_from(checkpoint: Checkpoint) -> ClipClassifier:
    """Build the network of a checkpoint with its weights, in evaluation mode.

    Raises:
        CheckpointError: weights and architecture do not fit.
    """
    network = build_slowfast(checkpoint.model_name, num_classes=len(checkpoint.class_names))
    try:
        network.load_state_dict(checkpoint.model_state, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint's tensors are not those of {checkpoint.model_name} with "
            f"{len(checkpoint.class_names)} classes"
        ) from error
    return ClipClassifier(network).eval()


class UnreadableError(Exception):
    """The file is not what torch.save writes; the message says in which way."""


def load_plain(path: Path) -> Any:
    """Load tensors and plain values to the CPU.

    Raises:
        UnreadableError: cut short, of another kind, or carrying code.
        OSError: it cannot be read at all.
    """
    try:
        with warnings.catch_warnings():
            # Notices to torch's own developers about the pickle protocol of foreign files.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text advises to load it unsafely.
        if "GLOBAL" in str(error):
            raise UnreadableError("it carries code, which is not run") from error
        raise UnreadableError("it is not a file of tensors") from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UnreadableError("it is cut short or damaged, or not a file of tensors") from error
