"""The loop, the sanity check, optimisers and schedules."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast_finetune.clips.clip_reader import Batch
from slowfast_finetune.errors import ParamsError, TrainingError
from slowfast_finetune.model.slowfast import ClipClassifier, build_slowfast
from slowfast_finetune.params import RuntimeParams, TrainParams
from slowfast_finetune.training.device import choose_device, choose_precision, make_fabric
from slowfast_finetune.training.engine import fit, train_one_epoch, validate
from slowfast_finetune.training.history import EpochRow
from slowfast_finetune.training.optimisation import build_optimizer, build_scheduler
from slowfast_finetune.training.sanity import check_gradients

RECIPE: dict[str, Any] = {
    "seed": 0,
    "epochs": 4,
    "batch_size": 2,
    "optimizer": "adam",
    "learning_rate": 0.1,
    "weight_decay": 0.0,
    "schedule": "constant",
    "label_smoothing": 0.0,
    "crop_size": 32,
    "random_crop": True,
    "horizontal_flip": 0.0,
    "max_grad_norm": None,
}


def recipe(**changes: Any) -> TrainParams:
    return TrainParams.model_validate(RECIPE | changes)


@pytest.fixture(scope="module")
def fabric() -> Any:
    return make_fabric(torch.device("cpu"), "32-true")


class MeanColour(nn.Module):
    """The smallest classifier of clips: a linear layer over the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.layer(clips.float().mean(dim=(1, 2, 3)) / 255)
        return logits


