"""Stop a training whose loss or gradient is not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.training.optimisation import Part

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class FiniteCheck:
    """Stops at the first loss or gradient that is not finite, and names the clips of that step.

    It checks one step late, so that the CPU does not wait for a GPU that still computes the step.
    """

    def __init__(self, fabric: Fabric, name_of_clip: Callable[[int], str]) -> None:
        # fp16 scales its losses until gradients overflow, and skips such steps by itself.
        self._overflow_is_normal = fabric.strategy.precision.precision == "16-mixed"
        self._name_of_clip = name_of_clip
        self._losses: list[Tensor] = []
        self._clips: list[Tensor] = []
        self._pending: Callable[[], None] | None = None

    def add(self, losses: Tensor, clip_indices: Tensor) -> None:
        """Note the losses (B,) of a micro-batch of the present step, and which clips it has."""
        self._losses.append(losses.detach())
        self._clips.append(clip_indices)

    def end_step(self, step: int, norms: Mapping[Part, Tensor]) -> None:
        """Check the step before this one, and keep this one for later.

        Raises:
            TrainingError: names the step, counted from 1, and its clips.
        """
        self.finish()
        losses, clips = torch.cat(self._losses), torch.cat(self._clips)
        norm = torch.stack([*norms.values()]).sum()
        self._pending = lambda: self._check(step, losses, clips, norm)
        self._losses, self._clips = [], []

    def finish(self) -> None:
        """Check the last step.

        Raises:
            TrainingError: names the step and its clips.
        """
        if self._pending is not None:
            self._pending()
            self._pending = None

    def _check(self, step: int, losses: Tensor, clips: Tensor, norm: Tensor) -> None:
        if torch.isfinite(losses).all():
            # The gradient is shared, so every device stops at the same step as the one at fault.
            if self._overflow_is_normal or torch.isfinite(norm):
                return
            what = f"the gradient norm is {norm.item()}"
        else:
            what = f"the loss is {losses.sum().item()}"
        names = ", ".join(repr(self._name_of_clip(clip)) for clip in sorted(set(clips.tolist())))
        raise TrainingError(
            f"{what} at step {step}; try a smaller train.learning_rate; the clips are {names}"
        )
