"""The training loop: epochs, steps, validation.

What an epoch does follows from its number and the seed, not from what ran before: the clips, the
learning rates and the random numbers of a step are functions of the step. So a run that was killed
resumes and gives the same result.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from slowfast_finetune.base.console import ProgressBar
from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.clips.clip_reader import Batch, ClipLoader
from slowfast_finetune.clips.windows import MicroBatch
from slowfast_finetune.training.augmentation import augmented
from slowfast_finetune.training.epoch_progress import EpochProgress, Tally, TrainingProgress, merge
from slowfast_finetune.training.history import EpochRow
from slowfast_finetune.training.learner import Learner
from slowfast_finetune.training.memory import out_of_memory_advice, peak_memory_mb
from slowfast_finetune.training.optimisation import clip_gradients
from slowfast_finetune.training.training_data import EpochFeed

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer

PRECISE_CLIPS = 256  # clips used for precise batch norm; more have little effect


def fit(
    learner: Learner,
    *,
    feed_of: Callable[[int], EpochFeed],
    val_loader: ClipLoader,
    progress: TrainingProgress | None = None,
    after_step: Callable[[], None] = lambda: None,
    after_epoch: Callable[[EpochRow, bool], None] = lambda *_: None,
) -> list[EpochRow]:
    """Train to the last epoch, or until validation has not improved for ``patience`` epochs.

    Args:
        feed_of: the clips of an epoch, counted from 1.
        progress: what has been done; kept up to date.
        after_epoch: is given each epoch's row and whether its validation loss is the lowest so far.

    Returns:
        The row of every epoch.

    Raises:
        TrainingError: names epoch, step and clips.
    """
    progress = progress or TrainingProgress()
    for epoch in range(len(progress.history) + 1, learner.recipe.epochs + 1):
        if progress.is_out_of_patience(learner.recipe.patience):
            break
        try:
            feed = feed_of(epoch)
            train_one_epoch(
                learner,
                feed,
                epoch=epoch,
                progress=progress.epoch,
                after_step=after_step,
            )
            row = finish_epoch(learner, feed, val_loader, epoch=epoch, progress=progress.epoch)
        except TrainingError as error:
            raise TrainingError(f"epoch {epoch}: {error}") from error
        after_epoch(row, progress.finish_epoch(row))
    return progress.history


def train_one_epoch(
    learner: Learner,
    feed: EpochFeed,
    *,
    epoch: int,
    progress: EpochProgress,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Take every step of an epoch, counted from 1, that ``progress`` lacks, and add it there.

    Raises:
        TrainingError: a loss or gradient is not finite, names the step and the clips; or a batch
            does not fit into the device's memory.
    """
    recipe, schedule, fabric = learner.recipe, learner.schedule, learner.fabric
    model, optimizer = learner.begin_epoch(epoch)
    batches = iter(feed.batches(from_step=progress.step))
    first_step = (epoch - 1) * schedule.steps_per_epoch
    bar = ProgressBar(
        f"epoch {epoch}/{recipe.epochs}",
        unit="clip",
        total=_num_clips(feed.steps),
        done=_num_clips(feed.steps[: progress.step]),
        hidden=not fabric.is_global_zero,
    )
    with bar, out_of_memory_advice(len(feed.steps[0][0].windows), fabric):
        for micro_batches in feed.steps[progress.step :]:
            started = time.perf_counter()
            schedule.apply(learner.optimizer, first_step + progress.step)
            _seed(recipe.seed, first_step + progress.step, fabric.global_rank)
            losses = take_step(learner, model, optimizer, micro_batches, batches, progress)
            _check_finite(losses, progress, micro_batches, fabric, feed.name_of_clip)
            progress.seconds += time.perf_counter() - started
            bar.advance(
                _num_clips([micro_batches]),
                note=f"waiting for data {progress.waiting_share:.0%}",
            )
            after_step()


