"""The training loop: read it from the top."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from slowfast_finetune.clips.clip_reader import Batch, ClipLoader
from slowfast_finetune.console import progress
from slowfast_finetune.errors import TrainingError
from slowfast_finetune.evaluation.metrics import Scores, score
from slowfast_finetune.training.history import EpochRow


@dataclass(frozen=True)
class Pass:
    """One pass over a split: mean loss a clip, and scores from 0 to 1."""

    loss: float
    scores: Scores


@dataclass(frozen=True)
class TrainingPass(Pass):
    """One training epoch: also the mean gradient norm (L2, before clipping)."""

    grad_norm: float


@dataclass
class _Tally:
    """Collects losses and predictions; nothing leaves the device before the end of a pass."""

    losses: list[Tensor] = field(default_factory=list)
    predicted: list[Tensor] = field(default_factory=list)
    true: list[Tensor] = field(default_factory=list)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.losses.append(loss.detach() * len(labels))
        self.predicted.append(logits.detach().argmax(dim=1))
        self.true.append(labels)

    def mean_loss(self) -> float:
        return float(torch.stack(self.losses).double().sum()) / sum(map(len, self.true))

    def scores(self) -> Scores:
        return score(torch.cat(self.true).cpu().numpy(), torch.cat(self.predicted).cpu().numpy())


def train_one_epoch(
    model: nn.Module,
    loader: ClipLoader,
    criterion: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    *,
    fabric: Any,
    max_grad_norm: float | None,
    label: str,
    name_of_clip: Callable[[int], str],
) -> TrainingPass:
    """Train on every batch once.

    Raises:
        TrainingError: a loss is not finite; names the step and the clips.
    """
    model.train()
    tally, grad_norms = _Tally(), []
    for step, batch in enumerate(progress(loader, total=len(loader), label=label, unit="step"), 1):
        clips = batch.clips.to(fabric.device, non_blocking=True)
        labels = batch.labels.to(fabric.device, non_blocking=True)

        optimizer.zero_grad(set_to_none=True)
        logits = model(clips)
        loss = criterion(logits, labels)
        if not math.isfinite(loss.item()):
            raise TrainingError(_not_finite(loss.item(), step, batch, name_of_clip))
        fabric.backward(loss)
        # An infinite limit measures the norm and clips nothing.
        limit = math.inf if max_grad_norm is None else max_grad_norm
        norm = fabric.clip_gradients(model, optimizer, max_norm=limit, error_if_nonfinite=False)
        optimizer.step()
        scheduler.step()

        grad_norms.append(norm.detach())
        tally.add(loss, logits, labels)
    return TrainingPass(tally.mean_loss(), tally.scores(), float(torch.stack(grad_norms).mean()))


def _not_finite(loss: float, step: int, batch: Batch, name_of_clip: Callable[[int], str]) -> str:
    names = ", ".join(repr(name_of_clip(clip)) for clip in batch.clip_indices.tolist())
    advice = "try a smaller train.learning_rate"
    return f"the loss is {loss} at step {step}; {advice}; the clips are {names}"


@torch.inference_mode()
def validate(
    model: nn.Module,
    val_loader: Iterable[Any],
    criterion: nn.Module,
    device: torch.device,
) -> Pass:
    """Mean loss and scores of a model over batches ``(clips, labels, …)``; changes nothing."""
    was_training = model.training
    model.eval()
    tally = _Tally()
    for clips, labels, *_ in val_loader:
        labels = labels.to(device, non_blocking=True)
        logits = model(clips.to(device, non_blocking=True))
        tally.add(criterion(logits, labels), logits, labels)
    model.train(was_training)
    return Pass(tally.mean_loss(), tally.scores())


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    *,
    train_loader_of: Callable[[int], ClipLoader],
    val_loader: ClipLoader,
    label_smoothing: float,
    max_grad_norm: float | None,
    epochs: int,
    fabric: Any,
    name_of_clip: Callable[[int], str],
    on_epoch: Callable[[EpochRow, bool], None],
) -> list[EpochRow]:
    """Train for a number of epochs and validate after each.

    Args:
        train_loader_of: gives the batches of an epoch, counted from 1.
        on_epoch: is told each epoch's row and whether its validation loss is the lowest so far.

    Raises:
        TrainingError: a loss is not finite; names epoch, step and clips.
    """
    train_criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    # The loss that chooses the best epoch is the plain one, comparable between recipes.
    val_criterion = nn.CrossEntropyLoss()
    rows: list[EpochRow] = []
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        learning_rate = optimizer.param_groups[0]["lr"]
        try:
            train = train_one_epoch(
                model,
                train_loader_of(epoch),
                train_criterion,
                optimizer,
                scheduler,
                fabric=fabric,
                max_grad_norm=max_grad_norm,
                label=f"epoch {epoch}/{epochs}",
                name_of_clip=name_of_clip,
            )
        except TrainingError as error:
            raise TrainingError(f"epoch {epoch}: {error}") from error
        train_seconds = time.perf_counter() - started
        val = validate(model, val_loader, val_criterion, fabric.device)
        if not math.isfinite(val.loss):
            raise TrainingError(f"epoch {epoch}: the validation loss is {val.loss}")
        row = EpochRow.of(
            epoch,
            train,
            val,
            grad_norm=train.grad_norm,
            learning_rate=learning_rate,
            train_seconds=train_seconds,
            epoch_seconds=time.perf_counter() - started,
        )
        is_best = not rows or val.loss < min(previous.val_loss for previous in rows)
        rows.append(row)
        on_epoch(row, is_best)
    return rows
