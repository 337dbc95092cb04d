"""Strips of labelled and predicted timelines, and their longest mistakes, on the page."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from reported_run import Answer, answers, write_run
from synthetic import steady, write_video

from slowfast_finetune.predicting.timeline_settings import settings_path
from slowfast_finetune.report import report_page
from slowfast_finetune.report.evidence import Evidence
from slowfast_finetune.report.model_card import model_card
from slowfast_finetune.report.report_page import compose
from slowfast_finetune.report.results import read_results
from slowfast_finetune.report.run_findings import check_run
from slowfast_finetune.report.run_overview import sentences
from slowfast_finetune.report.timeline_strips import (
    Mistake,
    frame_reader,
    hues,
    largest_mistakes,
    make_strips,
)
from slowfast_finetune.timelines.timeline_tables import TimelineRow, TimelineScoreRow

ROWS = [
    TimelineRow("v/good.mp4", "true", 0.0, 4.0, "clap"),
    TimelineRow("v/good.mp4", "predicted", 0.0, 4.0, "clap", 0.9),
    TimelineRow("v/bad.mp4", "true", 0.0, 2.0, None),
    TimelineRow("v/bad.mp4", "true", 2.0, 6.0, "jump"),
    TimelineRow("v/bad.mp4", "true", 6.0, 10.0, None),
    TimelineRow("v/bad.mp4", "predicted", 0.0, 3.0, "clap", 0.6),
    TimelineRow("v/bad.mp4", "predicted", 3.0, 10.0, "jump", 0.7),
]
SCORES = [
    TimelineScoreRow(method, score, 0.5, 0.25, 0.75, 2, 1)
    for method in ("model", "most_frequent", "positions", "above_positions")
    for score in ("frame_accuracy", "f1_10", "f1_25", "f1_50", "map")
]
LONGEST = Mistake("v/bad.mp4", 6.0, 10.0, None, "jump")


def test_the_worst_video_comes_first_with_what_is_wrong_in_it() -> None:
    bad, good = make_strips(ROWS)
    assert (bad.video_path, bad.accuracy, good.accuracy) == ("v/bad.mp4", 0.3, 1.0)
    assert bad.ticks == [0, 2, 4, 6, 8, 10]
    assert bad.mistakes == [
        Mistake("v/bad.mp4", 0.0, 2.0, None, "clap"),
        Mistake("v/bad.mp4", 2.0, 3.0, "jump", "clap"),
        LONGEST,
    ]
    assert largest_mistakes([good, bad], 2) == [LONGEST, bad.mistakes[0]]
    assert make_strips([]) == []


def test_frames_of_a_mistake_are_those_of_its_time(tmp_path: Path) -> None:
    # Frame n has the grey n: 10 s at 5 fps. Eight frames from 6 s on, half a second apart.
    (tmp_path / "v").mkdir()
    write_video(
        tmp_path / "v" / "bad.mp4", steady(50, 5), width=64, height=48,
        picture=lambda number: np.full((48, 64, 3), 4 * number, np.uint8),
    )  # fmt: skip
    gone = Mistake("v/gone.mp4", 0.0, 1.0, None, "jump")
    names, read = frame_reader([LONGEST, gone], project=tmp_path)
    assert names == ["v/bad.mp4#t=6,10"]
    times = read(names[0], 8).mean(axis=(1, 2, 3)) / 4 / 5
    assert times == pytest.approx([6.0, 6.4, 7.0, 7.4, 8.0, 8.4, 9.0, 9.4], abs=0.15)
    assert len(read(names[0], 3)) == 3


def test_classes_have_hues_far_apart() -> None:
    assert hues(["a", "b", "c"]) == {"a": 0, "b": 222, "c": 85}


def test_parts_are_called_parts(tmp_path: Path) -> None:
    run = write_run(tmp_path, answers("clap", {"clap": 2}), class_names=["clap"])
    results = read_results(run.files)
    assert sentences("result", results)[0].startswith("2 of 2 test videos are classified")
    parts = [row._replace(start_seconds=1.0, end_seconds=2.0) for row in results.clips]
    results = dataclasses.replace(results, clips=parts)
    assert sentences("result", results)[0].startswith("2 of 2 test parts are classified")
    assert sentences("data", results)[0].startswith("6 usable parts, ")


def test_parts_of_two_videos_are_of_two_videos_wherever_the_page_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = np.zeros((8, 48, 64, 3), np.uint8)
    monkeypatch.setattr(report_page, "stored_frames", lambda _store, _row, num: grey[:num])
    parts = [
        {"group": None, "video_path": f"v/{name}.mp4", "content_hash": digit * 32,
         "start_seconds": start, "end_seconds": start + 1}
        for name, digit in (("bad", "1"), ("good", "2")) for start in range(7)
    ]  # fmt: skip
    run = write_run(
        tmp_path, [Answer("clap", "clap", changes=part) for part in parts],
        class_names=["clap", "jump"], timelines=ROWS, timeline_scores=SCORES,
        train_changes={name: {"group": None} for name in ("clap", "jump")},
    )  # fmt: skip
    results = read_results(run.files)
    page = compose(results, store=run.store, evidence=Evidence(note="-"), project=tmp_path)
    text = page.replace("\u202f", " ")
    assert "With only 2 videos, confidence intervals are too narrow" in text  # of the accuracy
    assert ", from 14 test parts of 2 videos" in text
    assert "The test parts come from 2 videos. No groups are configured" in text
    assert "The accuracy is measured on 14 test parts of 2 videos." in text
    assert '<p class="note">With only 2 videos, there are no confidence intervals.</p>' in text
    assert '<th scope="col">videos</th><th scope="col">length</th>' in text
    assert "of 14 parts</title>" in text  # of the reliability diagram
    assert "25 to 75 percentage points" in text  # the row of differences
    assert "group" not in sentences("data", results)[0]
    card = model_card(results, params=run.params, findings=check_run(results))
    assert "Measured on 14 test parts of 2 videos of this collection." in card
    assert "| – to – |" not in card


@pytest.mark.parametrize("rows", [ROWS, []], ids=["parts", "whole videos"])
def test_the_page_shows_timelines_where_there_are_any(
    tmp_path: Path, rows: list[TimelineRow]
) -> None:
    run = write_run(
        tmp_path, answers("clap", {"clap": 2}) + answers("jump", {"jump": 2}),
        class_names=["clap", "jump"], timelines=rows, timeline_scores=SCORES if rows else [],
    )  # fmt: skip
    page = compose(
        read_results(run.files), store=run.store, evidence=Evidence(note="-"), project=tmp_path
    )
    assert ('id="timelines"' in page) == bool(rows) == ('href="#timelines"' in page)
    if rows:
        assert 'aria-label="predicted: clap from 0.0 s to 3.0 s, jump from 3.0 s to 10.0 s"' in page
        assert 'aria-label="labelled: no class from 0.0 s to 2.0 s, jump from' in page
        assert "2 test videos with labelled parts (1 more cannot be read): what" in page.replace(
            "\u202f", " "
        )
        assert "bad.mp4, 6.0 s to 10.0 s" in page
        assert "the frames cannot be read from the video" in page
        assert "are not chosen: no validation video has labelled parts.</p>" in page


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.0, 0.0, 0.0), "no smoothing, always answered, no shortest part."),
        ((0.5, 0.25, 1.0), "smoothing over 0.500 s, threshold 0.250, shortest part 1.000 s."),
    ],
)
def test_chosen_parameters_of_zero_are_said_in_words(
    tmp_path: Path, values: tuple[float, float, float], said: str
) -> None:
    run = write_run(
        tmp_path, answers("clap", {"clap": 2}), class_names=["clap", "jump"],
        timelines=ROWS, timeline_scores=SCORES,
    )  # fmt: skip
    names = ("smoothing_seconds", "threshold", "shortest_seconds")
    settings = dict(zip(names, values, strict=True))
    chosen = {"stride_seconds": 0.5, "num_videos": 2, "num_left_out": 0, "f1_25": 0.5, **settings}
    settings_path(run.files.checkpoint).write_text(json.dumps(chosen))
    page = compose(
        read_results(run.files), store=run.store, evidence=Evidence(note="-"), project=tmp_path
    )
    assert f"a window every 0.500 s, {said}</p>" in page


def test_the_legend_holds_the_classes_that_timelines_can_show(tmp_path: Path) -> None:
    run = write_run(
        tmp_path, answers("clap", {"clap": 2}), class_names=["clap", "jump", "nothing"],
        timelines=ROWS, timeline_scores=SCORES,
    )  # fmt: skip
    results = read_results(run.files)
    results.summary["run"][-1]["params"]["data"]["background"] = "nothing"
    page = compose(results, store=run.store, evidence=Evidence(note="-"), project=tmp_path)
    keys = page.split('<p class="keys">')[-1].split("</p>")[0]
    assert re.sub("<[^>]*>", "", keys).split() == ["clap", "jump", "no", "class"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"stride_seconds": 0.5, "smoothing_seconds": 0, "threshold": 0.3,
             "shortest_seconds": 1, "num_videos": 8, "num_left_out": 2, "f1_25": 0.625},
            "chosen on 8 validation videos (2 more cannot be read), by F1 at IoU 0.25, which is "
            "62.5 % there: a window every 0.500 s",
        ),
        ({"num_videos": 3, "num_left_out": 0, "f1_25": 0},
         "are not chosen: F1 at IoU 0.25 is 0 on 3 validation videos with all of them."),
        ({"num_videos": 0, "num_left_out": 2, "f1_25": 0},
         "are not chosen: no validation video with labelled parts can be read (2 left out)."),
    ],
    ids=["chosen", "F1 is 0", "none can be read"],
)  # fmt: skip
def test_the_page_tells_on_what_evidence_parameters_are_chosen(
    tmp_path: Path, settings: dict[str, float], said: str
) -> None:
    run = write_run(
        tmp_path, answers("clap", {"clap": 2}), class_names=["clap", "jump"], timelines=ROWS,
        timeline_scores=SCORES,
    )  # fmt: skip
    settings_path(run.files.checkpoint).write_text(json.dumps(settings))
    page = compose(
        read_results(run.files), store=run.store, evidence=Evidence(note="-"), project=tmp_path
    )
    assert said in page.replace("\u202f", " ").replace("\u00a0", " ")