def take_step(
    learner: Learner,
    model: _FabricModule,
    optimizer: _FabricOptimizer,
    micro_batches: Sequence[MicroBatch],
    batches: Iterator[Batch],
    progress: EpochProgress,
) -> Tensor:
    """Take one step, down the gradient of the mean loss over all its clips on all devices.

    Args:
        model, optimizer: the learner's in Fabric's hands.
        batches: the next ones are those of the micro-batches.

    Returns:
        The sum of the losses on this device, 0-d.
    """
    fabric = learner.fabric
    total = torch.zeros((), device=fabric.device)
    optimizer.zero_grad(set_to_none=True)
    for micro_batch in micro_batches:
        asked = time.perf_counter()
        batch = next(batches)
        progress.waiting_seconds += time.perf_counter() - asked
        clips = augmented(batch.clips, micro_batch, learner.augment, device=fabric.device)
        labels = batch.labels.to(fabric.device, non_blocking=True)
        # Devices share their gradients once in a step, with the last micro-batch.
        with fabric.no_backward_sync(model, enabled=not micro_batch.ends_step):
            logits = model(clips)
            losses, labels = _losses(logits, labels, micro_batch, learner.criterion)
            # Devices average their gradients, so each weighs its clips by their number.
            fabric.backward(losses.sum() * (fabric.world_size / micro_batch.step_size))
        total += losses.detach().sum()
        counted = slice(micro_batch.num_counted)
        progress.tally.add(losses[counted], logits[counted], labels[counted])
    fabric.strategy.precision.unscale_gradients(learner.optimizer)
    norms = clip_gradients(learner.optimizer, max_norm=learner.recipe.max_grad_norm)
    optimizer.step()
    if learner.average is not None:
        learner.average.update_parameters(learner.classifier)
    for part, norm in norms.items():
        progress.grad_norms[part].append(norm)
    progress.step += 1
    return total


def _check_finite(
    loss: Tensor,
    progress: EpochProgress,
    micro_batches: Sequence[MicroBatch],
    fabric: Fabric,
    name_of_clip: Callable[[int], str],
) -> None:
    """Stop after a step whose loss or gradient is not finite, and name its clips.

    Raises:
        TrainingError: as said.
    """
    norm = torch.stack([norms[-1] for norms in progress.grad_norms.values()]).sum()
    if not torch.isfinite(loss):
        what = f"the loss is {loss.item()}"
    # fp16 scales its losses until gradients overflow, and skips such steps by itself. The gradient
    # is shared, so every device stops at the same step as the one at fault.
    elif fabric.strategy.precision.precision != "16-mixed" and not torch.isfinite(norm):
        what = f"the gradient norm is {norm.item()}"
    else:
        return
    windows = [window for part in micro_batches for window in (*part.windows, *part.partners)]
    names = ", ".join(repr(name_of_clip(clip)) for clip in sorted({each.clip for each in windows}))
    raise TrainingError(
        f"{what} at step {progress.step}; try a smaller train.learning_rate; the clips are {names}"
    )


def finish_epoch(
    learner: Learner,
    feed: EpochFeed,
    val_loader: ClipLoader,
    *,
    epoch: int,
    progress: EpochProgress,
) -> EpochRow:
    """Validate, and put the results of both passes of the epoch into a row.

    Raises:
        TrainingError: the validation loss is not finite.
    """
    started = time.perf_counter()
    fabric, schedule, model = learner.fabric, learner.schedule, learner.evaluation_model
    if learner.recipe.batch_norm == "precise" and epoch > learner.recipe.frozen_epochs:
        _recompute(learner, feed)
    if fabric.world_size > 1:
        # Each device has seen other clips; the first one's statistics are those that are saved.
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)
    val = validate(model, val_loader, fabric)
    if not math.isfinite(val["loss"]):
        raise TrainingError(
            f"the validation loss is {val['loss']}; try a smaller train.learning_rate"
        )
    passes = {"train": merge(progress.tally, fabric).results(), "val": val}
    first_step = (epoch - 1) * schedule.steps_per_epoch
    norms = {part: torch.stack(values) for part, values in progress.grad_norms.items()}
    results = {f"{split}_{name}": of[name] for split, of in passes.items() for name in of}
    return EpochRow(
        epoch=epoch,
        **results,
        grad_norm=_finite_mean(torch.hypot(norms["head"], norms["backbone"])),
        grad_norm_head=_finite_mean(norms["head"]),
        grad_norm_backbone=_finite_mean(norms["backbone"]),
        learning_rate=schedule.rate("head", first_step),
        learning_rate_backbone=schedule.rate("backbone", first_step),
        clips_per_second=_num_clips(feed.steps) / progress.seconds,
        data_wait_fraction=progress.waiting_share,
        peak_memory_mb=peak_memory_mb(fabric.device),
        train_seconds=progress.seconds,
        epoch_seconds=progress.seconds + time.perf_counter() - started,
    )


