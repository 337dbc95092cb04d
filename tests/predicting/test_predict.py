"""Predictions: the same numbers as evaluate, the timeline, and the command."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
import math
import os
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faulty_decoders import serve_with_faults
from pipeline_imports import PROJECT
from synthetic import make_manifest, needs_permissions, steady, touch_videos, write_video
from tiny_model import CLASS_NAMES, ROUNDING, StandIn, tiny_params, write_checkpoint
from torch import Tensor

from slowfast_finetune import Prediction, RefusedVideo, Segment, cli, load_model
from slowfast_finetune.base.errors import CheckpointError, DataError, VideoError
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.commands import predict as predict_command
from slowfast_finetune.evaluation import evaluate
from slowfast_finetune.model.checkpoint import Preprocessing, load_checkpoint
from slowfast_finetune.predicting import decoder_pool, predictor
from slowfast_finetune.predicting.annotating import Annotator
from slowfast_finetune.predicting.clip_selection import ClipPlan, Place, VideoClips, WindowRun
from slowfast_finetune.predicting.inputs import find_inputs
from slowfast_finetune.predicting.prediction_text import (
    SegmentRow,
    as_csv,
    as_json,
    as_text,
    clock,
    csv_header,
)
from slowfast_finetune.predicting.predictor import MOST_FEATURES, Predictor, _ScoredVideo
from slowfast_finetune.predicting.webcam import camera_index, watch
from slowfast_finetune.scoring import views as stored_views

# Frames at 15 fps; two seconds, 30 frames, are kept of a video.
LENGTHS = {"clap/short": 5, "clap/clip": 8, "jump/some": 21, "jump/kept": 30, "wave/long": 100}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of several lengths and shapes. Shared: change nothing in it."""
    root = tmp_path_factory.mktemp("videos")
    for index, (name, length) in enumerate(LENGTHS.items()):
        width, height = [(64, 48), (48, 64), (96, 48)][index % 3]
        write_video(
            root / f"{name}.mp4",
            steady(length, 15),
            width=width,
            height=height,
            picture=functools.partial(picture, seed=index, size=(width, height)),
        )
    return root


def picture(number: int, seed: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x * (1 + c) + y * seed + number * (5 + c)) / 9) for c in range(3)]
    return (127 + 120 * np.stack(waves, axis=2)).astype(np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "best.pt")


# The same as evaluate


@pytest.mark.process
@pytest.mark.parametrize(
    ("precision", "views", "crops"), [("fp32", 1, 1), ("fp32", 3, 3), ("bf16", 1, 1)]
)
def test_a_video_gets_the_probabilities_that_evaluate_gives(
    videos: Path, tmp_path: Path, precision: str, views: int, crops: int
) -> None:
    params = tiny_params(
        evaluate={"temporal_views": views, "spatial_crops": crops},
        runtime={"precision": precision},
    )
    path = write_checkpoint(tmp_path / "best.pt", params)
    rows, store = stored(videos, tmp_path, params)
    checkpoint = load_checkpoint(path)
    evaluated = evaluate.view_videos(rows, checkpoint=checkpoint, params=params, store=store)
    expected = evaluated.probabilities(temperature=checkpoint.temperature)
    assert np.ptp(expected, axis=0).max() > 0.05, "the videos must be told apart"

    paths = [videos / row.video_path for row in rows]
    for num_workers in (1, 2):
        results = list(load_model(path).predict_many(paths, num_workers=num_workers))
        found = [list(predicted(result).probabilities.values()) for result in results]
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)
        assert [result.path for result in results] == paths


class Weigher(StandIn):
    """Adds up each clip with a weight for every byte, exactly: any other byte shows."""

    def answer(self, clips: Tensor) -> Tensor:
        numbers = torch.arange(clips[0].numel()) % 9973
        sums = torch.stack([(clip.flatten().long() * numbers).sum() for clip in clips])
        return torch.stack([sums % 101, sums % 103, sums % 107], dim=1) / 50


