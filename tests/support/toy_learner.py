"""The smallest thing that learns like the real one: two classes of one colour each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import synthetic
import torch
from torch import Tensor, nn

from slowfast_finetune.base.params import AugmentParams, TrainParams
from slowfast_finetune.clips.clip_reader import Batch
from slowfast_finetune.clips.windows import MicroBatch, Window
from slowfast_finetune.training.learner import Learner
from slowfast_finetune.training.optimisation import Schedule, build_optimizer, weight_average
from slowfast_finetune.training.training_data import EpochFeed

RECIPE: dict[str, Any] = {
    **synthetic.make_params().train.model_dump(),
    "epochs": 4,
    "batch_size": 2,
    "optimizer": "adam",
    "learning_rate": 0.1,
    "weight_decay": 0.0,
}


def recipe(**changes: Any) -> TrainParams:
    return TrainParams.model_validate(RECIPE | changes)


def augment(**changes: Any) -> AugmentParams:
    return synthetic.make_params(augment=changes).augment


class MeanColour(nn.Module):
    """The smallest classifier of clips: a linear layer over the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.layer(clips.float().mean(dim=(1, 2, 3)) / 255)
        return logits


def coloured(labels: Sequence[int]) -> Batch:
    """Class 0 is red, class 1 is blue."""
    clips = torch.zeros(len(labels), 4, 2, 2, 3, dtype=torch.uint8)
    for position, label in enumerate(labels):
        clips[position, ..., 2 * label] = 200
    return Batch(clips, torch.tensor(labels))


class Batches:
    """A loader of given batches."""

    def __init__(self, *batches: Batch) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def feed(*labels: Sequence[int]) -> EpochFeed:
    """An epoch with a step of so many clips for each list of labels; clip i of it is called i."""
    steps = []
    for step in labels:
        windows = tuple(Window(clip, 0, 0, 0, 2) for clip in range(len(step)))
        steps.append([MicroBatch(windows, (), None, len(step), len(step), True)])

    def load(parts: Sequence[MicroBatch]) -> Batches:
        # Parts are taken from the end: an epoch that goes on lacks its first ones.
        return Batches(*(coloured(step) for step in labels[len(labels) - len(parts) :]))

    return EpochFeed(steps, load)  # type: ignore[arg-type]


def make_learner(
    fabric: Any,
    model: nn.Module | None = None,
    *,
    steps_per_epoch: int = 2,
    seed: int = 0,
    changes_of_augment: dict[str, Any] | None = None,
    criterion: Callable[..., Any] | None = None,
    **changes: Any,
) -> Learner:
    params = recipe(**changes)
    torch.manual_seed(seed)
    model = MeanColour() if model is None else model
    average = None
    if params.ema_decay is not None:
        average = weight_average(model, decay=params.ema_decay)
    return Learner(
        classifier=model,
        compiled=model,
        optimizer=build_optimizer(model, params),
        average=average,
        criterion=criterion  # type: ignore[arg-type]
        or nn.CrossEntropyLoss(reduction="none", label_smoothing=params.label_smoothing),
        recipe=params,
        schedule=Schedule(params, steps_per_epoch),
        augment=augment(**(changes_of_augment or {})),
        fabric=fabric,
    )
