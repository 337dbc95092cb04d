"""What one pass over a split adds up to, over all devices, each clip counted once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from slowfast_finetune.scoring.metrics import score

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
        """``loss``, the mean over clips, and the fields of Scores.

        The same numbers in whatever order the clips were counted.
        """
        state = self.state_dict()
        scores = score(state["true"].numpy(), state["predicted"].numpy())
        loss = math.fsum(state["losses"].tolist()) / len(state["losses"])
        return {"loss": loss, **dataclasses.asdict(scores)}


def merge(tally: Tally, fabric: Fabric) -> Tally:
    """The tallies of all devices together, on each of them."""
    if fabric.world_size == 1:
        return tally
    states = gather(tally.state_dict())
    return Tally(**{name: [state[name] for state in states] for name in states[0]})


def gather(value: Any) -> list[Any]:
    """A small value of every process, in the order of their ranks, on each of them."""
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
