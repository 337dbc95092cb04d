"""Everything that changes in training, as one object whose state can be saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.params import AugmentParams, TrainParams
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.model.checkpoint import copied_state
from slowfast_finetune.model.device import keep_freed_memory
from slowfast_finetune.model.slowfast import HEAD_BLOCK, ClipClassifier, block_of
from slowfast_finetune.model.speed import speed_up
from slowfast_finetune.training.optimisation import Schedule, build_optimizer, weight_average

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer


@dataclass
class Learner:
    """The model, its optimiser, and how both are trained."""

    classifier: nn.Module  # uint8 clips (B, T, S, S, 3) → logits (B, classes), on the device
    compiled: nn.Module  # the same, compiled, or the classifier itself; shares its parameters
    optimizer: Optimizer
    average: AveragedModel | None  # the moving average of the weights; None if none is wanted
    criterion: nn.Module  # logits and labels → the loss of each clip (B,)
    recipe: TrainParams  # ``train:`` of params.yaml
    schedule: Schedule
    augment: AugmentParams
    fabric: Fabric

    @property
    def evaluation_model(self) -> nn.Module:
        """The model that is validated and kept: the average of the weights where there is one."""
        return self.classifier if self.average is None else self.average.module

    def network_state(self) -> dict[str, Tensor]:
        """The tensors of the evaluated network, for a checkpoint."""
        return copied_state(self.evaluation_model.get_submodule("network"))

    @property
    def num_trained(self) -> int:
        """Numbers that are trained in any epoch."""
        head_only = self.recipe.frozen_epochs == self.recipe.epochs
        return sum(
            parameter.numel()
            for group in self.optimizer.param_groups
            if group["part"] == "head" or not head_only
            for parameter in group["params"]
        )

    def begin_epoch(self, epoch: int) -> tuple[_FabricModule, _FabricOptimizer]:
        """Set what learns in an epoch, counted from 1; gives Fabric's model and optimiser."""
        begin_training(
            self.classifier,
            batch_norm=self.recipe.batch_norm,
            backbone_frozen=epoch <= self.recipe.frozen_epochs,
        )
        # Set up for each epoch: DDP decides what to share when it is made.
        model = self.fabric.setup_module(self.compiled)
        return model, self.fabric.setup_optimizers(self.optimizer)  # type: ignore[return-value]

    def state_dict(self) -> dict[str, Any]:
        """All that training has changed, as tensors and plain values."""
        return {
            "classifier": self.classifier.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),  # fp16's loss scale
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a learner that was built alike."""
        self.classifier.load_state_dict(state["classifier"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])


def build_learner(
    network: nn.Module,
    *,
    recipe: TrainParams,
    augment: AugmentParams,
    criterion: nn.Module,
    steps_per_epoch: int,
    fabric: Fabric,
) -> Learner:
    """Put the network on the device, with an optimiser and all else that it learns by.

    Args:
        criterion: logits (B, classes) and labels (B,) → losses (B,).
    """
    on_cpu = fabric.device.type == "cpu"
    if on_cpu:
        keep_freed_memory()
    speed_up(network)
    classifier = ClipClassifier(network).to(fabric.device)
    average = None
    if recipe.ema_decay is not None:
        average = weight_average(classifier, decay=recipe.ema_decay)
    return Learner(
        classifier=classifier,
        compiled=classifier,
        optimizer=build_optimizer(classifier, recipe, fused=on_cpu or None),
        average=average,
        criterion=criterion.to(fabric.device),
        recipe=recipe,
        schedule=Schedule(recipe, steps_per_epoch),
        augment=augment,
        fabric=fabric,
    )


def begin_training(model: nn.Module, *, batch_norm: str, backbone_frozen: bool) -> None:
    """Set what learns and what is random for an epoch of training.

    A frozen backbone neither learns nor moves its statistics. With ``batch_norm: frozen``, batch
    norms normalise by the statistics they came with; their scales and shifts still learn.
    """
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not backbone_frozen or block_of(name) == HEAD_BLOCK)
    if backbone_frozen or batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def training_criterion(
    rows: Sequence[ClipRow], class_names: Sequence[str], recipe: TrainParams
) -> nn.Module:
    """Cross-entropy of each clip, smoothed and weighted as the recipe says.

    A class weighs N / (classes × its videos), 1 on average over the clips (scikit-learn's
    "balanced"). Label smoothing is that of Szegedy et al., 2015.

    Raises:
        DataError: a class that is to be weighed has no clips.
    """
    weight = None
    if recipe.class_balance == "weights":
        counts = np.bincount([row.label for row in rows], minlength=len(class_names))
        if not counts.all():
            lacking = class_names[int(counts.argmin())]
            raise DataError(
                f"train.class_balance: weights: {lacking!r} has no usable training video to weigh"
            )
        weight = torch.from_numpy(len(rows) / (len(counts) * counts)).float()
    return nn.CrossEntropyLoss(weight, label_smoothing=recipe.label_smoothing, reduction="none")
