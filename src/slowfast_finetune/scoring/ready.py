"""Load the network of a checkpoint for inference."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.model.checkpoint import Checkpoint, Preprocessing, classifier_from
from slowfast_finetune.model.device import Precision, choose_device, choose_precision
from slowfast_finetune.model.speed import speed_up

_MAX_VIEWS = 8  # per batch on a GPU; without gradients they need little memory
# Larger batches are no faster on a CPU, and slower at 224 px: per clip of 16 frames, batches of two
# took 0.83 of the time of batches of eight.
_CPU_PIXELS = 2 * 16 * 224**2


def ready_classifier(
    checkpoint: Checkpoint, runtime: RuntimeParams
) -> tuple[nn.Module, torch.device]:
    """Build the network of a checkpoint, and prepare it with :func:`made_ready`."""
    return made_ready(classifier_from(checkpoint), runtime)


def made_ready(
    classifier: nn.Module, runtime: RuntimeParams, *, pads: bool = True
) -> tuple[nn.Module, torch.device]:
    """Prepare a classifier, in place: evaluation mode, the requested device and its precision.

    It maps uint8 clips (B, T, H, W, 3) on that device to logits (B, classes).

    Args:
        pads: whether a single clip on a CPU is computed twice, so that it is rounded as several.

    Raises:
        ParamsError: the device does not exist.
    """
    device = choose_device(runtime)
    precision = choose_precision(runtime, device)
    speed_up(classifier)
    classifier.to(device)
    ready: nn.Module = classifier
    if precision != "32-true":
        ready = _MixedPrecision(classifier, device, precision)
    elif pads and device.type == "cpu":
        ready = _PadsSingleClips(classifier)
    ready.eval()
    return ready, device


def head_inputs(model: nn.Module) -> Callable[[], Tensor]:
    """Keep what the last layer of a classifier is given: its features.

    Returns:
        A function that gives those of the latest batch, float32 (B, D); of a single clip that was
        padded they are two rows.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept[:] = inputs

    (head,) = (part for name, part in model.named_modules() if name.endswith("blocks.6.proj"))
    head.register_forward_pre_hook(keep)
    return lambda: kept[0].flatten(1).float()


class _MixedPrecision(nn.Module):
    """Runs the network in mixed precision, like Fabric, whose import takes seconds."""

    def __init__(self, classifier: nn.Module, device: torch.device, precision: Precision) -> None:
        super().__init__()
        self.classifier = classifier
        self._device_type = device.type
        self._dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float16

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, H, W, 3) to float32 logits (B, classes)."""
        with torch.autocast(self._device_type, dtype=self._dtype):
            logits: Tensor = self.classifier(clips)
        return logits.float()


class _PadsSingleClips(nn.Module):
    """Duplicates a single-clip batch, so that results do not depend on the batch size.

    In fp32, torch convolves one clip on a CPU by another algorithm than two or eight, which rounds
    differently.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, H, W, 3) to logits (B, classes)."""
        if len(clips) > 1:
            return self.classifier(clips)  # type: ignore[no-any-return]
        return self.classifier(torch.cat([clips, clips]))[:1]  # type: ignore[no-any-return]


def views_at_once(shape: Preprocessing, device: torch.device) -> int:
    """Return the batch size at which inference on this device is fastest."""
    if device.type != "cpu":
        return _MAX_VIEWS
    # Two at least: a single clip takes the time of two, see _PadsSingleClips.
    return max(2, min(_MAX_VIEWS, _CPU_PIXELS // (shape.num_frames * shape.crop_size**2)))
