"""Load the network of a checkpoint for inference."""

from typing import Literal

import torch
from torch import Tensor, nn

from slowfast_finetune.base.params import ClipShape, RuntimeParams
from slowfast_finetune.model.device import Precision, choose_device, choose_precision
from slowfast_finetune.model.speed import speed_up

_MAX_VIEWS = 8  # per batch on a GPU; without gradients they need little memory
# Larger batches are no faster on a CPU, and slower at 224 px: per clip of 16 frames, batches of two
# took 0.83 of the time of batches of eight.
_CPU_PIXELS = 2 * 16 * 224**2


def made_ready(
    classifier: nn.Module, runtime: RuntimeParams, *, pads: bool = True
) -> tuple[nn.Module, torch.device]:
    """Prepare a classifier, in place: evaluation mode, the requested device and its precision.

    It maps uint8 clips (B, T, H, W, 3) on that device as :func:`with_features` does.

    Args:
        pads: whether a single clip on a CPU is computed twice, so that it is rounded as several.

    Raises:
        ParamsError: the device does not exist.
    """
    device = choose_device(runtime)
    precision = choose_precision(runtime, device)
    speed_up(classifier)
    classifier.to(device)
    return _Ready(classifier, device, precision, pads=pads).eval(), device


def with_features(classifier: nn.Module, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) of clips, and their features (B, D): what the last layer is given.

    Both are float32.
    """
    kept: list[Tensor] = []
    (head,) = (part for name, part in classifier.named_modules() if name.endswith("blocks.6.proj"))
    with head.register_forward_pre_hook(lambda _, inputs: kept.extend(inputs)):
        logits = classifier(clips)
    return logits.float(), kept[0].flatten(1).float()


def autocast(device_type: str, precision: Precision) -> torch.autocast:
    """Compute in a precision, like Fabric, whose import takes seconds."""
    half = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device_type, dtype=half, enabled=precision != "32-true")


class _Ready(nn.Module):
    """Runs the network in its precision, on one clip as on several.

    In fp32, torch convolves one clip on a CPU by another algorithm than two or eight, which rounds
    differently; so a single clip is computed twice there.
    """

    def __init__(
        self, classifier: nn.Module, device: torch.device, precision: Precision, *, pads: bool
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self._device_type, self._precision = device.type, precision
        self._pads = pads and device.type == "cpu" and precision == "32-true"

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Map clips (B, T, H, W, 3) as :func:`with_features` does."""
        shown = torch.cat([clips, clips]) if self._pads and len(clips) == 1 else clips
        with autocast(self._device_type, self._precision):
            logits, features = with_features(self.classifier, shown)
        return logits[: len(clips)], features[: len(clips)]


def views_at_once(
    shape: ClipShape, device: torch.device, wanted: int | Literal["auto"] = "auto"
) -> int:
    """Return the batch size that is wanted, else that at which inference here is fastest."""
    if wanted != "auto":
        return wanted
    if device.type != "cpu":
        return _MAX_VIEWS
    # Two at least: a single clip takes the time of two, see _Ready.
    return max(2, min(_MAX_VIEWS, _CPU_PIXELS // (shape.num_frames * shape.crop_size**2)))
