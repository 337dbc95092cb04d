"""The file beside a checkpoint that says how timelines are made."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import steady, write_video
from tiny_model import write_checkpoint

from slowfast_finetune import load_model
from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.predicting.timeline_settings import (
    TimelineSettings,
    read_settings,
    settings_path,
    write_settings,
)

CHOSEN = TimelineSettings(0.2, 0.4, 0.25, 0.6)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "best.pt"
    path.write_bytes(b"some weights")
    return path


def test_what_is_written_is_read(checkpoint: Path) -> None:
    assert settings_path(checkpoint).name == "best_timeline.json"
    write_settings(settings_path(checkpoint), CHOSEN, checkpoint=checkpoint)
    settings, note = read_settings(checkpoint)
    assert settings == CHOSEN
    assert note == (
        "timeline chosen on validation videos: a window every 0.20 s, smoothed over 0.40 s, "
        "threshold 0.25, shortest part 0.60 s"
    )


def test_without_a_choice_nothing_is_set_or_said(checkpoint: Path) -> None:
    assert read_settings(checkpoint) == (TimelineSettings(), "")
    write_settings(settings_path(checkpoint), None, checkpoint=checkpoint)
    assert read_settings(checkpoint) == (TimelineSettings(), "")


def test_the_choice_for_another_checkpoint_is_not_used(checkpoint: Path) -> None:
    write_settings(settings_path(checkpoint), CHOSEN, checkpoint=checkpoint)
    checkpoint.write_bytes(b"other weights")
    settings, note = read_settings(checkpoint)
    assert settings == TimelineSettings()
    assert note.endswith("best_timeline.json: is of another checkpoint and is not used")


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '{"stride_seconds": 1}', '{"checkpoint": "DIGEST", "stride": 1}',
     '{"checkpoint": "DIGEST", "stride_seconds": 0}',
     '{"checkpoint": "DIGEST", "threshold": "x"}'],
)  # fmt: skip
def test_a_spoilt_file_is_refused(checkpoint: Path, text: str) -> None:
    write_settings(settings_path(checkpoint), CHOSEN, checkpoint=checkpoint)
    digest = settings_path(checkpoint).read_text().split('"')[3]
    settings_path(checkpoint).write_text(text.replace("DIGEST", digest))
    with pytest.raises(CheckpointError, match="is not as this project writes it"):
        read_settings(checkpoint)


def test_a_loaded_model_makes_timelines_as_chosen(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.pt")
    video = tmp_path / "a.mp4"
    write_video(video, steady(20, 15), width=64, height=48)
    plain = load_model(path, device="cpu").predict(video)
    write_settings(settings_path(path), TimelineSettings(0.2, 0.0, 1.0, 0.0), checkpoint=path)
    model = load_model(path, device="cpu")
    assert model.timeline.stride_seconds == 0.2
    assert "threshold 1.00" in model.timeline_note
    strict = model.predict(video)
    assert [part.answer for part in strict.segments] == [None]
    assert (strict.answer, strict.probabilities) == (plain.answer, plain.probabilities)
