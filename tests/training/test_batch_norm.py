"""Whose statistics a batch norm uses, and whether they move."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast_finetune.model.slowfast import ClipClassifier, build_slowfast
from slowfast_finetune.training.learner import begin_training


@pytest.fixture
def classifier() -> ClipClassifier:
    torch.manual_seed(0)
    return ClipClassifier(build_slowfast("slowfast_shallow", num_classes=2, dropout_rate=0.5))


@pytest.fixture
def clips() -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (4, 8, 32, 32, 3), dtype=torch.uint8)


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.named_buffers()}


def moved(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}


def step(model: nn.Module, clips: Tensor) -> None:
    model(clips).square().sum().backward()


def learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize(
    ("mode", "backbone_frozen", "statistics_move", "backbone_learns"),
    [
        ("batch", False, True, True),
        ("precise", False, True, True),
        ("frozen", False, False, True),
        ("batch", True, False, False),
        ("frozen", True, False, False),
    ],
)
def test_what_moves_and_what_learns(
    classifier: ClipClassifier,
    clips: Tensor,
    mode: Any,
    backbone_frozen: bool,
    statistics_move: bool,
    backbone_learns: bool,
) -> None:
    before = statistics(classifier)
    begin_training(classifier, batch_norm=mode, backbone_frozen=backbone_frozen)
    step(classifier, clips)
    assert moved(classifier, before) == (set(before) if statistics_move else set())
    head = {"network.blocks.6.proj.weight", "network.blocks.6.proj.bias"}
    every = {name for name, _ in classifier.named_parameters()}
    assert learning(classifier) == (every if backbone_learns else head)
    assert classifier.network.get_submodule("blocks.6.dropout").training


def test_backbone_learns_again_after_its_frozen_epochs(
    classifier: ClipClassifier, clips: Tensor
) -> None:
    begin_training(classifier, batch_norm="batch", backbone_frozen=True)
    begin_training(classifier, batch_norm="batch", backbone_frozen=False)
    before = statistics(classifier)
    step(classifier, clips)
    assert moved(classifier, before) == set(before)
    assert learning(classifier) == {name for name, _ in classifier.named_parameters()}