class Batches:
    """A loader of given batches."""

    def __init__(self, *batches: Batch) -> None:
        self.batches = batches
        self.num_clips = sum(len(batch.labels) for batch in batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def coloured(labels: list[int]) -> Batch:
    """Class 0 is red, class 1 is blue."""
    clips = torch.zeros(len(labels), 4, 2, 2, 3, dtype=torch.uint8)
    for position, label in enumerate(labels):
        clips[position, ..., 2 * label] = 200
    return Batch(clips, torch.tensor(labels), torch.arange(len(labels)))


def run_fit(fabric: Any, *, epochs: int = 4, seed: int = 0, **changes: Any) -> list[EpochRow]:
    torch.manual_seed(seed)
    params = recipe(epochs=epochs, **changes)
    model = MeanColour()
    optimizer = build_optimizer(model.parameters(), params)
    scheduler = build_scheduler(optimizer, params, steps_per_epoch=2)
    model, optimizer = fabric.setup(model, optimizer)
    return fit(
        model,
        optimizer,
        scheduler,
        train_loader_of=lambda _: Batches(coloured([0, 1]), coloured([1, 0])),  # type: ignore[return-value,arg-type]
        val_loader=Batches(coloured([0, 1, 1])),  # type: ignore[arg-type]
        label_smoothing=params.label_smoothing,
        max_grad_norm=params.max_grad_norm,
        epochs=epochs,
        fabric=fabric,
        name_of_clip=lambda clip: f"clip {clip}.mp4",
        on_epoch=lambda *_: None,
    )


def test_fit_learns_a_separable_task(fabric: Any) -> None:
    rows = run_fit(fabric, epochs=30)
    assert rows[-1].val_accuracy == 1.0
    assert rows[-1].val_loss < 0.5 * rows[0].val_loss
    assert [row.epoch for row in rows] == list(range(1, 31))


def test_best_epoch_is_the_first_with_the_lowest_validation_loss(fabric: Any) -> None:
    told: list[tuple[int, bool]] = []
    losses = iter([0.9, 0.5, 0.7, 0.5, 0.4])

    class Scripted(MeanColour):
        def forward(self, clips: Tensor) -> Tensor:
            logits = super().forward(clips)
            if self.training:
                return logits
            # Two classes, label 0: a margin of -ln(e^loss - 1) gives just this loss.
            margin = -math.log(math.expm1(next(losses)))
            return torch.tensor([[margin, 0.0]]) + 0 * logits

    model = Scripted()
    optimizer = build_optimizer(model.parameters(), recipe())
    scheduler = build_scheduler(optimizer, recipe(), steps_per_epoch=1)
    model, optimizer = fabric.setup(model, optimizer)
    rows = fit(
        model,
        optimizer,
        scheduler,
        train_loader_of=lambda _: Batches(coloured([0, 1])),  # type: ignore[return-value,arg-type]
        val_loader=Batches(coloured([0])),  # type: ignore[arg-type]
        label_smoothing=0.1,
        max_grad_norm=None,
        epochs=5,
        fabric=fabric,
        name_of_clip=str,
        on_epoch=lambda row, is_best: told.append((row.epoch, is_best)),
    )
    assert [row.val_loss for row in rows] == pytest.approx([0.9, 0.5, 0.7, 0.5, 0.4], rel=1e-5)
    assert told == [(1, True), (2, True), (3, False), (4, False), (5, True)]


def test_same_seed_same_history(fabric: Any) -> None:
    def numbers(seed: int) -> list[Any]:
        rows = run_fit(fabric, seed=seed)
        return [row.model_dump(exclude={"train_seconds", "epoch_seconds"}) for row in rows]

    assert numbers(5) == numbers(5)
    assert numbers(5) != numbers(6)


def test_loss_that_is_not_finite_stops_with_epoch_step_and_clips(fabric: Any) -> None:
    class Broken(MeanColour):
        calls = 0

        def forward(self, clips: Tensor) -> Tensor:
            Broken.calls += self.training
            return super().forward(clips) * (math.nan if Broken.calls == 4 else 1.0)

    model = Broken()
    optimizer = build_optimizer(model.parameters(), recipe())
    scheduler = build_scheduler(optimizer, recipe(), steps_per_epoch=2)
    model, optimizer = fabric.setup(model, optimizer)
    with pytest.raises(
        TrainingError,
        match=r"epoch 2: the loss is nan at step 2; .* the clips are 'clip 0.mp4', 'clip 1.mp4'",
    ):
        fit(
            model,
            optimizer,
            scheduler,
            train_loader_of=lambda _: Batches(coloured([0, 1]), coloured([0, 1])),  # type: ignore[return-value,arg-type]
            val_loader=Batches(coloured([0, 1])),  # type: ignore[arg-type]
            label_smoothing=0.0,
            max_grad_norm=None,
            epochs=3,
            fabric=fabric,
            name_of_clip=lambda clip: f"clip {clip}.mp4",
            on_epoch=lambda *_: None,
        )


def test_validate_is_plain_and_changes_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(MeanColour(), nn.BatchNorm1d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [coloured([0, 1, 0]), coloured([1])]
    result = validate(model, batches, nn.CrossEntropyLoss(), torch.device("cpu"))
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.training, "the mode is given back"
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(batch.clips) for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    # A batch of three and one of one: the mean is over clips, not over batches.
    assert result.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item())
    assert result.scores.accuracy == pytest.approx(
        (logits.argmax(1) == labels).float().mean().item()
    )


def one_pass(fabric: Any, *, max_grad_norm: float | None) -> tuple[float, Tensor]:
    """Mean gradient norm and the change of the weights in one SGD step at rate 1."""
    torch.manual_seed(0)
    model = MeanColour()
    before = model.layer.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = build_scheduler(optimizer, recipe(), steps_per_epoch=1)
    setup_model, optimizer = fabric.setup(model, optimizer)
    result = train_one_epoch(
        setup_model,
        Batches(coloured([0, 0])),  # type: ignore[arg-type]
        nn.CrossEntropyLoss(),
        optimizer,
        scheduler,
        fabric=fabric,
        max_grad_norm=max_grad_norm,
        label="",
        name_of_clip=str,
    )
    gradients = [model.layer.weight.detach() - before]
    return result.grad_norm, gradients[0]


def test_grad_norm_is_measured_before_clipping(fabric: Any) -> None:
    free_norm, free_change = one_pass(fabric, max_grad_norm=None)
    clipped_norm, clipped_change = one_pass(fabric, max_grad_norm=free_norm / 4)
    assert clipped_norm == pytest.approx(free_norm)
    torch.testing.assert_close(clipped_change, free_change / 4, rtol=1e-4, atol=1e-7)


class TestSanityCheck:
    """It finds what would not learn, and leaves no trace."""

    @pytest.fixture
    def clips(self) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        return torch.randint(0, 256, (4, 8, 32, 32, 3), dtype=torch.uint8), torch.tensor(
            [0, 1, 0, 1]
        )

    @pytest.fixture
    def classifier(self) -> ClipClassifier:
        torch.manual_seed(0)
        return ClipClassifier(build_slowfast("slowfast_shallow", num_classes=2, dropout_rate=0.1))

    def check(self, model: nn.Module, clips: tuple[Tensor, Tensor], fabric: Any) -> Any:
        setup_model = fabric.setup_module(model)
        return check_gradients(setup_model, *clips, nn.CrossEntropyLoss(), fabric=fabric)

    def test_sound_model_passes_and_is_unchanged(
        self, classifier: ClipClassifier, clips: tuple[Tensor, Tensor], fabric: Any
    ) -> None:
        before = {name: value.clone() for name, value in classifier.state_dict().items()}
        random_state = torch.random.get_rng_state()
        report = self.check(classifier, clips, fabric)
        assert report.num_parameters == len(list(classifier.parameters()))
        assert report.num_frozen == 0
        after = classifier.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert torch.equal(random_state, torch.random.get_rng_state())
        assert all(parameter.grad is None for parameter in classifier.parameters())

    def test_frozen_backbone_is_not_asked_for_gradients(
        self, classifier: ClipClassifier, clips: tuple[Tensor, Tensor], fabric: Any
    ) -> None:
        total = len(list(classifier.parameters()))
        classifier.network.requires_grad_(False)
        classifier.network.get_submodule("blocks.6.proj").requires_grad_(True)
        report = self.check(classifier, clips, fabric)
        assert (report.num_parameters, report.num_frozen) == (2, total - 2)

    def test_parameter_that_takes_no_part(
        self, classifier: ClipClassifier, clips: tuple[Tensor, Tensor], fabric: Any
    ) -> None:
        classifier.register_parameter("idle", nn.Parameter(torch.ones(1)))
        with pytest.raises(TrainingError, match="idle gets no gradient"):
            self.check(classifier, clips, fabric)

    def test_gradient_of_zero(
        self, classifier: ClipClassifier, clips: tuple[Tensor, Tensor], fabric: Any
    ) -> None:
        head = classifier.network.get_submodule("blocks.6.proj")
        assert isinstance(head, nn.Linear)
        nn.init.zeros_(head.weight)
        with pytest.raises(TrainingError, match="is zero; it would never learn"):
            self.check(classifier, clips, fabric)

    def test_loss_that_is_not_finite(
        self, classifier: ClipClassifier, clips: tuple[Tensor, Tensor], fabric: Any
    ) -> None:
        head = classifier.network.get_submodule("blocks.6.proj")
        assert isinstance(head, nn.Linear)
        nn.init.constant_(head.bias, math.inf)
        with pytest.raises(TrainingError, match="loss of the first batch is"):
            self.check(classifier, clips, fabric)


def test_one_cycle_by_hand() -> None:
    """Rises along a cosine from 1/25 over 30 % of the steps, then falls to 1/250,000."""
    params = recipe(schedule="one_cycle", epochs=10, learning_rate=1.0)
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], params)
    scheduler = build_scheduler(optimizer, params, steps_per_epoch=10)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(rates) < 100 else None
    rise, peak, low, end = 1 / 25, 1.0, 1 / 25 / 1e4, 29
    for step, rate in enumerate(rates):
        if step <= end:
            expected = rise + (peak - rise) * (1 - math.cos(math.pi * step / end)) / 2
        else:
            expected = low + (peak - low) * (1 + math.cos(math.pi * (step - end) / (99 - end))) / 2
        assert rate == pytest.approx(expected, rel=1e-6), step


