"""What learns, and the loss it learns by."""

from __future__ import annotations

import pytest
import torch
from cpu_fabric import cpu_fabric
from synthetic import make_params, make_rows
from torch import nn
from toy_learner import recipe

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.model.slowfast import build_slowfast
from slowfast_finetune.training.learner import build_learner, training_criterion
from slowfast_finetune.training.optimisation import clip_gradients

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
    assert learner.evaluation_model is not learner.classifier
    assert learner.schedule.steps_per_epoch == 3
    assert clip_gradients(learner.optimizer, max_norm=None)["head"].item() == 0
    frames = torch.zeros(1, 8, 32, 32, 3, dtype=torch.uint8)
    assert learner.classifier.eval()(frames).shape == (1, 2)
