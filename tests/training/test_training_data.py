"""Which clips a device trains on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cpu_fabric import cpu_fabric
from synthetic import make_params, make_rows

from slowfast_finetune.training.training_data import TrainingData


def training_data(rows: list[Any], **train: Any) -> TrainingData:
    return TrainingData(rows, rows, make_params(train=train), Path("nowhere"), cpu_fabric())


def test_sampler_is_asked_for_by_the_recipe() -> None:
    rows = [*make_rows(9, label=0), *make_rows(3, label=1)]

    def shown(**train: Any) -> Counter[int]:
        feed = training_data(rows, **train).feed(1, size=4)
        return Counter(
            rows[window.clip].label
            for step in feed.steps
            for micro_batch in step
            for window in micro_batch.windows
        )

    assert shown(class_balance="sampler") == {0: 6, 1: 6}
    assert shown(class_balance="none") == {0: 9, 1: 3}


def test_number_of_steps_does_not_depend_on_how_they_are_divided() -> None:
    several = training_data(make_rows(11), batch_size=4)
    assert several.steps_per_epoch == 3
    assert [len(step) for step in several.feed(1, size=2).steps] == [2, 2, 2]