@torch.inference_mode()
def validate(model: nn.Module, val_loader: Iterable[Batch], fabric: Fabric) -> dict[str, float]:
    """The results of a model over the batches of all devices, see Tally; changes nothing.

    The loss, which chooses the best epoch, is plain cross-entropy, comparable between recipes.
    """
    was_training = [module.training for module in model.modules()]
    model.eval()
    tally = Tally()
    with fabric.autocast():
        for batch in val_loader:
            labels = batch.labels.to(fabric.device, non_blocking=True)
            logits = model(batch.clips.to(fabric.device, non_blocking=True))
            tally.add(cross_entropy(logits, labels, reduction="none"), logits, labels)
    for module, training in zip(model.modules(), was_training, strict=True):
        module.training = training
    return merge(tally, fabric).results()


def _num_clips(steps: Iterable[Sequence[MicroBatch]]) -> int:
    """Clips of some steps, over all devices."""
    return sum(step[0].step_size for step in steps)


def _seed(seed: int, step: int, rank: int) -> None:
    """Make the random numbers of a step, dropout's, a function of the step."""
    digest = hashlib.blake2b(f"{seed} {step} {rank}".encode(), digest_size=7).digest()
    torch.manual_seed(int.from_bytes(digest))


def _losses(
    logits: Tensor, labels: Tensor, micro_batch: MicroBatch, criterion: nn.Module
) -> tuple[Tensor, Tensor]:
    """Losses (B,), zero for clips that do not count, and the labels (B,) to score against.

    Args:
        logits: (B, classes).
        labels: int64, of the clips and then of their partners: (B,) or (2 B,).
    """
    count = len(logits)
    if micro_batch.mix is None:
        losses = criterion(logits, labels)
    else:
        own, others = labels[:count], labels[count:]
        share = micro_batch.mix.share
        losses = share * criterion(logits, own) + (1 - share) * criterion(logits, others)
        # The training score is against the label that has more of the clip.
        labels = own if share >= 0.5 else others
    if micro_batch.num_counted < count:
        losses = losses * 0
    return losses, labels


def _recompute(learner: Learner, feed: EpochFeed) -> None:
    """Replace the evaluation model's batch-norm statistics by those under its present weights.

    "Precise" batch norm: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.
    """
    from fvcore.nn.precise_bn import update_bn_stats

    planned = [micro_batch for step in feed.steps for micro_batch in step]
    num_batches = min(len(planned), math.ceil(PRECISE_CLIPS / len(planned[0].windows)))
    batches = (
        augmented(batch.clips, micro_batch, learner.augment, device=learner.fabric.device)
        for batch, micro_batch in zip(feed.load(planned[:num_batches]), planned, strict=False)
    )
    learner.evaluation_model.train()
    with torch.no_grad(), learner.fabric.autocast():
        update_bn_stats(learner.evaluation_model, batches, num_iters=num_batches)


def _finite_mean(norms: Tensor) -> float:
    """The mean over the steps whose gradient was finite; fp16 skips the others."""
    finite = norms[torch.isfinite(norms)].double()
    return float(finite.mean()) if len(finite) else math.nan
