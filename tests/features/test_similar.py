"""slowfast similar: the nearest videos of the set, by stored features."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from small_run import write_project
from synthetic import make_params, steady, write_video
from tiny_model import write_checkpoint

from slowfast_finetune import cli, load_model
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.clips.windows import ViewPlan
from slowfast_finetune.features.extraction import Backbone, extractor_of, features_of
from slowfast_finetune.features.feature_store import feature_stores, find_stored, read_means
from slowfast_finetune.features.likeness import nearest
from slowfast_finetune.model.checkpoint import load_checkpoint

PARAMS = make_params()


def bluish(index: int) -> npt.NDArray[np.uint8]:
    frame = np.random.default_rng(index).integers(0, 150, (48, 64, 3), np.uint8)
    frame[..., 2] += 60
    return frame


def test_nearest_by_hand() -> None:
    features = np.array([[0, 2], [3, 0], [1, 1], [0, 0], [5, 0]], np.float32)
    positions, cosines = nearest(np.array([[7, 0], [0, 1]], np.float32), features, k=4)
    assert positions.tolist() == [[1, 4, 2, 0], [0, 2, 1, 3]]
    assert cosines[0] == pytest.approx([1, 1, 0.5**0.5, 0])


def test_none_is_its_own_neighbour() -> None:
    features = np.array([[0, 2], [3, 0], [1, 1]], np.float32)
    positions, _ = nearest(features, features, k=9, but_itself=True)
    assert positions.tolist() == [[2, 1], [2, 0], [0, 1]]


@pytest.mark.process
def test_the_command_lists_the_nearest_or_says_what_makes_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_project(tmp_path)
    path = write_checkpoint(tmp_path / "best.pt", PARAMS)
    write_video(tmp_path / "given.mp4", steady(30, 15), picture=bluish)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIP_STORE", str(tmp_path / "store"))
    words = ["slowfast", "similar", "given.mp4", "-k", "3", "--checkpoint", "best.pt"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no features by best.pt of videos of data/clips.csv" in line
    assert "`slowfast crossval --results FOLDER` with model.weights: best.pt" in line

    rows = CLIPS.read_rows(tmp_path / "data" / "clips.csv")
    checkpoint = load_checkpoint(path)
    clips = ClipStore(tmp_path / "store", PARAMS.clip).folder
    found = features_of(
        rows[1:],
        Backbone.of(checkpoint),
        views=ViewPlan(3, mirrored=True),
        clips=clips,
        runtime=PARAMS.runtime,
    )
    places = find_stored(rows, tmp_path / "store")[extractor_of(checkpoint)]
    assert sorted(places) == [*range(1, len(rows))]
    means = read_means(rows, places)
    np.testing.assert_allclose(means, found.values[:, :3].mean(axis=1), rtol=1e-6)

    capsys.readouterr()
    cli.main()
    note, *lines = capsys.readouterr().out.splitlines()
    assert note.startswith("23 of 24 videos have stored features")
    # The views of the stored features, not the one that evaluate is told to show.
    given = load_model(path).features("given.mp4", views=(3, 1)).values.mean(axis=0)
    cosines = means @ given / np.linalg.norm(means, axis=1) / np.linalg.norm(given)
    first, second, third = np.argsort(-cosines)[:3].tolist()
    assert lines == [
        f"{cosines[position]:.3f}  {rows[1 + position].class_name}  {rows[1 + position].split}  "
        f"{rows[1 + position].video_path}"
        for position in (first, second, third)
    ]
    assert lines[0].split()[1] == "wave", "its clips are as blue as the video"

    ((store, _),) = feature_stores(tmp_path / "store")
    store.path(rows[1].content_hash).write_bytes(b"torn")
    with pytest.raises(SystemExit):
        cli.main()
    assert "the features cannot be read" in capsys.readouterr().err


def test_a_number_below_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["slowfast", "similar", "a.mp4", "-k", "0"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "-k: found 0, expected a whole number from 1" in capsys.readouterr().err