def test_constant_rate_stays() -> None:
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], recipe())
    scheduler = build_scheduler(optimizer, recipe(), steps_per_epoch=3)
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_optimizers_take_rate_decay_and_only_what_learns(name: str, kind: type) -> None:
    frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    learning = nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer(
        [frozen, learning], recipe(optimizer=name, learning_rate=0.3, weight_decay=0.2)
    )
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
    assert [id(parameter) for parameter in group["params"]] == [id(learning)]


def runtime(**changes: Any) -> RuntimeParams:
    return RuntimeParams.model_validate(
        {"engine": "local", "device": "auto", "precision": "auto", "num_workers": "auto"} | changes
    )


def test_device_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(runtime()).type == "cpu"
    with pytest.raises(ParamsError, match=r"runtime\.device: cuda"):
        choose_device(runtime(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(runtime()).type == "cuda"
    assert choose_device(runtime(device="cpu")).type == "cpu"
    cpu = torch.device("cpu")
    with pytest.raises(ParamsError, match="fp16 needs CUDA"):
        choose_precision(runtime(precision="fp16"), cpu)
    for native, expected in [(True, "bf16-mixed"), (False, "32-true")]:
        monkeypatch.setattr(
            "slowfast_finetune.training.device.has_native_bf16", lambda _, n=native: n
        )
        assert choose_precision(runtime(), cpu) == expected
    assert choose_precision(runtime(precision="fp32"), cpu) == "32-true"