@pytest.mark.process
@pytest.mark.parametrize(("views", "crops"), [(1, 1), (4, 3)])
def test_the_model_is_shown_exactly_what_evaluate_shows(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: int, crops: int
) -> None:
    for module in (predictor, stored_views):
        monkeypatch.setattr(module, "classifier_from", lambda _: Weigher())
    params = tiny_params(evaluate={"temporal_views": views, "spatial_crops": crops})
    path = write_checkpoint(tmp_path / "best.pt", params)
    rows, store = stored(videos, tmp_path, params)
    seen = evaluate.view_videos(rows, checkpoint=load_checkpoint(path), params=params, store=store)
    expected = seen.probabilities(temperature=load_checkpoint(path).temperature)
    results = load_model(path).predict_many([videos / row.video_path for row in rows])
    found = [list(predicted(result).probabilities.values()) for result in results]
    np.testing.assert_array_equal(found, expected)
    assert len({tuple(row) for row in found}) == len(rows)


def stored(videos: Path, folder: Path, params: Params) -> tuple[list[ClipRow], ClipStore]:
    """The videos that evaluate sees all of, through the cache stage."""
    names = [f"{name}.mp4" for name, length in LENGTHS.items() if length <= 30]
    store = ClipStore(folder / "store", params.clip)
    rows, rejected = cache_videos(
        make_manifest(videos, names),
        params=params,
        store=store,
        project=videos,
    )
    assert rejected == []
    return rows, store


def predicted(result: Prediction | RefusedVideo) -> Prediction:
    assert isinstance(result, Prediction)
    return result


# The timeline


@pytest.mark.process
def test_segments_cover_the_video_in_order(videos: Path, checkpoint: Path) -> None:
    model = load_model(checkpoint)
    for name, length in LENGTHS.items():
        prediction = model.predict(videos / f"{name}.mp4", stride_seconds=1 / 15)
        assert prediction.duration_seconds == pytest.approx(length / 15)
        assert prediction.segments[0].start_seconds == 0
        assert prediction.segments[-1].end_seconds == pytest.approx(length / 15)
        for earlier, later in zip(prediction.segments, prediction.segments[1:], strict=False):
            assert earlier.end_seconds == later.start_seconds
            assert earlier.answer != later.answer
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert list(prediction.probabilities) == list(CLASS_NAMES)


class Brightness(StandIn):
    """Says "clap" of dark clips, "wave" of bright ones; never "jump"."""

    def answer(self, clips: Tensor) -> Tensor:
        level = clips.float().mean(dim=(1, 2, 3, 4)) / 255
        return torch.stack([1 - level, level * 0 - 1, level], dim=1) * 20


@pytest.mark.process
def test_a_change_in_the_middle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (predictor, stored_views):
        monkeypatch.setattr(module, "classifier_from", lambda _: Brightness())
    path = write_video(
        tmp_path / "change.mp4",
        steady(90, 15),
        picture=lambda number: np.full((48, 64, 3), 20 if number < 40 else 230, np.uint8),
    )
    model = load_model(write_checkpoint(tmp_path / "best.pt", temperature=1.0))
    first, second = model.predict(path).segments
    assert (first.answer, second.answer) == ("clap", "wave")
    # 40 frames at 15 fps; windows of 8 frames, 4 apart: right to a stride.
    assert first.end_seconds == pytest.approx(40 / 15, abs=4 / 15)
    assert min(first.confidence, second.confidence) > 0.8
    whole = model.predict(path)
    assert whole.label == "wave", "50 of 90 frames"
    assert whole.confidence == pytest.approx(50 / 90, abs=0.05)
    assert model.predict(path, threshold=0.9).answer is None
    assert model.predict(path, threshold=0.9).label == "wave"


