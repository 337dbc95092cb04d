"""The loop: what it learns, which epoch is the best, when it stops."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from cpu_fabric import cpu_fabric
from torch import Tensor, nn
from toy_learner import Batches, MeanColour, coloured, feed, make_learner

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.clips.windows import MicroBatch, Mix, Window
from slowfast_finetune.training.engine import fit, train_one_epoch, validate
from slowfast_finetune.training.epoch_progress import EpochProgress
from slowfast_finetune.training.history import EpochRow
from slowfast_finetune.training.training_data import EpochFeed


@pytest.fixture(scope="module")
def fabric() -> Any:
    return cpu_fabric()


def run_fit(fabric: Any, model: nn.Module | None = None, **changes: Any) -> list[EpochRow]:
    named = replace(feed([0, 1], [1, 0]), name_of_clip=lambda clip: f"clip {clip}.mp4")
    return fit(
        make_learner(fabric, model, **changes),
        feed_of=lambda _: named,
        val_loader=Batches(coloured([0, 1, 1])),
    )


def test_fit_learns_a_separable_task(fabric: Any) -> None:
    rows = run_fit(fabric, epochs=30)
    assert rows[-1].val_accuracy == 1.0
    assert rows[-1].val_loss < 0.5 * rows[0].val_loss
    assert [row.epoch for row in rows] == list(range(1, 31))


class Scripted(MeanColour):
    """Has the validation losses it is told, on batches of one clip of class 0."""

    def __init__(self, *losses: float) -> None:
        super().__init__()
        self.losses = iter(losses)

    def forward(self, clips: Tensor) -> Tensor:
        logits = super().forward(clips)
        if self.training:
            return logits
        # Two classes, label 0: a margin of -ln(e^loss - 1) gives just this loss.
        margin = -math.log(math.expm1(next(self.losses)))
        return torch.tensor([[margin, 0.0]]) + 0 * logits


def fit_scripted(fabric: Any, *losses: float, **changes: Any) -> tuple[list[EpochRow], list[Any]]:
    told: list[tuple[int, bool]] = []
    rows = fit(
        make_learner(fabric, Scripted(*losses), steps_per_epoch=1, epochs=len(losses), **changes),
        feed_of=lambda _: feed([0, 1]),
        val_loader=Batches(coloured([0])),
        after_epoch=lambda row, is_best: told.append((row.epoch, is_best)),
    )
    return rows, told


def test_best_epoch_is_the_first_with_the_lowest_validation_loss(fabric: Any) -> None:
    rows, told = fit_scripted(fabric, 0.9, 0.5, 0.7, 0.5, 0.4, label_smoothing=0.1)
    assert [row.val_loss for row in rows] == pytest.approx([0.9, 0.5, 0.7, 0.5, 0.4], rel=1e-5)
    assert told == [(1, True), (2, True), (3, False), (4, False), (5, True)]


@pytest.mark.parametrize(
    ("patience", "epochs"),
    [(1, 3), (2, 4), (3, 8), (None, 9)],  # epoch 2 is the best, then 5, then none
)
def test_patience_is_counted_in_epochs_without_a_lower_loss(
    fabric: Any, patience: int | None, epochs: int
) -> None:
    losses = (0.9, 0.5, 0.7, 0.6, 0.4, 0.6, 0.5, 0.7, 0.8)
    rows, _ = fit_scripted(fabric, *losses, patience=patience)
    assert len(rows) == epochs


def numbers(rows: list[EpochRow]) -> list[Any]:
    """Rows without what differs between two runs of the same: times, and memory."""
    measured = {
        "train_seconds",
        "epoch_seconds",
        "clips_per_second",
        "data_wait_fraction",
        "peak_memory_mb",
    }
    return [{k: v for k, v in row._asdict().items() if k not in measured} for row in rows]


def test_same_seed_same_history(fabric: Any) -> None:
    assert numbers(run_fit(fabric, seed=5)) == numbers(run_fit(fabric, seed=5))
    assert numbers(run_fit(fabric, seed=5)) != numbers(run_fit(fabric, seed=6))


class Noisy(MeanColour):
    """Draws random numbers, as dropout does."""

    def forward(self, clips: Tensor) -> Tensor:
        noise = torch.rand(len(clips), 2) if self.training else 0.0
        return super().forward(clips) + noise


def test_random_numbers_of_a_step_do_not_depend_on_what_was_drawn_before(fabric: Any) -> None:
    def losses(draws: int) -> list[Any]:
        torch.manual_seed(0)
        learner = make_learner(fabric, Noisy())
        torch.rand(draws)
        rows = fit(
            learner,
            feed_of=lambda _: feed([0, 1], [1, 0]),
            val_loader=Batches(coloured([0, 1, 1])),
            after_epoch=lambda *_: torch.rand(draws),
        )
        return numbers(rows)

    assert losses(0) == losses(7)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_stops_with_epoch_step_and_clips(fabric: Any, where: str) -> None:
    class Broken(MeanColour):
        calls = 0

        def forward(self, clips: Tensor) -> Tensor:
            logits = super().forward(clips)
            self.calls += self.training
            if self.calls == 4 and self.training:
                if where == "loss":
                    return logits * math.nan
                logits.register_hook(lambda gradient: gradient * math.inf)
            return logits

    what = "loss is nan" if where == "loss" else "gradient norm is (nan|inf)"
    with pytest.raises(
        TrainingError,
        match=rf"epoch 2: the {what} at step 2; .* the clips are 'clip 0.mp4', 'clip 1.mp4'",
    ):
        run_fit(fabric, Broken(), epochs=3)


def test_validation_loss_that_is_not_finite_stops(fabric: Any) -> None:
    class Broken(MeanColour):
        def forward(self, clips: Tensor) -> Tensor:
            return super().forward(clips) * (1.0 if self.training else math.inf)

    with pytest.raises(TrainingError, match="epoch 1: the validation loss is"):
        run_fit(fabric, Broken())


def test_validate_is_plain_and_changes_nothing(fabric: Any) -> None:
    torch.manual_seed(0)
    frozen = nn.BatchNorm1d(2)
    model = nn.Sequential(MeanColour(), nn.BatchNorm1d(2), frozen).train()
    frozen.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [coloured([0, 1, 0]), coloured([1])]
    result = validate(model, batches, fabric)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.training, "the mode is given back"
    assert not frozen.training, "to each module its own"
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(batch.clips) for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    # A batch of three and one of one: the mean is over clips, not over batches.
    assert result["loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item())
    assert result["accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def one_epoch(
    fabric: Any, an_epoch: EpochFeed, model: nn.Module | None = None, **changes: Any
) -> tuple[EpochProgress, Tensor]:
    """What an epoch of SGD at rate 1 gives, and how it changed the weights."""
    learner = make_learner(
        fabric, model, steps_per_epoch=len(an_epoch.steps), optimizer="sgd", learning_rate=1.0,
        **changes,
    )  # fmt: skip
    layer = learner.classifier.get_submodule("layer").weight
    before = layer.detach().clone()
    progress = EpochProgress()
    train_one_epoch(learner, an_epoch, epoch=1, progress=progress)
    return progress, layer.detach() - before


def test_grad_norm_is_measured_before_clipping(fabric: Any) -> None:
    free, free_change = one_epoch(fabric, feed([0, 0]))
    norm = free.grad_norms["head"][0].item()
    assert free.grad_norms["backbone"][0].item() == 0
    clipped, clipped_change = one_epoch(fabric, feed([0, 0]), max_grad_norm=norm / 4)
    assert clipped.grad_norms["head"][0].item() == pytest.approx(norm)
    torch.testing.assert_close(clipped_change, free_change / 4, rtol=1e-4, atol=1e-7)


def parts_of(labels: list[int], *sizes: int) -> EpochFeed:
    """One step in parts of these sizes."""
    bounds = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    parts = [
        MicroBatch(
            tuple(Window(clip, 0, 0, 0, 2) for clip in range(first, last)),
            (),
            None,
            last - first,
            len(labels),
            last == len(labels),
        )
        for first, last in itertools.pairwise(bounds)
    ]
    batches = Batches(*(coloured(labels[a:b]) for a, b in itertools.pairwise(bounds)))
    return EpochFeed([parts], lambda _: batches)  # type: ignore[return-value]


@pytest.mark.parametrize("sizes", [(5,), (2, 2, 1), (4, 1), (1, 1, 1, 1, 1)])
def test_gradients_of_parts_add_up_to_those_of_the_step(fabric: Any, sizes: tuple[int]) -> None:
    labels = [0, 1, 1, 0, 1]
    _, whole_change = one_epoch(fabric, parts_of(labels, 5))
    parted, parted_change = one_epoch(fabric, parts_of(labels, *sizes))
    torch.testing.assert_close(parted_change, whole_change)
    assert parted.step == 1
    assert torch.cat(parted.tally.true).tolist() == labels


def test_clips_that_do_not_count_change_nothing(fabric: Any) -> None:
    idle = MicroBatch((Window(0, 0, 0, 0, 2),), (), None, 0, 2, True)
    an_epoch = EpochFeed([[idle]], lambda _: Batches(coloured([0])))  # type: ignore[return-value]
    progress, change = one_epoch(fabric, an_epoch)
    assert not change.any()
    assert sum(map(len, progress.tally.true)) == 0


def test_mixed_clips_weigh_both_labels(fabric: Any) -> None:
    """Blending red and blue: the gradient is that of the mean colour under both labels."""
    window = Window(0, 0, 0, 0, 2)
    share = 0.75
    part = MicroBatch((window,), (window,), Mix(share), 1, 1, True)
    red, blue = coloured([0]), coloured([1])
    both = coloured([0, 1])
    progress, change = one_epoch(
        fabric,
        EpochFeed([[part]], lambda _: Batches(both)),  # type: ignore[return-value]
    )
    learner = make_learner(fabric)
    colour = (
        share * red.clips.float() + (1 - share) * blue.clips.float()
    ).mean(dim=(1, 2, 3)) / 255  # fmt: skip
    layer = learner.classifier.get_submodule("layer")
    logits = layer(colour)
    target = torch.tensor([[share, 1 - share]])
    nn.functional.cross_entropy(logits, target).backward()
    torch.testing.assert_close(change, -1.9 * layer.weight.grad, rtol=1e-4, atol=1e-6)
    assert torch.cat(progress.tally.true).tolist() == [0], "the score is against the larger share"


# What the recipe says is what happens


class TwoBlocks(nn.Module):
    """A backbone and a head, by their names; remembers the clips it learnt from."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleDict({"0": nn.Linear(3, 3), "6": nn.Linear(3, 2)})
        self.norm = nn.BatchNorm1d(3)
        self.seen: list[Tensor] = []

    def forward(self, clips: Tensor) -> Tensor:
        if self.training:
            self.seen.append(clips.clone())
        colours = self.norm(clips.float().mean(dim=(1, 2, 3)) / 255)
        logits: Tensor = self.blocks["6"](self.blocks["0"](colours))
        return logits


