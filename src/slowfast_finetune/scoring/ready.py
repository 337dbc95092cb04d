"""The network of a checkpoint, made ready to be asked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.model.checkpoint import Checkpoint, Preprocessing, classifier_from
from slowfast_finetune.model.device import Precision, choose_device, choose_precision
from slowfast_finetune.model.speed import speed_up

_MOST_VIEWS = 8  # keeps a GPU busy; without gradients they need little memory
# A CPU answers larger batches no faster than this many pixels, and at 224 px more slowly: two
# clips of 16 frames took 0.83 of the time of eight, for each clip.
_CPU_PIXELS = 2 * 16 * 224**2


def ready_classifier(
    checkpoint: Checkpoint, runtime: RuntimeParams
) -> tuple[nn.Module, torch.device]:
    """The network in evaluation mode, on the device and in the precision that were asked for.

    It takes uint8 clips (B, T, H, W, 3) on that device and gives logits (B, classes).

    Raises:
        ParamsError: the device is not there.
    """
    device = choose_device(runtime)
    precision = choose_precision(runtime, device)
    classifier = classifier_from(checkpoint)
    speed_up(classifier)
    classifier.to(device)
    ready: nn.Module = classifier
    if precision != "32-true":
        ready = _MixedPrecision(classifier, device, precision)
    elif device.type == "cpu":
        ready = _PadsSingleClips(classifier)
    ready.eval()
    return ready, device


class _MixedPrecision(nn.Module):
    """Runs the network as Fabric's mixed precision does, which takes seconds to import."""

    def __init__(self, classifier: nn.Module, device: torch.device, precision: Precision) -> None:
        super().__init__()
        self.classifier = classifier
        self._device_type = device.type
        self._dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float16

    def forward(self, clips: Tensor) -> Tensor:
        """Answer clips (B, T, H, W, 3) by float32 logits (B, classes)."""
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
        """Answer clips (B, T, H, W, 3)."""
        if len(clips) > 1:
            return self.classifier(clips)  # type: ignore[no-any-return]
        return self.classifier(torch.cat([clips, clips]))[:1]  # type: ignore[no-any-return]


def views_at_once(shape: Preprocessing, device: torch.device) -> int:
    """How many clips are best shown in one batch, without gradients."""
    if device.type != "cpu":
        return _MOST_VIEWS
    return max(1, min(_MOST_VIEWS, _CPU_PIXELS // (shape.num_frames * shape.crop_size**2)))
