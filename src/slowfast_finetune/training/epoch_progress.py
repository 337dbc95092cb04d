"""Progress of a run: the finished epochs, and how far the next one has come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from slowfast_finetune.scoring.metrics import score
from slowfast_finetune.training.history import EpochRow
from slowfast_finetune.training.optimisation import Part

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass
class Tally:
    """Collects the loss, the prediction and the label of every clip.

    They stay on the device until the end of the pass: fetching them earlier would make it wait.
    """

    losses: list[Tensor] = field(default_factory=list)
    predicted: list[Tensor] = field(default_factory=list)
    true: list[Tensor] = field(default_factory=list)

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: losses (B,), logits (B, classes), labels (B,)."""
        self.losses.append(losses.detach())
        self.predicted.append(logits.detach().argmax(dim=1))
        self.true.append(labels)

    def state_dict(self) -> dict[str, Tensor]:
        """Losses float32, predictions and labels int64, each (N,) on the CPU."""
        kinds = {"losses": torch.float32, "predicted": torch.int64, "true": torch.int64}
        return {
            name: torch.cat([torch.zeros(0, dtype=kind), *(p.cpu() for p in vars(self)[name])])
            for name, kind in kinds.items()
        }

    def results(self) -> dict[str, float]:
        """``loss``, the mean over clips, and the scores; the same in whatever order they came."""
        state = self.state_dict()
        scores = score(state["true"].numpy(), state["predicted"].numpy())
        loss = math.fsum(state["losses"].tolist()) / len(state["losses"])
        return {"loss": loss, **scores}


def merge(tally: Tally, fabric: Fabric) -> Tally:
    """The tallies of all devices together, on each of them."""
    states = gather(tally.state_dict(), fabric)
    return Tally(**{name: [state[name] for state in states] for name in states[0]})


def gather(value: Any, fabric: Fabric) -> list[Any]:
    """A small value of every process, in the order of their ranks, on each of them."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


@dataclass
class EpochProgress:
    """Progress of one epoch."""

    step: int = 0  # steps done
    tally: Tally = field(default_factory=Tally)  # loss, prediction and label of each clip so far
    # L2 norm of the gradient of each step so far, by part; before clipping.
    grad_norms: dict[Part, list[Tensor]] = field(
        default_factory=lambda: {"head": [], "backbone": []}
    )
    seconds: float = 0.0  # spent on these steps
    waiting_seconds: float = 0.0  # of these, waiting for data

    @property
    def waiting_share(self) -> float:
        """Share of the time that was spent waiting for data."""
        return self.waiting_seconds / self.seconds if self.seconds else 0.0

    def state_dict(self, fabric: Fabric) -> dict[str, Any]:
        """Tensors on the CPU and plain values; of all devices, so each must call it."""
        return {
            "step": self.step,
            "tally": merge(self.tally, fabric).state_dict(),
            "grad_norms": {
                part: torch.stack(norms).cpu() if norms else torch.zeros(0)
                for part, norms in self.grad_norms.items()
            },
            "seconds": self.seconds,
            "waiting_seconds": self.waiting_seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any], fabric: Fabric) -> None:
        """Go on from a state; its tally is that of all devices, and one of them counts it."""
        self.step = state["step"]
        if fabric.is_global_zero:
            self.tally = Tally(**{name: [values] for name, values in state["tally"].items()})
        self.grad_norms = {
            part: list(norms.to(fabric.device)) for part, norms in state["grad_norms"].items()
        }
        self.seconds, self.waiting_seconds = state["seconds"], state["waiting_seconds"]


@dataclass
class TrainingProgress:
    """Progress of a run: the rows of finished epochs, and the progress of the next one."""

    history: list[EpochRow] = field(default_factory=list)
    epoch: EpochProgress = field(default_factory=EpochProgress)

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss, the first of several; 0 if there is none."""
        return min(self.history, key=lambda row: row.val_loss).epoch if self.history else 0

    def is_out_of_patience(self, patience: int | None) -> bool:
        """Whether validation has not improved for ``patience`` epochs."""
        return patience is not None and len(self.history) - self.best_epoch >= patience

    def finish_epoch(self, row: EpochRow) -> bool:
        """Add an epoch's row and begin the next; whether its validation loss is the lowest."""
        self.history.append(row)
        self.epoch = EpochProgress()
        return self.best_epoch == row.epoch

    def state_dict(self, fabric: Fabric) -> dict[str, Any]:
        """Tensors on the CPU and plain values; of all devices, so each must call it."""
        return {
            "history": [row._asdict() for row in self.history],
            "epoch": self.epoch.state_dict(fabric),
        }

    def load_state_dict(self, state: Mapping[str, Any], fabric: Fabric) -> None:
        """Go on from a state."""
        self.history = [EpochRow(**row) for row in state["history"]]
        self.epoch.load_state_dict(state["epoch"], fabric)
