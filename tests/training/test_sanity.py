"""The sanity check: it finds what would not learn, and leaves no trace."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from cpu_fabric import cpu_fabric
from torch import Tensor, nn

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.model.slowfast import ClipClassifier, build_slowfast
from slowfast_finetune.training.trial_step import check_gradients


@pytest.fixture(scope="module")
def fabric() -> Any:
    return cpu_fabric()


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
        criterion = nn.CrossEntropyLoss(reduction="none")
        return check_gradients(model.train(), *clips, criterion, fabric=fabric)

    def test_sound_model_passes_and_is_unchanged(
        self, classifier: ClipClassifier, clips: tuple[Tensor, Tensor], fabric: Any
    ) -> None:
        before = {name: value.clone() for name, value in classifier.state_dict().items()}
        random_state = torch.random.get_rng_state()
        loss = self.check(classifier, clips, fabric)
        assert math.isfinite(loss)
        after = classifier.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert torch.equal(random_state, torch.random.get_rng_state())
        assert all(parameter.grad is None for parameter in classifier.parameters())

    def test_frozen_backbone_is_not_asked_for_gradients(
        self, classifier: ClipClassifier, clips: tuple[Tensor, Tensor], fabric: Any
    ) -> None:
        classifier.network.requires_grad_(False)
        classifier.network.get_submodule("blocks.6.proj").requires_grad_(True)
        loss = self.check(classifier, clips, fabric)
        assert math.isfinite(loss)

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
