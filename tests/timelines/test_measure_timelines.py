"""Labelled timelines, baselines, intervals, the choice of parameters, and the stage's files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from synthetic import make_params, steady, write_video
from tiny_model import CLASS_NAMES, write_checkpoint

from slowfast_finetune import load_model
from slowfast_finetune.base.errors import CheckpointError, DataError
from slowfast_finetune.base.manifest_table import ManifestRow, Split
from slowfast_finetune.evaluation import resampling
from slowfast_finetune.predicting.prediction import RefusedVideo
from slowfast_finetune.predicting.predictor import Cells, Predictor
from slowfast_finetune.predicting.timeline import Segment, segments_of
from slowfast_finetune.predicting.timeline_settings import TimelineSettings
from slowfast_finetune.timelines import choosing
from slowfast_finetune.timelines.choosing import choose_settings
from slowfast_finetune.timelines.labelled_videos import (
    LabelledVideo,
    by_position,
    filled,
    labelled_videos,
    most_frequent,
    position_prior,
    stretches_of,
)
from slowfast_finetune.timelines.measure_timelines import (
    measure_timelines,
    score_rows,
    segment_rows,
)
from slowfast_finetune.timelines.segment_scores import BACKGROUND, Stretch, Timeline
from slowfast_finetune.timelines.timeline_tables import TIMELINE_SCORES, TIMELINES

LABELS = {"clap": 0, "jump": 1}


def case(
    video: str, name: str, start: float | None, end: float | None, *, split: Split = "test"
) -> ManifestRow:
    label = CLASS_NAMES.index(name) if name in CLASS_NAMES else 0
    return ManifestRow(video, name, label, split, None, f"{video:>032}", start, end)


def test_cases_become_segments_of_their_video() -> None:
    rows = [
        case("b.mp4", "jump", 4, None),
        case("b.mp4", "clap", 1, 3),
        case("a.mp4", "clap", 0, 2),
        case("b.mp4", "nothing", 3, 4),
        case("c.mp4", "clap", None, None),
        case("d.mp4", "clap", 0, 1, split="val"),
    ]
    videos = labelled_videos(rows, "test")
    assert [video.path for video in videos] == ["a.mp4", "b.mp4"]
    # "nothing" is no class that counts; the last part goes on to the end of the video.
    assert videos[1].stretches(9.5, LABELS) == [Stretch(0, 1, 3), Stretch(1, 4, 9.5)]
    assert videos[1].stretches(2.0, LABELS) == [Stretch(0, 1, 2)], "nothing lies past the end"


def test_what_lies_between_is_filled() -> None:
    assert filled([Stretch(0, 1, 2), Stretch(1, 2, 4)], 5.0) == [
        Stretch(BACKGROUND, 0, 1), Stretch(0, 1, 2), Stretch(1, 2, 4), Stretch(BACKGROUND, 4, 5)
    ]  # fmt: skip
    assert filled([], 5.0) == [Stretch(BACKGROUND, 0, 5)]
    assert filled([Stretch(0, 0, 5)], 5.0) == [Stretch(0, 0, 5)]


def test_a_stretch_of_several_segments_has_their_mean_confidence() -> None:
    found = [
        Segment("clap", 0.0, 1.0, 0.9),
        Segment(None, 1.0, 2.0, 0.3),
        Segment("nothing", 2.0, 5.0, 0.7),
        Segment("jump", 5.0, 6.0, 0.8),
    ]
    line = Timeline([Stretch(0, 0, 6)], stretches_of(found, LABELS), 6.0)
    rows = segment_rows("a.mp4", line, ["clap", "jump"], found)
    # (1 s * 0.3 + 3 s * 0.7) / 4 s
    assert [row[1:] for row in rows] == [
        ("true", 0.0, 6.0, "clap", None), ("predicted", 0.0, 1.0, "clap", 0.9),
        ("predicted", 1.0, 5.0, None, 0.6), ("predicted", 5.0, 6.0, "jump", 0.8),
    ]  # fmt: skip


def test_the_prior_of_positions_by_hand(tmp_path: Path) -> None:
    # No such files: the ends of the last parts say how long the videos are, 10 s and 20 s.
    rows = [
        case("a.mp4", "clap", 0, 5),
        case("a.mp4", "jump", 5, 10),
        case("b.mp4", "clap", 10, 20),
    ]
    prior = position_prior(labelled_videos(rows, "test"), LABELS, project=tmp_path)
    # First half: 5 s of clap in one video, 10 s of nothing in the other; then 5 s of jump, and 10 s
    # of clap.
    np.testing.assert_allclose(prior[:50], [[1 / 3, 0, 2 / 3]] * 50, atol=1e-9)
    np.testing.assert_allclose(prior[50:], [[2 / 3, 1 / 3, 0]] * 50, atol=1e-9)
    # Of 30 s clap has 15, nothing 10.
    assert most_frequent(prior, 8.0) == [Stretch(0, 0, 8, pytest.approx(0.5))]
    # Equal shares: the first label.
    prior[:] = [0.5, 0, 0.5]
    assert by_position(prior, 8.0) == [Stretch(0, 0, 8, pytest.approx(0.5))]
    prior[50:] = [0.2, 0.8, 0]
    prior[:25] = [0.1, 0.1, 0.8]
    assert by_position(prior, 8.0) == [
        Stretch(0, 2, 4, pytest.approx(0.5)), Stretch(1, 4, 8, pytest.approx(0.8))
    ]  # fmt: skip


def test_scores_have_intervals_over_units_and_stand_beside_baselines() -> None:
    right = Timeline([Stretch(0, 0, 5)], [Stretch(0, 0, 5, 0.9)], 10.0)
    wrong = right._replace(predicted=[Stretch(1, 0, 5, 0.9)])
    prior = np.array([[0.1, 0.0, 0.9]] * 100)
    six = [right, wrong] * 3
    rows = {(row.method, row.score): row for row in score_rows(six, prior, [*"pqrstu"])}
    assert len(rows) == 4 * 5
    # Of six draws from as many right as wrong ones, none is right in 1/64, one or none in 7/64.
    assert rows["model", "frame_accuracy"][2:5] == (0.75, 0.5833, 0.9167)
    assert rows["model", "f1_25"][2:5] == (0.5, 0.1667, 0.8333)
    assert rows["model", "map"].value == 0.5
    # Background everywhere: half of the time is right, and no segment.
    assert rows["positions", "frame_accuracy"][2:5] == (0.5, 0.5, 0.5)
    assert rows["most_frequent", "f1_25"].value == 0
    assert rows["above_positions", "frame_accuracy"][2:5] == (0.25, 0.0833, 0.4167)
    empty = score_rows(six, None, [*"pqrstu"])
    assert [row.value is None for row in empty] == [False] * 5 + [True] * 15
    for units in ("pppppp", "pqrstt"):
        few = score_rows(six, prior, [*units])
        assert {(row.low, row.high) for row in few} == {(None, None)}


class StandIn:
    """A model that sees 10 s of clap at 0.55, with a moment of jump at 4 s, in a video of 20 s."""

    class_names = ("clap", "jump")
    threshold = 0.9
    preprocessing = SimpleNamespace(num_frames=8, sample_fps=8.0)

    def timeline_cells(
        self, paths: Sequence[Path], *, stride_seconds: float
    ) -> Iterator[Cells | RefusedVideo]:
        assert stride_seconds in (0.5, 0.25)
        edges = [0.0, 4.0, 4.4, 10.0, 20.0]
        cells = np.array([[0.55, 0.45], [0.3, 0.7], [0.55, 0.45], [0.51, 0.49]])
        for path in paths:
            if path.name == "gone.mp4":
                yield RefusedVideo(path, "decode_error", "No such file")
            else:
                yield cells, edges

    def segments(self, cells: Any, edges: list[float], settings: TimelineSettings) -> Any:
        return segments_of(
            cells, edges, class_names=self.class_names, threshold=settings.threshold or 0,
            shortest_seconds=settings.shortest_seconds,
        )  # fmt: skip


def test_the_parameters_with_the_highest_f1_are_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = labelled_videos([case("a.mp4", "clap", 0, 8, split="val")], "val")
    model = cast(Predictor, StandIn())
    # Only with a part of at least 0.5 s, and all of it as one segment: the moment of jump goes to
    # its neighbour. IoU of 0-20 s with 0-8 s is 0.4. Of equal settings the first.
    chosen = choose_settings(videos, model=model, labels=LABELS, project=tmp_path)
    assert chosen == TimelineSettings(
        stride_seconds=0.5, threshold=0, shortest_seconds=0.5, num_videos=1, f1_25=1
    )
    assert capsys.readouterr().out == (
        "timeline chosen on 1 validation video, with F1 at IoU 0.25 of 1.000 there: a window "
        "every 0.50 s, no smoothing, always answered, shortest part 0.50 s; F1 0.000 there "
        "without a choice\n"
    )


def test_nothing_is_chosen_without_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def choose(*rows: ManifestRow) -> tuple[TimelineSettings | None, str]:
        model = cast(Predictor, StandIn())
        videos = labelled_videos(rows, "val")
        chosen = choose_settings(videos, model=model, labels=LABELS, project=tmp_path)
        return chosen, capsys.readouterr().out.splitlines()[-1]

    without = "timelines are made as without a choice"
    assert choose() == (None, f"no validation video has labelled parts; {without}")
    # The jump at 4 s is never found at 15 s.
    wrong, gone = (case(name, "jump", 15, 16, split="val") for name in ("a.mp4", "gone.mp4"))
    assert choose(wrong, gone) == (
        TimelineSettings(num_videos=1, num_left_out=1),
        "timeline not chosen: F1 at IoU 0.25 is 0 on 1 validation video (1 more cannot be read) "
        "with all parameters; timelines are made without a choice",
    )
    assert choose(gone) == (
        TimelineSettings(num_left_out=1),
        "timeline not chosen: no validation video with labelled parts can be read (1 left out); "
        "timelines are made without a choice",
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two videos of 4 s in test and one in val, and a model."""
    for name in ("a", "b", "c"):
        write_video(tmp_path / f"{name}.mp4", steady(60, 15), width=64, height=48)
    write_checkpoint(tmp_path / "best.pt")
    return tmp_path


