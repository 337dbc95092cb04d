"""Timelines of two models on the same videos: differences worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from slowfast_finetune import cli
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.comparing.comparison import TimelineComparison, compare_timelines
from slowfast_finetune.evaluation import resampling
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, PredictionRow
from slowfast_finetune.timelines.labelled_videos import LabelledVideo
from slowfast_finetune.timelines.measure_timelines import segment_rows
from slowfast_finetune.timelines.segment_scores import Timeline
from slowfast_finetune.timelines.timeline_tables import TIMELINES, TimelineRow


def line(video: str, true: str, predicted: str) -> list[TimelineRow]:
    """One letter for ten seconds: j for jump, w for wave, . for background."""
    names = {"j": "jump", "w": "wave", ".": None}
    return [
        TimelineRow(video, source, 10.0 * at, 10.0 * at + 10, names[letter], 0.5)
        for source, letters in (("true", true), ("predicted", predicted))
        for at, letter in enumerate(letters)
    ]


A = [*line("1.mp4", "j.w.", "w.w."), *line("2.mp4", "jw..", "....")]
B = [*line("1.mp4", "j.w.", "j.w."), *line("2.mp4", "jw..", "j...")]


def compared(
    a: list[TimelineRow], b: list[TimelineRow], groups: dict[str, str]
) -> TimelineComparison:
    found = compare_timelines(a, b, groups)
    assert found is not None
    return found


def test_differences_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "FEWEST_UNITS", 2)
    found = compared(A, B, {})
    assert (found.num_videos, found.num_left_out, found.num_units) == (2, 0, 2)
    rows = {row.score: row for row in found.differences}
    # Of eight stretches A has 3 + 2 right, B has 4 + 3.
    accuracy = rows["frame_accuracy"]
    assert (accuracy.a, accuracy.b, accuracy.difference) == pytest.approx((0.625, 0.875, 0.25))
    # B is better by one stretch in four in each of both videos, so in every draw.
    assert (accuracy.low, accuracy.high) == pytest.approx((0.25, 0.25))
    # A: 1 hit of 2 segments, 4 true; B: 3 of 3, 4 true. 2 * hits / (found + true).
    for score in ("f1_10", "f1_25", "f1_50"):
        assert (rows[score].a, rows[score].b) == pytest.approx((2 / 6, 6 / 7))
    # Draws of the first video alone: A 2 / 4, B 4 / 4; of the second: A 0 / 2, B 2 / 3.
    assert (rows["f1_50"].low, rows["f1_50"].high) == pytest.approx((0.5, 2 / 3))


def test_only_what_both_have_is_compared() -> None:
    more = line("3.mp4", "jj", "jj")
    other = [*A, *more], [*B, *line("3.mp4", "jw", "jj")]
    assert compared(*other, {}) == compared([*A, *more], B, {})
    assert compared(*other, {}).num_left_out == 1
    assert compared(*other, {}).differences == compared(A, B, {}).differences
    assert compare_timelines(A, B, {"1.mp4": "g", "2.mp4": "g"}) is None
    assert compare_timelines(A, [], {}) is None


@pytest.mark.parametrize("end", [None, 20.0, 10.0], ids=["open", "late", "inside"])
def test_models_of_other_frame_rates_are_compared(end: float | None) -> None:
    """A video of 20.03 s has 201 frames at 10 fps, up to 20.1 s, and 301 at 15 fps: 20.067 s."""

    def lines(seconds: float) -> list[TimelineRow]:
        rows = []
        for name in ("1.mp4", "2.mp4"):
            case = ManifestRow(name, "jump", 0, "test", None, name, 5.0, end, 2)
            true = LabelledVideo(name, name, [case]).stretches(seconds, {"jump": 0})
            rows += segment_rows(name, Timeline(true, true[:1], seconds), ["jump"], [])
        return rows

    found = compared(lines(20.1), lines(301 / 15), {})
    assert (found.num_videos, found.num_left_out) == (2, 0)
    assert {(row.a, row.b) for row in found.differences} == {(1.0, 1.0)}
    assert compare_timelines(lines(20.1), lines(25.0), {}) is None, "these are other videos"


def test_the_command_reads_the_timelines_beside_the_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rows in (("a", A), ("b", B)):
        guesses = [
            PredictionRow(video, None, "jump", "jump", "jump", 1.0, 1.0, 1)
            for video in ("1.mp4", "2.mp4")
        ]
        PREDICTIONS.write(
            tmp_path / name / "predictions.csv",
            guesses,
            class_names=["jump", "wave"],
            class_values=np.array([[1.0, 0.0]] * 2),
        )
        TIMELINES.write(tmp_path / name / "timelines.csv", rows)
    files = [str(tmp_path / name / "predictions.csv") for name in "ab"]
    monkeypatch.setattr(sys, "argv", ["slowfast", "compare", *files])
    cli.main()
    said = capsys.readouterr().out.splitlines()
    assert "time right       0.625   0.875   +0.250   –" in said
    assert "timelines of 2 videos, resampled by video" in said
    assert said[-1] == "with only 2 videos, there are no confidence intervals"
    (tmp_path / "b" / "timelines.csv").unlink()
    cli.main()
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"timelines are not compared: {files[1]} has none"
    TIMELINES.write(tmp_path / "b" / "timelines.csv", [B[-1]])
    cli.main()
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "timelines are not compared: fewer than two videos or groups have both"
