"""The training loop: read it from the top.

What an epoch does follows from its number and the seed, not from what ran before: the clips, the
learning rates and the random numbers of a step are functions of the step. So a run that was killed
goes on as if nothing had been.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from slowfast_finetune.base.console import Bar
from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.base.params import AugmentParams, TrainParams
from slowfast_finetune.clips.clip_reader import Batch, ClipLoader
from slowfast_finetune.clips.windows import MicroBatch
from slowfast_finetune.training.augmentation import mix_clips, rand_augment, zoom_and_mirror
from slowfast_finetune.training.batch_norm import begin_training, recompute_statistics
from slowfast_finetune.training.history import EpochRow
from slowfast_finetune.training.memory import out_of_memory_advice, peak_memory_mb
from slowfast_finetune.training.optimisation import Part, Schedule, grad_norms
from slowfast_finetune.training.tally import Pass, Tally, merge, result_of

PRECISE_CLIPS = 256  # whose statistics "precise" batch norm takes; more change little


@dataclass
class Learner:
    """Everything that changes while training, and how it is changed.

    Attributes:
        classifier: uint8 clips (B, T, S, S, 3) → logits (B, classes), on the device.
        compiled: the same, compiled, or the classifier itself; shares its parameters.
        average: the moving average of the weights; None if none is wanted.
        criterion: logits and labels → the loss of each clip (B,).
    """

    classifier: nn.Module
    compiled: nn.Module
    optimizer: Optimizer
    average: AveragedModel | None
    criterion: nn.Module
    schedule: Schedule
    augment: AugmentParams
    fabric: Any

    @property
    def judged(self) -> nn.Module:
        """What is validated and kept: the average of the weights where there is one."""
        return self.classifier if self.average is None else self.average.module

    @property
    def recipe(self) -> TrainParams:
        """``train:`` of params.yaml."""
        return self.schedule.params


@dataclass(frozen=True)
class EpochFeed:
    """The clips of an epoch for this device: the plan, and a loader of any part of it."""

    steps: Sequence[Sequence[MicroBatch]]
    load: Callable[[Sequence[MicroBatch]], ClipLoader]

    def batches(self, *, from_step: int = 0) -> ClipLoader:
        """Batches of windows and then partners, one for each part of each step."""
        return self.load([part for step in self.steps[from_step:] for part in step])


@dataclass
class Sofar:
    """How far an epoch has come.

    Attributes:
        step: steps done.
        grad_norms: of each step so far, by part; before clipping.
        seconds: spent on them.
        waiting_seconds: of these, waiting for data.
    """

    step: int = 0
    tally: Tally = field(default_factory=Tally)
    grad_norms: dict[Part, list[Tensor]] = field(
        default_factory=lambda: {"head": [], "backbone": []}
    )
    seconds: float = 0.0
    waiting_seconds: float = 0.0


def train_one_epoch(
    learner: Learner,
    feed: EpochFeed,
    *,
    epoch: int,
    sofar: Sofar,
    name_of_clip: Callable[[int], str] = str,
    after_step: Callable[[Sofar], None] = lambda _: None,
) -> None:
    """Take every step of an epoch, counted from 1, that ``sofar`` lacks; brings it up to date.

    Raises:
        TrainingError: a loss or gradient is not finite, names the step and the clips; or a batch
            does not fit into the device's memory.
    """
    recipe, fabric = learner.recipe, learner.fabric
    model, optimizer = _set_up(learner, epoch)
    guard = _FiniteGuard(fabric, name_of_clip)
    batches = _Waiting(feed.batches(from_step=sofar.step), sofar)
    with Bar(
        f"epoch {epoch}/{recipe.epochs}",
        unit="clip",
        total=_num_clips(feed.steps),
        done=_num_clips(feed.steps[: sofar.step]),
        hidden=not fabric.is_global_zero,
    ) as bar:
        for parts in feed.steps[sofar.step :]:
            started = time.perf_counter()
            step = (epoch - 1) * learner.schedule.steps_per_epoch + sofar.step
            learner.schedule.apply(learner.optimizer, step)
            _seed(recipe.seed, step, fabric.global_rank)
            optimizer.zero_grad(set_to_none=True)
            with out_of_memory_advice(len(parts[0].windows), fabric):
                for part in parts:
                    batch = next(batches)
                    with fabric.no_backward_sync(model, enabled=not part.ends_step):
                        losses, logits, labels = _losses(model, batch, part, learner)
                        # Devices average their gradients, so each weighs its clips by their number.
                        fabric.backward(losses.sum() * (fabric.world_size / part.step_size))
                    counted = slice(part.num_counted)
                    sofar.tally.add(losses[counted], logits[counted], labels[counted])
                    guard.saw(losses, batch)
                norms = _clip_gradients(learner)
                guard.end_of_step(sofar.step + 1, norms)
                optimizer.step()
                if learner.average is not None:
                    learner.average.update_parameters(learner.classifier)

            for name, norm in norms.items():
                sofar.grad_norms[name].append(norm)
            sofar.step += 1
            sofar.seconds += time.perf_counter() - started
            bar.advance(_num_clips([parts]), note=f"waiting for data {_waiting_share(sofar):.0%}")
            after_step(sofar)
        started = time.perf_counter()
        guard.finish()  # where a GPU is still at its last step, this waits for it
        sofar.seconds += time.perf_counter() - started


def _set_up(learner: Learner, epoch: int) -> tuple[Any, Any]:
    """Model and optimiser in Fabric's hands, for what learns in this epoch."""
    frozen = epoch <= learner.recipe.frozen_epochs
    begin_training(learner.classifier, batch_norm=learner.recipe.batch_norm, backbone_frozen=frozen)
    # Set up for each epoch: DDP shares the gradients of what learns when it is made.
    model = learner.fabric.setup_module(learner.compiled)
    return model, learner.fabric.setup_optimizers(learner.optimizer)