def test_backbone_stands_still_for_its_frozen_epochs(fabric: Any) -> None:
    model = TwoBlocks()
    backbone = model.blocks["0"].weight
    values = [backbone.detach().clone()]
    fit(
        make_learner(fabric, model, epochs=3, frozen_epochs=1),
        feed_of=lambda _: feed([0, 1], [1, 0]),
        val_loader=Batches(coloured([0, 1])),
        after_epoch=lambda *_: values.append(backbone.detach().clone()),
    )
    assert torch.equal(values[1], values[0])
    assert not torch.equal(values[2], values[1])
    assert not torch.equal(values[3], values[2])


def test_statistics_stand_still_with_the_backbone(fabric: Any) -> None:
    model, means = TwoBlocks(), []
    fit(
        make_learner(fabric, model, epochs=2, frozen_epochs=1, batch_norm="precise"),
        feed_of=lambda _: feed([0, 1], [1, 1]),
        val_loader=Batches(coloured([0, 1])),
        after_epoch=lambda *_: means.append(model.norm.running_mean.tolist()),  # type: ignore[union-attr]
    )
    # Then one red clip and three blue ones, of 200 / 255.
    assert means == [[0, 0, 0], pytest.approx([50 / 255, 0, 150 / 255])]


def test_rates_are_those_of_the_schedule_at_every_step(fabric: Any) -> None:
    learner = make_learner(
        fabric, TwoBlocks(), epochs=3, schedule="cosine", warmup_epochs=1, backbone_rate=0.5
    )
    seen: list[dict[str, float]] = []
    fit(
        learner,
        feed_of=lambda _: feed([0, 1], [1, 0]),
        val_loader=Batches(coloured([0, 1])),
        after_step=lambda: seen.append(
            {group["part"]: group["lr"] for group in learner.optimizer.param_groups}
        ),
    )
    # Two steps of warm-up, then four of half a cosine, of 0.1.
    expected = [0.5, 1, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]
    assert [rates["head"] for rates in seen] == pytest.approx([0.1 * f for f in expected])
    assert [rates["backbone"] for rates in seen] == pytest.approx([0.05 * f for f in expected])