@pytest.mark.process
def test_a_long_video_is_averaged_over_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of 8 frames, 7 apart, overlap by one: cells of six or seven frames, and of one."""
    monkeypatch.setattr(predictor, "classifier_from", lambda _: Brightness())
    path = write_video(
        tmp_path / "change.mp4",
        steady(90, 15),
        picture=lambda number: np.full((48, 64, 3), 230 if number < 7 else 20, np.uint8),
    )
    model = load_model(write_checkpoint(tmp_path / "best.pt", temperature=1.0))
    found = model.predict(path, stride_seconds=7 / 15).probabilities
    (found_cells,) = model.timeline_cells([path], stride_seconds=7 / 15)
    assert not isinstance(found_cells, RefusedVideo)
    cells, edges = found_cells
    middles = (np.arange(90) + 0.5) / 15
    of_frames = cells[np.searchsorted(edges, middles) - 1]
    np.testing.assert_allclose([*found.values()], of_frames.mean(axis=0), atol=1e-6)
    assert np.abs(of_frames.mean(axis=0) - cells.mean(axis=0)).max() > 0.01


@pytest.mark.process
def test_the_fitted_threshold_says_none_of_these(videos: Path, tmp_path: Path) -> None:
    model = load_model(write_checkpoint(tmp_path / "best.pt", threshold=1.0))
    prediction = model.predict(videos / "jump/some.mp4")
    assert prediction.answer is None
    assert [part.answer for part in prediction.segments] == [None]
    assert model.predict(videos / "jump/some.mp4", threshold=0).answer == prediction.label


# The Python API


@pytest.mark.process
def test_a_refused_video_raises_with_path_and_reason(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"text\.mp4: cannot be opened") as caught:
        load_model(checkpoint).predict(tmp_path / "text.mp4")
    assert caught.value.reason == "not_a_video"


@pytest.mark.process
def test_refused_videos_stand_between_the_others(videos: Path, checkpoint: Path) -> None:
    paths = [videos / "gone.mp4", videos / "clap/clip.mp4", videos / "gone too.mp4"]
    results = list(load_model(checkpoint).predict_many(paths))
    assert [type(result) for result in results] == [RefusedVideo, Prediction, RefusedVideo]
    assert [result.path for result in results] == paths


@pytest.mark.process
def test_the_package_gives_its_api_without_torch_until_it_is_asked() -> None:
    code = (
        "import sys, slowfast_finetune as s, slowfast_finetune.cli; "
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules; "
        "assert 'torch' not in sys.modules, s.Prediction; s.load_model; "
        "assert 'torch' in sys.modules; print(all(hasattr(s, n) for n in s.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c["params"].pop("evaluate"),
        lambda c: c["params"].update(clip=None),
        lambda c: c["params"].update(runtime={"device": "moon"}),
        lambda c: c["params"].pop("runtime"),
        lambda c: c.update(format_version=99),
        lambda c: c["model_state"].popitem(),
    ],
)
def test_a_checkpoint_that_is_not_as_written_is_one_line(
    checkpoint: Path, tmp_path: Path, damage: Any
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    damage(content)
    path = tmp_path / "odd.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"odd\.pt: ") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.process
def test_a_script_of_a_few_lines_needs_no_guard(
    videos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """Decoding processes must not run the person's script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from slowfast_finetune import load_model\n"
        f"print(load_model({str(checkpoint)!r}).predict({str(videos / 'jump/some.mp4')!r}).label)\n"
    )
    expected = load_model(checkpoint).predict(videos / "jump/some.mp4").label
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (expected + "\n", "")


# What is asked for


def names(results: list[Path | RefusedVideo], root: Path) -> list[str]:
    return [
        f"{item.reason}: {item.path.name}"
        if isinstance(item, RefusedVideo)
        else item.relative_to(root).as_posix()
        for item in results
    ]


