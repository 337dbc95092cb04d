"""The examples of docs/predicting.md run as they stand, and its lists are complete."""

from __future__ import annotations

import argparse
import doctest
from pathlib import Path

import pytest
from pipeline_imports import PROJECT
from synthetic import steady, write_video
from tiny_model import write_checkpoint

from slowfast_finetune.commands import predict
from slowfast_finetune.predicting.prediction_text import SegmentRow

PAGE = PROJECT / "docs" / "predicting.md"


@pytest.mark.process
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "models" / "best.pt")
    write_video(tmp_path / "clip.mp4", steady(20, 15))
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(
        str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8"
    )
    assert results.attempted > 5
    assert results.failed == 0


def test_every_option_and_column_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    parser = argparse.ArgumentParser()
    predict.add_options(parser)
    options = {flag for action in parser._actions for flag in action.option_strings}
    lacking = [o for o in sorted(options - {"-h", "--help"}) if f"`{o}" not in text]
    lacking += [name for name in SegmentRow._fields if f"`{name}`" not in text]
    assert lacking == []
