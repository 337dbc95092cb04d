"""Groups, rates at each step, and the average of the weights, against values worked by hand."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from toy_learner import recipe

from slowfast_finetune.model.slowfast import ClipClassifier, block_of, build_slowfast
from slowfast_finetune.training.optimisation import (
    Schedule,
    build_optimizer,
    clip_gradients,
    weight_average,
)


@pytest.fixture(scope="module")
def classifier() -> ClipClassifier:
    torch.manual_seed(0)
    return ClipClassifier(build_slowfast("slowfast_shallow", num_classes=2))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_kinds_of_optimizer(name: str, kind: type) -> None:
    assert type(build_optimizer(nn.Linear(2, 2), recipe(optimizer=name))) is kind


def test_every_parameter_is_in_one_group(classifier: ClipClassifier) -> None:
    optimizer = build_optimizer(classifier, recipe(layer_decay=0.5))
    grouped = Counter(id(p) for group in optimizer.param_groups for p in group["params"])
    assert grouped == Counter(id(p) for p in classifier.parameters())


def test_norms_and_biases_do_not_decay(classifier: ClipClassifier) -> None:
    optimizer = build_optimizer(classifier, recipe(weight_decay=0.2))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups
              for p in group["params"]}  # fmt: skip
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert decays[id(module.weight)] == decays[id(module.bias)] == 0
        if isinstance(module, nn.Conv3d | nn.Linear):
            assert decays[id(module.weight)] == 0.2
            assert module.bias is None or decays[id(module.bias)] == 0


def test_rates_of_layers_by_hand(classifier: ClipClassifier) -> None:
    optimizer = build_optimizer(
        classifier, recipe(learning_rate=0.8, backbone_rate=0.5, layer_decay=0.1)
    )
    peaks = {id(p): group["peak"] for group in optimizer.param_groups for p in group["params"]}
    by_block: dict[int, set[float]] = {}
    for name, parameter in classifier.named_parameters():
        by_block.setdefault(block_of(name), set()).add(round(peaks[id(parameter)], 12))
    assert by_block == {6: {0.8}, 4: {0.4}, 3: {0.04}, 2: {0.004}, 1: {0.0004}, 0: {0.00004}}


def rates(part: Any, *, steps_per_epoch: int = 4, **changes: Any) -> list[float]:
    params = recipe(**changes)
    schedule = Schedule(params, steps_per_epoch)
    return [schedule.factor(step, part) for step in range(params.epochs * steps_per_epoch)]


def test_warm_up_and_cosine_by_hand() -> None:
    expected = [1 / 4, 2 / 4, 3 / 4, 1.0]
    expected += [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert rates("head", epochs=3, schedule="cosine", warmup_epochs=1) == pytest.approx(expected)
    falling = [1, 0.962, 0.854, 0.691, 0.5, 0.309, 0.146, 0.038]
    assert expected[4:] == pytest.approx(falling, abs=1e-3)


def test_part_of_an_epoch_of_warm_up() -> None:
    factors = rates("head", epochs=2, schedule="constant", warmup_epochs=0.5)
    assert factors == [0.5, 1, 1, 1, 1, 1, 1, 1]


def test_backbone_warms_up_when_it_begins_to_learn() -> None:
    changes: dict[str, Any] = {"epochs": 4, "schedule": "cosine", "warmup_epochs": 1}
    backbone = rates("backbone", frozen_epochs=2, **changes)
    assert backbone == pytest.approx(
        [0] * 8 + [1 / 4, 2 / 4, 3 / 4, 1] + [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    )
    assert rates("head", frozen_epochs=2, **changes) == rates("head", **changes)


def test_constant_rate_stays() -> None:
    assert rates("head", epochs=3, schedule="constant") == [1.0] * 12


def test_rates_are_set_in_the_optimizer(classifier: ClipClassifier) -> None:
    params = recipe(learning_rate=0.8, backbone_rate=0.5, schedule="constant", warmup_epochs=1)
    optimizer = build_optimizer(classifier, params)
    Schedule(params, 4).apply(optimizer, 1)
    assert {(group["part"], group["lr"]) for group in optimizer.param_groups} == {
        ("head", 0.4),
        ("backbone", 0.2),
    }


def test_gradient_norms_of_the_parts(classifier: ClipClassifier) -> None:
    optimizer = build_optimizer(classifier, recipe())
    for name, parameter in classifier.named_parameters():
        parameter.grad = torch.zeros_like(parameter)
        if name.endswith("proj.bias"):
            parameter.grad[:] = torch.tensor([3.0, 4.0])
        if name.endswith("blocks.0.multipathway_blocks.0.norm.bias"):
            parameter.grad[:2] = torch.tensor([5.0, 12.0])
    norms = clip_gradients(optimizer, max_norm=None)
    assert (norms["head"].item(), norms["backbone"].item()) == (5.0, 13.0)
    classifier.zero_grad(set_to_none=True)
    assert clip_gradients(optimizer, max_norm=None)["backbone"].item() == 0


def test_average_of_weights_by_hand() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    weight, statistic = model[0].weight, model[1].running_mean
    average = weight_average(model, decay=0.25)
    expected, values = None, [1.0, 5.0, -3.0, 2.0]
    for step, value in enumerate(values):
        with torch.no_grad():
            weight.fill_(value)
            statistic.fill_(value)
        model[1].num_batches_tracked.fill_(step)
        average.update_parameters(model)
        # The first is taken as it is; then the decay is the lower of 0.25 and (1 + n) / (10 + n).
        decay = min(0.25, (1 + step) / (10 + step))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert average.module[0].weight.item() == pytest.approx(expected)
        assert average.module[1].running_mean.item() == pytest.approx(expected)
        assert average.module[1].num_batches_tracked.item() == step
    assert (1 + 1) / (10 + 1) < 0.25 <= (1 + 2) / (10 + 2), "both sides of the minimum were seen"
