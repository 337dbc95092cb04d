"""From parameters to what the loop needs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from cpu_fabric import cpu_fabric
from synthetic import make_params, make_rows
from torch import nn
from toy_learner import recipe

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.model.slowfast import build_slowfast
from slowfast_finetune.training.optimisation import grad_norms
from slowfast_finetune.training.setup import Clips, build_learner, training_criterion

NAMES = ["clap", "jump", "wave"]
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]])
LABELS = torch.tensor([0, 2])


def test_plain_criterion_gives_the_loss_of_each_clip() -> None:
    losses = training_criterion(make_rows(6), NAMES, recipe())(LOGITS, LABELS)
    expected = [-LOGITS[i].log_softmax(0)[label].item() for i, label in enumerate((0, 2))]
    assert losses.tolist() == pytest.approx(expected)


def test_smoothed_criterion_by_hand() -> None:
    losses = training_criterion(make_rows(6), NAMES, recipe(label_smoothing=0.3))(LOGITS, LABELS)
    for i, label in enumerate((0, 2)):
        logs = LOGITS[i].log_softmax(0)
        assert losses[i].item() == pytest.approx(-(0.7 * logs[label] + 0.3 * logs.mean()).item())


def test_rare_classes_weigh_more() -> None:
    rows = [*make_rows(6, label=0), *make_rows(2, label=1), *make_rows(1, label=2)]
    weighed = training_criterion(rows, NAMES, recipe(class_balance="weights"))(LOGITS, LABELS)
    plain = training_criterion(rows, NAMES, recipe())(LOGITS, LABELS)
    # 9 clips, 3 classes: 9 / (3 × 6) and 9 / (3 × 1).
    assert (weighed / plain).tolist() == pytest.approx([0.5, 3.0])


@pytest.mark.parametrize("lacking", [1, 2])
def test_class_without_clips_cannot_be_weighed(lacking: int) -> None:
    rows = [row for row in make_rows(9) if row.label != lacking]
    with pytest.raises(DataError, match=f"{NAMES[lacking]!r} has no usable training video"):
        training_criterion(rows, NAMES, recipe(class_balance="weights"))


def clips(rows: list[Any], **train: Any) -> Clips:
    return Clips(rows, rows, make_params(train=train), Path("nowhere"), cpu_fabric())


def test_sampler_is_asked_for_by_the_recipe() -> None:
    rows = [*make_rows(9, label=0), *make_rows(3, label=1)]

    def shown(**train: Any) -> Counter[int]:
        feed = clips(rows, **train).feed(1, size=4)
        return Counter(
            rows[window.clip].label
            for step in feed.steps
            for part in step
            for window in part.windows
        )

    assert shown(class_balance="sampler") == {0: 6, 1: 6}
    assert shown(class_balance="none") == {0: 9, 1: 3}


def test_number_of_steps_does_not_depend_on_how_they_are_divided() -> None:
    several = clips(make_rows(11), batch_size=4)
    assert several.steps_per_epoch == 3
    assert [len(step) for step in several.feed(1, size=2).steps] == [2, 2, 2]


def test_learner_is_ready_to_learn() -> None:
    network = build_slowfast("slowfast_shallow", num_classes=2)
    learner = build_learner(
        network,
        recipe=recipe(ema_decay=0.9),
        augment=make_params().augment,
        criterion=nn.CrossEntropyLoss(reduction="none"),
        steps_per_epoch=3,
        fabric=cpu_fabric(),
    )
    assert learner.judged is not learner.classifier
    assert learner.schedule.steps_per_epoch == 3
    assert grad_norms(learner.optimizer)["head"].item() == 0
    frames = torch.zeros(1, 8, 32, 32, 3, dtype=torch.uint8)
    assert learner.classifier.eval()(frames).shape == (1, 2)