def test_files_folders_and_patterns(tmp_path: Path) -> None:
    touch_videos(
        tmp_path,
        [
            "a/1.mp4",
            "a/deep/2.MKV",
            "a/.hidden/3.mp4",
            "a/notes.txt",
            "b/4.webm",
            "odd[1].mp4",
            "x.bin",
        ],
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "a/loop").symlink_to(tmp_path / "a")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")

    def ask(*words: str) -> list[str]:
        return names(find_inputs([str(tmp_path / word) for word in words]), tmp_path)

    assert ask("a") == ["a/1.mp4", "a/deep/2.MKV"]
    assert ask("b/4.webm", "a", "b") == ["b/4.webm", "a/1.mp4", "a/deep/2.MKV"], "each once"
    assert ask("x.bin") == ["x.bin"], "a named file may be called anything"
    assert ask("odd[1].mp4") == ["odd[1].mp4"], "what exists is no pattern"
    assert ask("*/*.mp4") == ["a/1.mp4"]
    assert ask("**/*.webm") == ["b/4.webm"]
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(tmp_path / "odd/pipe.mp4")
    assert ask("odd") == ["missing: dangling.mp4", "not_a_video: pipe.mp4"]
    assert ask("gone", "*.gone", "empty", "dangling.mp4", "pipe.mp4") == [
        "missing: gone",
        "missing: *.gone",
        "missing: empty",
        "missing: dangling.mp4",
        "not_a_video: pipe.mp4",
    ]


@needs_permissions
def test_an_unreadable_folder_is_refused_and_the_rest_found(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["a/1.mp4", "b/2.mp4"])
    (tmp_path / "a").chmod(0)
    try:
        assert names(find_inputs([str(tmp_path)]), tmp_path) == ["unreadable: a", "b/2.mp4"]
    finally:
        (tmp_path / "a").chmod(0o700)


# What is said

ONE = Prediction(
    path=Path("a\nb.mp4"),
    label="clap",
    answer="clap",
    confidence=0.912345678,
    probabilities={"wave": 0.08, "clap": 0.91, "jump": 0.01},
    segments=(Segment("clap", 0.0, 3.2, 0.97), Segment(None, 3.2, 64.05, 0.4)),
    duration_seconds=64.05,
)
NO = RefusedVideo(Path("c,d.mp4"), "not_a_video", "cannot\nbe opened")


def test_text_of_a_video_and_its_segments() -> None:
    assert as_text(ONE, top=2).split("\n") == [
        r"a\nb.mp4  clap  0.91",
        "    clap 0.91, wave 0.08",
        "    00:00.0–00:03.2  clap  0.97",
        "    00:03.2–01:04.0  none of these  0.40",
    ]
    assert as_text(NO, top=2) == r"c,d.mp4  refused: not_a_video: cannot\nbe opened"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00.0"), (59.96, "01:00.0"), (61.25, "01:01.2"), (7325.5, "2:02:05.5")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_json_is_one_line_and_keeps_every_name() -> None:
    said = json.loads(as_json(ONE, top=None))
    assert said == {
        "path": "a\nb.mp4",
        "answer": "clap",
        "label": "clap",
        "confidence": 0.912345678,
        "doubt": None,
        "novelty": None,
        "duration_seconds": 64.05,
        "probabilities": {"clap": 0.91, "wave": 0.08, "jump": 0.01},
        "segments": [
            {"answer": "clap", "start_seconds": 0.0, "end_seconds": 3.2, "confidence": 0.97},
            {"answer": None, "start_seconds": 3.2, "end_seconds": 64.05, "confidence": 0.4},
        ],
    }
    assert list(said["probabilities"]) == ["clap", "wave", "jump"]
    assert "\n" not in as_json(ONE, top=None)
    assert json.loads(as_json(ONE, top=1))["probabilities"] == {"clap": 0.91}
    odd = RefusedVideo(Path(os.fsdecode(b"caf\xe9.mp4")), "missing", "gone")
    assert os.fsencode(json.loads(as_json(odd, top=None))["path"]) == b"caf\xe9.mp4"


