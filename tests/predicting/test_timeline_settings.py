"""The file beside a checkpoint that says how timelines are made."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import steady, write_video
from tiny_model import write_checkpoint

from slowfast_finetune import load_model
from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.base.files import hash_file
from slowfast_finetune.predicting.timeline_settings import (
    TimelineSettings,
    read_settings,
    settings_path,
    write_settings,
)

CHOSEN = TimelineSettings(
    stride_seconds=0.2, smoothing_seconds=0.4, threshold=0.25, shortest_seconds=0.6,
    num_videos=8, f1_25=0.625,
)  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "best.pt"
    path.write_bytes(b"some weights")
    return path


def test_what_is_written_is_read(checkpoint: Path) -> None:
    assert settings_path(checkpoint).name == "best_timeline.json"
    write_settings(checkpoint, CHOSEN)
    settings, note = read_settings(checkpoint)
    digest = hash_file(checkpoint)
    assert settings == CHOSEN.model_copy(update={"checkpoint": digest})
    assert note == (
        "timeline chosen on 8 validation videos, with F1 at IoU 0.25 of 0.625 there: a window "
        "every 0.20 s, smoothed over 0.40 s, threshold 0.25, shortest part 0.60 s"
    )


def test_without_a_choice_nothing_is_set_or_said(checkpoint: Path) -> None:
    assert read_settings(checkpoint) == (TimelineSettings(), "")
    write_settings(checkpoint, None)
    assert read_settings(checkpoint) == (TimelineSettings(), "")


def test_that_nothing_was_chosen_is_said_with_the_evidence(checkpoint: Path) -> None:
    write_settings(checkpoint, TimelineSettings(num_videos=3))
    settings, note = read_settings(checkpoint)
    assert settings.model_copy(update={"checkpoint": ""}) == TimelineSettings(num_videos=3)
    assert note == (
        "timeline not chosen: F1 at IoU 0.25 is 0 on 3 validation videos with all parameters"
    )


def test_the_choice_for_another_checkpoint_is_not_used(checkpoint: Path) -> None:
    write_settings(checkpoint, CHOSEN)
    checkpoint.write_bytes(b"other weights")
    settings, note = read_settings(checkpoint)
    assert settings == TimelineSettings()
    assert note.endswith("best_timeline.json: is of another checkpoint and is not used")


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", "", '{"checkpoint": "DIGEST", "stride": 1}',
     '{"checkpoint": "DIGEST", "stride_seconds": 0}',
     '{"checkpoint": "DIGEST", "threshold": "x"}'],
)  # fmt: skip
def test_a_spoilt_file_is_refused(checkpoint: Path, text: str) -> None:
    write_settings(checkpoint, CHOSEN)
    settings_path(checkpoint).write_text(text.replace("DIGEST", hash_file(checkpoint)))
    with pytest.raises(CheckpointError, match="is not as this project writes it"):
        read_settings(checkpoint)


@pytest.mark.process
def test_a_loaded_model_makes_timelines_as_chosen(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.pt")
    video = tmp_path / "a.mp4"
    write_video(video, steady(20, 15), width=64, height=48)
    plain = load_model(path, device="cpu").predict(video)
    write_settings(path, TimelineSettings(stride_seconds=0.2, threshold=1.0, num_videos=1, f1_25=1))
    model = load_model(path, device="cpu")
    assert model.timeline.stride_seconds == 0.2
    assert "threshold 1.00" in model.timeline_note
    strict = model.predict(video)
    assert [part.answer for part in strict.segments] == [None]
    assert (strict.answer, strict.probabilities) == (plain.answer, plain.probabilities)