def _seed(seed: int, step: int, rank: int) -> None:
    """Make the random numbers of a step, dropout's, a function of the step."""
    digest = hashlib.blake2b(f"{seed} {step} {rank}".encode(), digest_size=7).digest()
    torch.manual_seed(int.from_bytes(digest))


def clips_to_learn_from(batch: Batch, part: MicroBatch, learner: Learner) -> Tensor:
    """What the model sees of a batch: uint8 (B, T, S, S, 3) on the device, a clip a window."""
    clips = batch.clips.to(learner.fabric.device, non_blocking=True)
    windows = (*part.windows, *part.partners)
    clips = rand_augment(zoom_and_mirror(clips, windows), windows, learner.augment)
    count = len(part.windows)
    return clips if part.mix is None else mix_clips(clips[:count], clips[count:], part.mix)


def _losses(
    model: nn.Module, batch: Batch, part: MicroBatch, learner: Learner
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (B,), zero for those that do not count, logits (B, classes) and labels (B,)."""
    logits = model(clips_to_learn_from(batch, part, learner))
    labels = batch.labels.to(learner.fabric.device, non_blocking=True)
    count = len(part.windows)
    if part.mix is None:
        losses = learner.criterion(logits, labels)
    else:
        own, others = labels[:count], labels[count:]
        share = part.mix.share
        losses = share * learner.criterion(logits, own) + (1 - share) * learner.criterion(
            logits, others
        )
        # The score on the way is against the label that has more of the clip.
        labels = own if share >= 0.5 else others
    if part.num_counted < count:
        losses = losses * 0
    return losses, logits, labels


def _clip_gradients(learner: Learner) -> dict[Part, Tensor]:
    """Scale the gradients down to ``max_grad_norm``; gives their norms from before."""
    learner.fabric.strategy.precision.unscale_gradients(learner.optimizer)
    norms = grad_norms(learner.optimizer)
    limit = learner.recipe.max_grad_norm
    if limit is not None:
        total = torch.linalg.vector_norm(torch.stack(list(norms.values())))
        parameters = [p for p in learner.classifier.parameters() if p.grad is not None]
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, total)
    return norms


class _FiniteGuard:
    """Stops at the first loss or gradient that is not finite.

    It looks at a step once the next one is under way, so that a GPU never waits for the look.
    """

    def __init__(self, fabric: Any, name_of_clip: Callable[[int], str]) -> None:
        # fp16 scales its losses until gradients overflow, and skips such steps by itself.
        self._overflow_is_normal = fabric.strategy.precision.precision == "16-mixed"
        self._name_of_clip = name_of_clip
        self._losses: list[Tensor] = []
        self._clips: list[Tensor] = []
        self._pending: Callable[[], None] | None = None

    def saw(self, losses: Tensor, batch: Batch) -> None:
        """Note the losses of a part of the present step."""
        self._losses.append(losses.detach())
        self._clips.append(batch.clip_indices)

    def end_of_step(self, step: int, norms: dict[Part, Tensor]) -> None:
        """Look at the step before, and keep this one for later."""
        self.finish()
        losses, clips = torch.cat(self._losses), torch.cat(self._clips)
        norm = torch.stack([*norms.values()]).sum()
        self._pending = lambda: self._check(step, losses, clips, norm)
        self._losses, self._clips = [], []

    def finish(self) -> None:
        """Look at the last step."""
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


class _Waiting(Iterator[Batch]):
    """The batches of a loader; the time until each is there is added to ``sofar``."""

    def __init__(self, loader: Iterable[Batch], sofar: Sofar) -> None:
        self._batches = iter(loader)
        self._sofar = sofar

    def __next__(self) -> Batch:
        started = time.perf_counter()
        batch = next(self._batches)
        self._sofar.waiting_seconds += time.perf_counter() - started
        return batch


def _waiting_share(sofar: Sofar) -> float:
    return sofar.waiting_seconds / sofar.seconds if sofar.seconds else 0.0


def _num_clips(steps: Iterable[Sequence[MicroBatch]]) -> int:
    """Clips of some steps, over all devices."""
    return sum(step[0].step_size for step in steps)


@torch.inference_mode()
def validate(
    model: nn.Module,
    val_loader: Iterable[Any],
    criterion: nn.Module,
    device: torch.device,
    *,
    fabric: Any = None,
) -> Pass:
    """Mean loss and scores of a model over batches ``(clips, labels, …)``; changes nothing.

    Args:
        fabric: where several devices share the batches; the result is that of all of them.
    """
    was_training = [module.training for module in model.modules()]
    model.eval()
    tally = Tally()
    for clips, labels, *_ in val_loader:
        labels = labels.to(device, non_blocking=True)
        logits = model(clips.to(device, non_blocking=True))
        # A mean over the batch stands for each of its clips.
        tally.add(criterion(logits, labels).expand(len(labels)), logits, labels)
    for module, training in zip(model.modules(), was_training, strict=True):
        module.training = training
    return result_of(tally if fabric is None else merge(tally, fabric))


def fit(
    learner: Learner,
    *,
    feed_of: Callable[[int], EpochFeed],
    val_loader: ClipLoader,
    rows: Sequence[EpochRow] = (),
    sofar: Sofar | None = None,
    name_of_clip: Callable[[int], str] = str,
    after_step: Callable[[Sofar], None] = lambda _: None,
    on_epoch: Callable[[EpochRow, bool], None] = lambda *_: None,
) -> list[EpochRow]:
    """Train to the last epoch, or until validation has not improved for ``patience`` epochs.

    Args:
        feed_of: the clips of an epoch, counted from 1.
        rows, sofar: what has been done: whole epochs, and part of the next one.
        after_step: is told how far the epoch has come.
        on_epoch: is told each epoch's row and whether its validation loss is the lowest so far.

    Raises:
        TrainingError: names epoch, step and clips.
    """
    history = list(rows)
    for epoch in range(len(history) + 1, learner.recipe.epochs + 1):
        if _is_out_of_patience(history, learner.recipe.patience):
            break
        try:
            row = _epoch(
                learner,
                feed_of(epoch),
                val_loader,
                epoch=epoch,
                sofar=sofar or Sofar(),
                name_of_clip=name_of_clip,
                after_step=after_step,
            )
        except TrainingError as error:
            raise TrainingError(f"epoch {epoch}: {error}") from error
        sofar = None
        is_best = all(row.val_loss < previous.val_loss for previous in history)
        history.append(row)
        on_epoch(row, is_best)
    return history


def best_epoch(history: Sequence[EpochRow]) -> int:
    """The epoch with the lowest validation loss, the first of several; 0 if there is none."""
    return min(history, key=lambda row: row.val_loss).epoch if history else 0


def _is_out_of_patience(history: Sequence[EpochRow], patience: int | None) -> bool:
    return patience is not None and len(history) - best_epoch(history) >= patience


def _epoch(
    learner: Learner,
    feed: EpochFeed,
    val_loader: ClipLoader,
    *,
    epoch: int,
    sofar: Sofar,
    name_of_clip: Callable[[int], str],
    after_step: Callable[[Sofar], None],
) -> EpochRow:
    """Train, validate, and put both into a row."""
    train_one_epoch(
        learner,
        feed,
        epoch=epoch,
        sofar=sofar,
        name_of_clip=name_of_clip,
        after_step=after_step,
    )
    started = time.perf_counter()
    fabric = learner.fabric
    if learner.recipe.batch_norm == "precise" and epoch > learner.recipe.frozen_epochs:
        _recompute(learner, feed)
    if fabric.world_size > 1:
        # Each device has seen other clips; the first one's statistics are those that are saved.
        for buffer in learner.judged.buffers():
            torch.distributed.broadcast(buffer, 0)
    # The loss that chooses the best epoch is the plain one, comparable between recipes.
    plain = nn.CrossEntropyLoss(reduction="none")
    with fabric.autocast():
        val = validate(learner.judged, val_loader, plain, fabric.device, fabric=fabric)
    if not math.isfinite(val.loss):
        raise TrainingError(f"the validation loss is {val.loss}; try a smaller train.learning_rate")
    first_step = (epoch - 1) * learner.schedule.steps_per_epoch
    learner.schedule.apply(learner.optimizer, first_step)
    norms = {part: torch.stack(values) for part, values in sofar.grad_norms.items()}
    train = result_of(merge(sofar.tally, fabric))
    return EpochRow.of(
        epoch,
        train,
        val,
        grad_norm=_mean(torch.hypot(norms["head"], norms["backbone"])),
        grad_norm_head=_mean(norms["head"]),
        grad_norm_backbone=_mean(norms["backbone"]),
        learning_rate=_rate(learner, "head"),
        learning_rate_backbone=_rate(learner, "backbone"),
        clips_per_second=_num_clips(feed.steps) / sofar.seconds,
        data_wait_fraction=_waiting_share(sofar),
        peak_memory_mb=peak_memory_mb(fabric.device),
        train_seconds=sofar.seconds,
        epoch_seconds=sofar.seconds + time.perf_counter() - started,
    )


def _recompute(learner: Learner, feed: EpochFeed) -> None:
    parts = [part for step in feed.steps for part in step]
    num_batches = min(len(parts), math.ceil(PRECISE_CLIPS / len(parts[0].windows)))
    batches = (
        clips_to_learn_from(batch, part, learner)
        for batch, part in zip(feed.load(parts[:num_batches]), parts, strict=False)
    )
    learner.judged.train()
    with learner.fabric.autocast():
        recompute_statistics(learner.judged, batches, num_batches=num_batches)


def _rate(learner: Learner, part: Part) -> float:
    """The highest rate of a part's groups."""
    groups = learner.optimizer.param_groups
    return max((group["lr"] for group in groups if group["part"] == part), default=0.0)


def _mean(norms: Tensor) -> float:
    """The mean over the steps whose gradient was finite; fp16 skips the others."""
    finite = norms[torch.isfinite(norms)].double()
    return float(finite.mean()) if len(finite) else math.nan