def test_average_of_the_weights_is_what_is_validated(fabric: Any) -> None:
    learner = make_learner(fabric, epochs=2, ema_decay=0.9)
    val = Batches(coloured([0, 1, 1]))
    rows = fit(learner, feed_of=lambda _: feed([0, 1], [1, 0]), val_loader=val)
    losses = [
        validate(model, val, fabric)["loss"]
        for model in (learner.evaluation_model, learner.classifier)
    ]
    assert rows[-1].val_loss == pytest.approx(losses[0])
    assert abs(losses[0] - losses[1]) > 1e-3


def changed_feed(window: Window) -> EpochFeed:
    """One step of two clips that grow brighter to the right, looked at through a window."""
    clips = torch.zeros(2, 4, 8, 8, 3, dtype=torch.uint8)
    clips[:] = (torch.arange(8, dtype=torch.uint8) * 30)[None, None, None, :, None]
    part = MicroBatch((window, window), (), None, 2, 2, True)
    batch = coloured([0, 1])
    # A copy each time, as a loader reads it anew.
    return EpochFeed([[part]], lambda _: Batches(batch._replace(clips=clips.clone())))  # type: ignore[return-value]


@pytest.mark.parametrize("batch_norm", ["batch", "precise"])
def test_model_sees_clips_as_they_were_planned(fabric: Any, batch_norm: str) -> None:
    model = TwoBlocks()
    learner = make_learner(fabric, model, steps_per_epoch=1, epochs=1, batch_norm=batch_norm)
    fit(
        learner,
        feed_of=lambda _: changed_feed(Window(0, 0, 0, 0, 4, mirrored=True)),
        val_loader=Batches(coloured([0, 1])),
    )
    assert len(model.seen) == (2 if batch_norm == "precise" else 1)
    for clips in model.seen:
        # The left half, enlarged to the whole and mirrored: from 90 down to 0.
        row = clips[0, 0, 0, :, 0].long().tolist()
        assert row == sorted(row, reverse=True)
        assert (row[0], row[-1]) == (90, 0)


def test_colours_are_augmented_in_training(fabric: Any) -> None:
    model = TwoBlocks()
    learner = make_learner(
        fabric,
        model,
        steps_per_epoch=1,
        epochs=1,
        changes_of_augment={"rand_augment_ops": 4, "rand_augment_magnitude": 30},
    )
    progress = EpochProgress()
    train_one_epoch(
        learner, changed_feed(Window(0, 0, 0, 0, 8, draw=3)), epoch=1, progress=progress
    )
    plain = next(iter(changed_feed(Window(0, 0, 0, 0, 8)).batches())).clips
    assert not torch.equal(model.seen[0], plain)


def test_precise_statistics_are_those_of_the_training_clips(fabric: Any) -> None:
    model = TwoBlocks()
    fit(
        make_learner(fabric, model, epochs=1, batch_norm="precise"),
        feed_of=lambda _: feed([0, 1], [1, 1]),
        val_loader=Batches(coloured([0, 1])),
    )
    # One red clip and three blue ones, of 200 / 255.
    expected = torch.tensor([0.25, 0.0, 0.75]) * 200 / 255
    assert model.norm.running_mean is not None
    torch.testing.assert_close(model.norm.running_mean, expected)