def test_csv_has_a_row_for_each_segment() -> None:
    table = "\n".join([csv_header(), as_csv(ONE), as_csv(NO), ""])
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert list(rows[0]) == list(SegmentRow._fields)
    assert [row["path"] for row in rows] == ["a\nb.mp4", "a\nb.mp4", "c,d.mp4"]
    assert [row["segment_answer"] for row in rows] == ["clap", "", ""]
    assert [row["start_seconds"] for row in rows] == ["0.0", "3.2", ""]
    assert rows[1]["confidence"] == "0.912346"
    assert rows[2]["reason"] == "not_a_video"


# The command


def run(*words: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["slowfast", "predict", *map(str, words)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def untold(checkpoint: Path) -> str:
    """What is said of a checkpoint without class distances."""
    return (
        f"{checkpoint} was trained by an older version, and cannot tell videos unlike the "
        "training videos; train again\n"
    )


@pytest.mark.process
def test_the_command_answers_the_rest_and_ends_with_1(
    videos: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    words = [tmp_path / "text.mp4", videos, tmp_path / "gone", "--checkpoint", checkpoint]
    assert run(*words, "--json", monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert len(lines) == len(LENGTHS) + 2
    assert [bool(line.get("refused")) for line in lines] == [True, *[False] * len(LENGTHS), True]
    assert said.err == f"{untold(checkpoint)}error: 2 of {len(lines)} could not be read\n"

    assert run(videos, "--checkpoint", checkpoint, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert said.err == untold(checkpoint)
    assert sum(not line.startswith(" ") for line in said.out.splitlines()) == len(LENGTHS)


@pytest.mark.process
def test_a_table_is_written_whole_or_not_at_all(
    videos: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "answers.csv"
    words = [videos / "wave", "--checkpoint", checkpoint, "--csv", "--out", out]
    assert run(*words, monkeypatch=monkeypatch) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {row["path"] for row in rows} == {str(videos / "wave/long.mp4")}
    assert [path.name for path in out.parent.iterdir()] == ["answers.csv"]
    before = out.read_text()
    words[words.index(checkpoint)] = tmp_path / "no.pt"
    assert run(*words, monkeypatch=monkeypatch) == 1
    assert out.read_text() == before


def test_answers_never_replace_a_video(
    videos: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = videos / "wave/long.mp4"
    before = video.read_bytes()
    words = [video, "--checkpoint", checkpoint, "--out", videos / "wave/../wave/long.mp4"]
    assert run(*words, monkeypatch=monkeypatch) == 1
    assert video.read_bytes() == before


def test_two_runs_with_one_output_do_not_meet(tmp_path: Path) -> None:
    out = tmp_path / "answers"
    (tmp_path / "answers.partial").write_text("of an earlier run")
    with predict_command._output(out) as write:
        write("one")
        with predict_command._output(out) as write_other:
            write_other("other")
        assert out.read_text() == "other\n"
        write("two")
    assert out.read_text() == "one\ntwo\n"
    assert (tmp_path / "answers.partial").read_text() == "of an earlier run"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    (tmp_path / "link").symlink_to(f"/proc/self/fd/{writing}")
    with predict_command._output(tmp_path / "link") as write:
        write("one")
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == "one\n"
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


@pytest.mark.process
def test_answers_before_an_early_end_are_kept(
    videos: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "answers.json"
    out.write_text("old")
    partial = tmp_path / "answers.json.partial"
    worded = predict_command._formatted
    said: list[str] = []

    def word(result: Any, args: Any) -> str:
        if len(said) == 2:
            # However the program ends: nothing waits in memory.
            assert partial.read_text().splitlines() == said
            raise KeyboardInterrupt
        said.append(worded(result, args))
        return said[-1]

    monkeypatch.setattr(predict_command, "_formatted", word)
    words = [videos, "--checkpoint", checkpoint, "--json", "--out", out]
    assert run(*words, monkeypatch=monkeypatch) == 130
    assert partial.read_text().splitlines() == said
    assert out.read_text() == "old"
    assert f"the answers so far are in {partial}\n" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [out, partial]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "required: PATH"),
        (["v.mp4", "--top", "0"], 2, "found 0, expected a whole number from 1"),
        (["v.mp4", "--threshold", "1.5"], 2, "found 1.5, expected a number from 0 to 1"),
        (["v.mp4", "--threshold", "nan"], 2, "found nan, expected a number from 0 to 1"),
        (["v.mp4", "--stride", "0"], 2, "found 0, expected a number from 0.001"),
        (["v.mp4", "--json", "--csv"], 2, "not allowed with"),
        (["v.mp4", "--checkpoint", "no.pt"], 1, "error: no.pt: no such checkpoint"),
        (["v.mp4", "--checkpoint", str(PROJECT / "README.md")], 1, "README.md: cannot be used"),
        (["987"], 1, "error: /dev/video987: there is no such camera"),
        (["987", "--csv"], 1, "error: --csv: is for files; a webcam gives one line"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words, monkeypatch=monkeypatch) == code
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    if code == 1:
        assert said.err.count("\n") == 1


@pytest.mark.process
def test_annotate_writes_the_copy(
    videos: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.mp4"
    words = [videos / "wave/long.mp4", "--checkpoint", checkpoint, "--annotate", copy]
    assert run(*words, monkeypatch=monkeypatch) == 0
    assert load_model(checkpoint).predict(copy).duration_seconds == pytest.approx(100 / 15)


@pytest.mark.process
def test_a_copy_that_cannot_be_written_costs_no_answer(
    videos: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An answer is said before its copy is tried; the other copies are written."""
    written = Annotator.write

    def write(annotator: Annotator, result: Prediction) -> str | None:
        return "no\ncodec" if "long" in result.path.name else written(annotator, result)

    monkeypatch.setattr(Annotator, "write", write)
    words = [videos, "--checkpoint", checkpoint, "--csv", "--annotate", tmp_path / "out"]
    assert run(*words, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(said.out))}
    assert rows[str(videos / "wave/long.mp4")]["label"] in CLASS_NAMES
    assert said.err == untold(checkpoint) + (
        f"error: {videos}/wave/long.mp4: no copy was written: no\\ncodec\n"
        f"error: 1 of {len(rows)} copies could not be written\n"
    )
    assert len(list((tmp_path / "out").rglob("*.mp4"))) == len(rows) - 1


# Side by side, and without an end


class Slow(StandIn):
    """Takes its time over each clip, and no processor."""

    def answer(self, clips: Tensor) -> Tensor:
        time.sleep(0.1 * len(clips))
        return torch.zeros(len(clips), 3)


@pytest.mark.process
@pytest.mark.parametrize(("count", "length"), [(1, 96), (12, 8)])
def test_decoding_and_computing_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, length: int
) -> None:
    """One decoder and one model that each sleep: together hardly longer than the slower alone."""
    monkeypatch.setattr(decoder_pool, "_serve", serve_with_faults)
    for module in (predictor, stored_views):
        monkeypatch.setattr(module, "classifier_from", lambda _: Slow())
    model = load_model(write_checkpoint(tmp_path / "best.pt"))
    paths = [tmp_path / f"slow{i}-{length}.mp4" for i in range(count)]
    for path in paths:
        path.write_bytes(b"x")
    list(model.predict_many(paths[:1]))
    started = time.monotonic()
    results = list(model.predict_many(paths, stride_seconds=8 / 15, num_workers=1))
    took = time.monotonic() - started
    assert [predicted(result).duration_seconds for result in results] == [length / 15] * count
    decode, compute = 0.0125 * count * length, 0.1 * count * (length // 8)
    assert decode == pytest.approx(compute)
    # All of the first batch is decoded before anything is computed.
    assert max(decode, compute) < took < 0.75 * (decode + compute) + 1.1


@pytest.mark.process
def test_a_long_video_does_not_grow_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand frames of 64 kB would be 640 MB; what waits for the model is bounded."""
    monkeypatch.setattr(decoder_pool, "_serve", serve_with_faults)
    monkeypatch.setattr(decoder_pool, "AHEAD_BYTES", 2**20)
    for module in (predictor, stored_views):
        monkeypatch.setattr(module, "classifier_from", lambda _: Brightness())
    model = load_model(write_checkpoint(tmp_path / "best.pt"))
    path = tmp_path / "large-10000.mp4"
    path.write_bytes(b"x")
    tracemalloc.start()
    prediction = model.predict(path, stride_seconds=8 / 15)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert prediction.duration_seconds == pytest.approx(10_000 / 15)
    assert peak < 30e6


@pytest.mark.process
@pytest.mark.parametrize(("held_seconds", "suffix"), [(580, "mp4"), (5 * 86_400, "mkv")])
def test_a_frame_that_is_held_for_minutes_or_days_is_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_seconds: int, suffix: str
) -> None:
    """Four seconds of pictures: two before the held frame, two after it.

    At 15 fps these are 30 sampled frames, the held one, and 30 more. Windows of 8 frames, 4 apart,
    that hold another frame than the held one: at most (30 + 8) / 4 on either side.
    """
    times = steady(20, 10) + steady(20, 10, start=2 + held_seconds)
    path = write_video(
        tmp_path / f"held.{suffix}",
        times,
        tick=Fraction(1, 1000),
        picture=functools.partial(picture, seed=1, size=(64, 48)),
    )
    seen: list[bytes] = []
    really = Predictor.logits_and_features

    def computed(model: Predictor, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.extend(clip.tobytes() for clip in clips)
        return really(model, clips)

    monkeypatch.setattr(Predictor, "logits_and_features", computed)
    result = load_model(write_checkpoint(tmp_path / "best.pt")).predict(path)
    assert result.duration_seconds == pytest.approx(held_seconds + 4)
    assert len(set(seen)) == len(seen)
    assert 14 <= len(seen) <= 1 + 2 * 10


@pytest.mark.process
def test_a_camera_gives_answers_again_and_again(videos: Path, checkpoint: Path) -> None:
    """A file stands for the camera."""
    model = load_model(checkpoint)
    path, options = videos / "wave/long.mp4", {"stride_seconds": 8 / 15, "container_format": None}
    moments = list(watch(model, path, threshold=0, **options))
    assert moments
    ends = [round(moment.end_seconds * 15) for moment in moments]
    assert ends[0] >= 8
    assert all(later - earlier >= 8 for earlier, later in itertools.pairwise(ends))
    assert ends[-1] <= 100
    assert all(m.end_seconds - m.start_seconds == pytest.approx(8 / 15) for m in moments)
    assert {moment.answer for moment in moments} <= set(CLASS_NAMES)
    assert {moment.answer for moment in watch(model, path, threshold=1.01, **options)} == {None}
    with pytest.raises(DataError, match="cannot be opened"):
        list(watch(model, checkpoint, stride_seconds=None, container_format=None))


def test_a_number_is_a_camera_unless_a_file_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert camera_index(["0"]) == 0
    assert camera_index(["0", "1"]) is None
    assert camera_index(["clip.mp4"]) is None
    (tmp_path / "0").touch()
    assert camera_index(["0"]) is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [("", "empty name"), ("rtsp://cam/1", "address"), ("http://x/y", "address")],
)
def test_an_empty_name_and_an_address_are_refused_in_words(word: str, expected: str) -> None:
    (found,) = find_inputs([word])
    assert isinstance(found, RefusedVideo)
    assert expected in found.detail


def plan_of(**changes: int) -> ClipPlan:
    shape = Preprocessing(num_frames=8, crop_size=32, sample_fps=15, short_side=32, padding="loop")
    values = {"temporal_views": 5, "spatial_crops": 1, "kept_frames": 10, "stride": 8} | changes
    return ClipPlan(shape=shape, **values)


def scored(num_frames: int, values: dict[Place, float], *, longest: float = 10) -> _ScoredVideo:
    video = _ScoredVideo(Path("a.mp4"), longest, VideoClips(num_frames))
    for place, value in values.items():
        video.add(place, np.zeros(2, np.float32), np.array([value], np.float32))
    return video


def test_features_of_a_long_video_are_averaged_over_time() -> None:
    """Windows from 0, 16, 32, 48 and 64, four of them in the first run; views count alike."""
    places = [(0, 0, 0), (64, 0, 0)]
    video = scored(72, dict(zip(places, (1.0, 11.0), strict=True)))
    video.clips.timeline = [WindowRun(places[0], 8), WindowRun(places[1], 1)]
    assert video.mean_features(plan_of()) == [3.0]
    video.clips.views = places
    assert video.mean_features(plan_of()) == [6.0]


def test_few_features_of_a_long_video_are_kept_and_evenly() -> None:
    values = {(8 * number, 0, 0): float(number) for number in range(5001)}
    long = scored(5001 * 8, values)
    long.clips.timeline = [WindowRun(place, 1) for place in values]
    assert len(long.features) <= MOST_FEATURES
    assert len(long.logits) == 5001
    assert long.mean_features(plan_of()) == pytest.approx(2500, abs=8)
    assert len(scored(5001 * 8, values, longest=math.inf).features) == 5001


@pytest.mark.process
def test_what_is_unlike_the_training_videos_has_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model and video, without class distances, then with a class far away."""
    checkpoint = load_checkpoint(write_checkpoint(tmp_path / "best.pt"))
    path = write_video(tmp_path / "a.mp4", steady(30, 15))
    model = Predictor(checkpoint)
    plain = model.predict(path)
    assert (plain.doubt, plain.novelty) == (None, None)
    size = checkpoint.model_state["blocks.6.proj.weight"].shape[1]
    far = {"means": torch.zeros(1, size), "axes": torch.zeros(0, size), "limit": 0.5}
    # Every direction has the length 1.
    predictor = Predictor(replace(checkpoint, class_distances=far))
    found = predictor.predict(path)
    assert found.novelty == pytest.approx(2, rel=1e-3)
    assert (found.answer, found.doubt) == (None, "unlike the training videos")
    assert None not in {part.answer for part in plain.segments}
    assert [part.answer for part in found.segments] == [None]
    assert found.probabilities == plain.probabilities
    assert "none of these: unlike the training videos (novelty 2.00)" in as_text(found, top=1)
    assert predictor.predict(path, max_novelty=3).answer == plain.label
    torn = predictor.predict(path, max_novelty=3, threshold=1.0)
    assert torn.doubt == "between classes"
    first, second = (name for name, _ in torn.top(2))
    assert f"none of these: between {first} and {second}" in as_text(torn, top=1)


@pytest.mark.process
def test_features_are_what_the_network_without_its_last_layer_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.pt")
    path = write_video(tmp_path / "a.mp4", steady(30, 15))
    out = tmp_path / "out.npz"
    words = ["features", str(path), str(tmp_path / "gone.mp4"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["slowfast", *words, "--checkpoint", str(checkpoint)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "gone.mp4: missing" in capsys.readouterr().err
    found = np.load(out)
    assert found["video"].tolist() == [str(path)] * len(found["view"])
    # Through the last layer and the softmax they are the prediction.
    kept = load_checkpoint(checkpoint)
    weight, bias = (
        kept.model_state[f"blocks.6.proj.{name}"].numpy() for name in ("weight", "bias")
    )
    logits = torch.from_numpy(found["features"] @ weight.T + bias)
    expected = torch.softmax(logits / kept.temperature, dim=1).mean(dim=0).numpy()
    probabilities = [*Predictor(kept).predict(path).probabilities.values()]
    assert probabilities == pytest.approx(expected, abs=1e-5)
    assert found["start_seconds"][0] == 0
