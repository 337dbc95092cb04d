"""What a run says of itself beside its predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slowfast_finetune.comparing.sources import warnings_of


@pytest.mark.parametrize(
    ("content", "warns"),
    [
        (json.dumps({"run": [{"test_videos_seen": 3}]}), True),
        (json.dumps({"run": [{"test_videos_seen": 0}]}), False),
        (json.dumps({"run": [{"test_videos_seen": None}]}), False),
        (json.dumps({"run": []}), False),
        ("{", False),
        (None, False),
    ],
)
def test_a_run_whose_first_weights_saw_test_videos_is_named(
    tmp_path: Path, content: str | None, warns: bool
) -> None:
    source = tmp_path / "predictions.csv"
    source.write_text("", encoding="utf-8")
    if content is not None:
        (tmp_path / "train.json").write_text(content, encoding="utf-8")
    said = f"warning: {source}: 3 of its test videos trained the weights that it began with"
    assert [text.split(";")[0] for text in warnings_of([str(source)])] == [said] * warns