def measure(project: Path, rows: list[ManifestRow]) -> Path:
    results = project / "metrics"
    runtime = make_params(runtime={"device": "cpu"}).runtime
    measure_timelines(
        rows, checkpoint_path=project / "best.pt", runtime=runtime, project=project, results=results
    )
    return results


def test_the_stage_writes_what_predict_gives(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [case("a.mp4", "clap", 0.5, 2), case("a.mp4", "jump", 2, 3), case("b.mp4", "clap", 0, 4),
            case("c.mp4", "jump", 1, 4, split="val"), case("gone.mp4", "clap", 0, 1)]  # fmt: skip
    results = measure(project, rows)
    said = capsys.readouterr().out
    assert "gone.mp4: not used: " in said
    assert "timelines of 2 test videos with labelled parts (1 more cannot be read):" in said
    segments = TIMELINES.read_rows(TIMELINES.within(results))
    true = [row[:5] for row in segments if row.source == "true" and row.video_path == "a.mp4"]
    assert true == [
        ("a.mp4", "true", 0.0, 0.5, None), ("a.mp4", "true", 0.5, 2.0, "clap"),
        ("a.mp4", "true", 2.0, 3.0, "jump"), ("a.mp4", "true", 3.0, 4.0, None),
    ]  # fmt: skip
    answer = load_model(project / "best.pt", device="cpu").predict(project / "a.mp4")
    assert [
        (row.start_seconds, row.end_seconds, row.class_name)
        for row in segments
        if row.source == "predicted" and row.video_path == "a.mp4"
    ] == [(round(p.start_seconds, 3), round(p.end_seconds, 3), p.answer) for p in answer.segments]
    scores = {
        (row.method, row.score): row
        for row in TIMELINE_SCORES.read_rows(TIMELINE_SCORES.within(results))
    }
    metrics = json.loads((results / "timelines.json").read_text())
    assert (metrics["num_videos"], metrics["num_left_out"]) == (2, 1)
    assert {(row.num_videos, row.num_left_out) for row in scores.values()} == {(2, 1)}
    assert metrics["f1_25"] == scores["model", "f1_25"].value
    assert metrics["f1_25_low"] == scores["model", "f1_25"].low
    assert metrics["positions_f1_25"] == scores["positions", "f1_25"].value
    settings = json.loads((project / "best_timeline.json").read_text())
    assert (settings["num_videos"], settings["num_left_out"]) == (1, 0)


def test_baselines_come_from_training_videos_with_parts(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = [case("a.mp4", "clap", 0, 4), case("b.mp4", "clap", 0, 3)]
    whole = [case(f"{number}.mp4", "jump", None, None, split="train") for number in range(5)]
    part = case("c.mp4", "clap", 0, 4, split="train")
    # Clap everywhere is right in 7 of 8 s; the whole clips of jump say nothing of long videos, and
    # the parts that are tested nothing that a baseline may know.
    results = measure(project, [*tests, *whole, part])
    metrics = json.loads((results / "timelines.json").read_text())
    assert metrics["most_frequent_frame_accuracy"] == metrics["positions_frame_accuracy"] == 0.875
    assert "frame_accuracy of positions: 0.875" in capsys.readouterr().out
    results = measure(project, [*tests, *whole])
    metrics = json.loads((results / "timelines.json").read_text())
    assert metrics["most_frequent_frame_accuracy"] is metrics["positions_f1_25"] is None
    said = capsys.readouterr().out
    assert "no training video has labelled parts; the baselines of timelines are empty" in said
    assert "positions:" not in said


def test_parameters_are_chosen_on_validation_videos_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[list[str]] = []

    def spy(videos: Sequence[LabelledVideo], **_: object) -> TimelineSettings:
        used.append([video.path for video in videos])
        return TimelineSettings(threshold=0.25)

    monkeypatch.setattr(choosing, "choose_settings", spy)
    val = [case("c.mp4", "jump", 1, 4, split="val"), case("w.mp4", "clap", None, None, split="val")]
    train = case("b.mp4", "clap", 0, 4, split="train")
    measure(project, [case("a.mp4", "clap", 0, 4), *val, train])
    # Also where the test videos have no parts.
    results = measure(project, [case("a.mp4", "clap", None, None), *val, train])
    assert used == [["c.mp4"]] * 2
    assert json.loads((project / "best_timeline.json").read_text())["threshold"] == 0.25
    assert json.loads((results / "timelines.json").read_text()) == {}
    assert TIMELINES.read_rows(TIMELINES.within(results)) == []


@pytest.mark.parametrize(
    ("groups", "hashes", "has_interval"),
    [(("p", "q"), "12", True), (("p", "p"), "12", False), ((None, None), "11", False)],
)
def test_intervals_resample_groups_or_contents(
    project: Path,
    groups: Sequence[str | None],
    hashes: str,
    has_interval: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resampling, "FEWEST_UNITS", 2)
    # The same group, or the same content at another path, is one unit, which has no interval.
    rows = [
        case(f"{name}.mp4", "clap", 0, 4)._replace(group=group, content_hash=32 * digit)
        for name, group, digit in zip("ab", groups, hashes, strict=True)
    ]
    metrics = json.loads((measure(project, rows) / "timelines.json").read_text())
    assert (metrics["f1_25_low"] is not None) == has_interval


def test_what_cannot_be_measured_is_refused_in_one_line(project: Path) -> None:
    with pytest.raises(DataError, match="none of the test videos with labelled parts can be read"):
        measure(project, [case("gone.mp4", "clap", 0, 1)])
    with pytest.raises(CheckpointError, match="has no class 'swim'"):
        measure(project, [case("a.mp4", "swim", 0, 1)])
