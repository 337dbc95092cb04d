"""Labels written for other programs and read back, and the command itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pipeline_imports import PROJECT
from synthetic import steady, write_video

from slowfast_finetune import cli
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, PredictionRow
from slowfast_finetune.indexing.label_table import LabelRow, read_labels
from slowfast_finetune.labelling.activitynet import write_activitynet
from slowfast_finetune.labelling.importing import import_labels
from slowfast_finetune.labelling.label_studio import write_label_studio

ROWS = [
    LabelRow("deep/a b.mp4", "jump", 0.0, 2.52, "train", "g1"),
    LabelRow("deep/a b.mp4", "wave", 4.04, 6.0, "train", "g1"),
    LabelRow("whole.mp4", "jump", None, None, "val", None),
    LabelRow("é.mp4", "wave", 3.2, None, "test", None),
]
DURATIONS = {"deep/a b.mp4": 9.0, "whole.mp4": 5.0, "é.mp4": 8.0}


def read_back(path: Path, text: str) -> list[LabelRow]:
    path.write_text(text, encoding="utf-8")
    return import_labels([path], videos=list(DURATIONS), extensions=[".mp4"])[0]


def test_activitynet_by_hand() -> None:
    text, lost = write_activitynet(ROWS, durations=DURATIONS)
    database = json.loads(text)["database"]
    assert database["whole"] == {
        "subset": "validation",
        "duration": 5.0,
        "annotations": [{"segment": [0.0, 5.0], "label": "jump"}],
    }
    assert database["deep/a b"]["annotations"][1] == {"segment": [4.04, 6.0], "label": "wave"}
    assert lost == ["groups of videos"]


def test_activitynet_read_back(tmp_path: Path) -> None:
    """All but the groups; what ends where the video does has no end."""
    text, _ = write_activitynet(ROWS, durations=DURATIONS)
    assert read_back(tmp_path / "a.json", text) == [
        ROWS[0]._replace(group=None),
        ROWS[1]._replace(group=None),
        *ROWS[2:],
    ]
    text, lost = write_activitynet(ROWS, durations={})
    assert lost[-1] == "the ends of 2 labels, as the videos' durations are not known"
    assert read_back(tmp_path / "a.json", text)[2] == ROWS[2]


def test_activitynet_tells_videos_with_one_name_apart() -> None:
    rows = [LabelRow(name, "x", None, None, None, None) for name in ("a.avi", "a.mp4", "b.mp4")]
    text, _ = write_activitynet(rows, durations={})
    assert list(json.loads(text)["database"]) == ["a.avi", "a.mp4", "b"]


def test_label_studio_by_hand() -> None:
    guesses = {
        ("whole.mp4", None, None): ("wave", 0.75),
        ("deep/a b.mp4", 0.0, 2.52): ("jump", 0.5),
    }
    text, lost = write_label_studio(
        ROWS, folder="videos", fps=25, durations=DURATIONS, predictions=guesses
    )
    tasks = json.loads(text)
    assert [task["data"]["video"] for task in tasks] == [
        "/data/local-files/?d=videos/deep/a%20b.mp4",
        "/data/local-files/?d=videos/whole.mp4",
        "/data/local-files/?d=videos/%C3%A9.mp4",
    ]
    # 4.04 s is where frame 102 of 25 a second begins, from 1; 6 s is where frame 150 ends.
    assert tasks[0]["annotations"][0]["result"][1] == {
        "from_name": "label",
        "to_name": "video",
        "type": "timelinelabels",
        "value": {"ranges": [{"start": 102, "end": 150}], "timelinelabels": ["wave"]},
    }
    assert tasks[0]["predictions"][0]["result"][0]["value"]["ranges"] == [{"start": 1, "end": 63}]
    assert tasks[1]["predictions"][0]["score"] == 0.75
    assert tasks[1]["predictions"][0]["result"][0]["value"] == {"choices": ["wave"]}
    assert "predictions" not in tasks[2]
    assert lost == ["splits", "groups of videos", "times below a frame's"]


def test_label_studio_read_back(tmp_path: Path) -> None:
    """To half a frame; at 100 a second all of these times are frames'."""
    text, _ = write_label_studio(
        ROWS, folder="videos", fps=100, durations=DURATIONS, predictions={}
    )
    bare = [row._replace(split=None, group=None) for row in ROWS]
    assert read_back(tmp_path / "t.json", text) == [*bare[:3], bare[3]._replace(end=8.0)]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run ``slowfast labels …`` in a project with two videos: exit code, and what it says."""
    for name in ("jump/a.mp4", "wave/b.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True)
        write_video(path, steady(30, 15))
    text = (PROJECT / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("videos: demo/videos", "videos: videos", 1)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["slowfast", "labels", *args])
        try:
            cli.main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_import_writes_what_index_reads(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    Path("train.txt").write_text("x/a.avi jump\ngone.mp4 wave\n", encoding="utf-8")
    code, said = run("import", "train.txt")
    assert code == 0
    assert said.splitlines() == [
        "train.txt: a list of paths and classes",
        "1 label of 1 video; 1 train",
        "1 video in another folder or with another extension than listed, e.g. 'x/a.avi' "
        "is 'jump/a.mp4'",
        "WARNING: left out: 1 video not there, e.g. 'gone.mp4'",
        "1 videos of the folder are not named",
        f"wrote {tmp_path / 'videos' / 'labels.csv'}",
    ]
    rows = read_labels(tmp_path / "videos" / "labels.csv").rows
    assert rows == {"jump/a.mp4": [(2, LabelRow("jump/a.mp4", "jump", None, None, "train", None))]}


def test_import_overwrites_nothing(run: Callable[..., tuple[int, str]]) -> None:
    Path("list.txt").write_text("a.mp4 jump\n", encoding="utf-8")
    Path("videos/labels.csv").write_text("mine", encoding="utf-8")
    code, said = run("import", "list.txt")
    assert code == 1
    assert "labels.csv exists; name another file with --out, or overwrite with --force" in said
    assert Path("videos/labels.csv").read_text(encoding="utf-8") == "mine"
    # What is refused leaves the old file, also with --force.
    Path("list.txt").write_text("other.mp4 jump\n", encoding="utf-8")
    code, said = run("import", "list.txt", "--force")
    assert (code, "none of the 1 labels is of a video" in said) == (1, True)
    assert Path("videos/labels.csv").read_text(encoding="utf-8") == "mine"
    Path("list.txt").write_text("a.mp4 jump\n", encoding="utf-8")
    assert run("import", "list.txt", "--force")[0] == 0
    assert run("import", "list.txt", "--videos", "nowhere")[1].startswith("error: ")


@pytest.mark.parametrize("form", ["csv", "activitynet", "label-studio"])
def test_export_reads_the_manifest(
    form: str, run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    manifest = [
        ManifestRow("videos/jump/a.mp4", "jump", 0, "train", "g", "0" * 32),
        ManifestRow("videos/wave/b.mp4", "wave", 1, "test", None, "1" * 32),
    ]
    MANIFEST.write(Path("data/manifest.csv"), manifest)
    code, said = run("export", "--format", form, "--out", "out.file")
    assert code == 0
    assert "wrote out.file: 2 labels of 2 videos" in said
    assert run("export", "--format", form, "--out", "out.file")[0] == 1
    assert run("import", "out.file", "--out", "again.csv")[0] == 0
    first, second = (rows[0][1] for rows in read_labels(Path("again.csv")).rows.values())
    assert (first.video, first.label) == ("jump/a.mp4", "jump")
    assert (second.video, second.label) == ("wave/b.mp4", "wave")
    if form == "activitynet":  # 30 frames of 15 a second
        assert '"duration": 2.0' in Path("out.file").read_text(encoding="utf-8")
    assert first.is_whole
    assert first.split == (None if form == "label-studio" else "train")
    assert first.group == ("g" if form == "csv" else None)


def test_export_of_videos_beside_the_folder(run: Callable[..., tuple[int, str]]) -> None:
    inside = ManifestRow("videos/jump/a.mp4", "jump", 0, "train", None, "0" * 32)
    beside = ManifestRow("new/b.mp4", "wave", 1, "test", None, "1" * 32)
    MANIFEST.write(Path("data/manifest.csv"), [inside, beside])
    assert run("export", "--format", "csv")[0] == 0
    assert [*read_labels(Path("labels.csv")).rows] == ["../new/b.mp4", "jump/a.mp4"]
    assert run("export", "--format", "label-studio")[0] == 0
    tasks = json.loads(Path("tasks.json").read_text(encoding="utf-8"))
    assert tasks[0]["data"]["video"] == "/data/local-files/?d=new/b.mp4"
    MANIFEST.write(Path("data/manifest.csv"), [beside])
    code, said = run("export", "--format", "csv", "--force")
    assert (code, said.count("\n")) == (1, 1)
    assert "no video of the manifest is in " in said


def test_export_of_parts_leaves_the_background_out(run: Callable[..., tuple[int, str]]) -> None:
    # The first rest is in no row of labels.csv, the second was written there by hand.
    parts = [("jump", 0.0, 0.5, 2), ("rest", 0.5, 1.0, None), ("rest", 1.0, 1.5, 3)]
    manifest = [
        ManifestRow("videos/jump/a.mp4", name, 0, "train", None, "0" * 32, start, end, number)
        for name, start, end, number in parts
    ]
    MANIFEST.write(Path("data/manifest.csv"), manifest)
    code, said = run("export", "--format", "csv")
    assert (code, said.splitlines()[-1]) == (0, "left out: 1 parts of data.background")
    rows = [row for _, row in read_labels(Path("labels.csv")).rows["jump/a.mp4"]]
    assert [(row.label, row.start, row.end) for row in rows] == [parts[0][:3], parts[2][:3]]


def test_export_as_csv_keeps_what_the_table_leaves_out(run: Callable[..., tuple[int, str]]) -> None:
    dropped = "video,label,start,end\nwave/b.mp4,,,\njump/a.mp4,,1,2\njump/a.mp4,jump,0,0.5\n"
    Path("videos/labels.csv").write_text(dropped, encoding="utf-8")
    row = ManifestRow("videos/jump/a.mp4", "jump", 0, "train", None, "0" * 32, 0.0, 0.5, 4)
    MANIFEST.write(Path("data/manifest.csv"), [row])
    assert run("export", "--format", "csv")[0] == 0
    rows = read_labels(Path("labels.csv")).rows
    assert [row.label for _, row in rows["wave/b.mp4"]] == [None]
    assert [(row.label, row.end) for _, row in rows["jump/a.mp4"]] == [("jump", 0.5), (None, 2.0)]


def test_export_takes_predictions_along(run: Callable[..., tuple[int, str]]) -> None:
    row = ManifestRow("videos/wave/b.mp4", "wave", 1, "test", None, "1" * 32)
    MANIFEST.write(Path("data/manifest.csv"), [row])
    guessed = PredictionRow(
        video_path=row.video_path,
        group=None,
        actual="wave",
        predicted="jump",
        answer="jump",
        confidence=0.625,
        probability_of_actual=0.375,
        num_views=2,
    )
    PREDICTIONS.write(
        Path("metrics/predictions.csv"),
        [guessed],
        class_names=["jump", "wave"],
        class_values=np.array([[0.625, 0.375]]),
    )
    assert run("export", "--format", "label-studio")[0] == 0
    (task,) = json.loads(Path("tasks.json").read_text(encoding="utf-8"))
    (guess,) = task["predictions"]
    assert guess["score"] == 0.625
    assert guess["result"][0]["value"] == {"choices": ["jump"]}
