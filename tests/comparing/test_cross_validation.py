"""slowfast crossval: every video tested once, and accuracy by the number of training videos."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import COMMAND, run_here
from small_run import write_project
from synthetic import make_params
from tiny_model import write_checkpoint

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow
from slowfast_finetune.comparing.cross_validation import (
    SHARES,
    cross_validated,
    gain_of_doubling,
    learning_curve,
    more_videos_text,
    warning_of_weights,
)
from slowfast_finetune.comparing.crossval_files import read_crossval
from slowfast_finetune.features import logistic
from slowfast_finetune.features.extraction import VideoFeatures, extractor_of
from slowfast_finetune.features.feature_store import FeatureSettings, find_stored
from slowfast_finetune.model.checkpoint import load_checkpoint, save_checkpoint, video_numbers
from slowfast_finetune.scoring.calibration import Calibration

CLASSES = ("clap", "jump", "wave")


def drawn_videos(num_videos: int, *, spread: float) -> tuple[list[ClipRow], VideoFeatures]:
    """Videos of 3 classes, two of each by a person; 30 features, of which three tell the class."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(num_videos):
        label = index % 3
        rows.append(
            ClipRow._make([None] * len(ClipRow._fields))._replace(
                video_path=f"{CLASSES[label]}/{index}.mp4",
                class_name=CLASSES[label],
                label=label,
                group=f"person {index // 6}",
                content_hash=f"{index:032x}",
            )
        )
    values = rng.normal(size=(num_videos, 2, 30)).astype(np.float32)
    for index, row in enumerate(rows):
        values[index, :, row.label] += spread
    settings = FeatureSettings(
        model="slowfast_shallow", weights="", clips="", num_frames=8, crop_size=32,
        precision="32-true", temporal_views=1, spatial_crops=1, mirrored=True,
    )  # fmt: skip
    return rows, VideoFeatures(values, settings, 0)


def test_every_video_is_tested_once_by_a_probe_of_other_groups() -> None:
    rows, features = drawn_videos(60, spread=4)
    found = cross_validated(rows, features, params=make_params())
    folds = found.predictions(CLASSES, num_views=1)
    assert len(folds) == 3
    paths = [path for fold in folds for path in fold.frame["video_path"]]
    assert sorted(paths) == sorted(row.video_path for row in rows)
    groups = [set(fold.frame["group"]) for fold in folds]
    assert not groups[0] & groups[1]
    assert not groups[1] & groups[2]
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert np.mean([(fold.actual == fold.predicted).mean() for fold in folds]) > 0.8


def test_probabilities_are_those_at_the_temperature_of_the_fold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A very high one leaves nothing to choose between the three classes."""
    fit = logistic.fit_probe

    def fitted(*args: Any, **options: Any) -> Any:
        calibration = Calibration(temperature=1e9)
        return dataclasses.replace(fit(*args, **options), calibration=calibration)

    monkeypatch.setattr(logistic, "fit_probe", fitted)
    rows, features = drawn_videos(36, spread=4)
    found = cross_validated(rows, features, params=make_params())
    np.testing.assert_allclose(found.probabilities, 1 / 3, atol=1e-6)


@pytest.mark.parametrize("num_groups", [2, 3])
def test_a_class_needs_three_groups(num_groups: int) -> None:
    """One to test on, and two for the folds by which the penalty is chosen."""
    rows, features = drawn_videos(60, spread=4)
    rows = [
        row._replace(group=f"clapper {index // 3 % num_groups}") if row.label == 0 else row
        for index, row in enumerate(rows)
    ]
    if num_groups == 3:
        assert len(cross_validated(rows, features, params=make_params()).penalties) == 3
        return
    expected = (
        "^class 'clap' lies in 2 groups alone, and leaving folds out takes 3: add videos of "
        "another group, or remove the class$"
    )
    with pytest.raises(DataError, match=expected):
        cross_validated(rows, features, params=make_params())


def test_weights_that_saw_these_videos_are_named(tmp_path: Path) -> None:
    rows, _ = drawn_videos(9, spread=4)
    path = write_checkpoint(tmp_path / "mine.pt")
    params = make_params(model={"weights": str(path)}).model
    said = warning_of_weights(rows, params)
    assert said == f"if {path} was trained on some of these videos, the accuracy is too high"
    checkpoint = load_checkpoint(path)
    for hashes, expected in (
        ([row.content_hash for row in rows[:4]], f"{path} was trained on 4 of these videos: "),
        (["f" * 32], ""),
    ):
        seen = video_numbers(hashes)
        save_checkpoint(path, dataclasses.replace(checkpoint, seen=seen))
        assert warning_of_weights(rows, params).removesuffix("the accuracy is too high") == expected
    published = {"name": "slowfast_r50", "weights": "kinetics400"}
    assert warning_of_weights(rows, make_params(model=published).model) == ""


@pytest.mark.slow
def test_the_curve_rises_where_more_videos_help_and_says_so() -> None:
    rows, features = drawn_videos(120, spread=1.6)
    params = make_params()
    curve, right = learning_curve(
        cross_validated(rows, features, params=params), features, params=params
    )
    assert [row.share for row in curve] == list(SHARES)
    # Two thirds of 120 videos are trained on; of a tenth of 13 or 14 persons with 6 videos, two.
    assert curve[-1].num_videos == 80
    assert 6 <= curve[0].num_videos <= 18
    assert curve[0].accuracy + 0.1 < curve[-1].accuracy
    assert all(row.low <= row.accuracy <= row.high for row in curve)
    said = more_videos_text(curve, right, rows, CLASSES)
    assert "more videos would probably help" in said or "cannot be told" in said


def test_the_gain_of_doubling_by_hand() -> None:
    """Eight persons of one video: with all groups six are right, with half of them two."""
    right = np.zeros((len(SHARES), 8))
    right[SHARES.index(1.0)] = [1, 1, 1, 0] * 2
    right[SHARES.index(0.5)] = [1, 0, 0, 0] * 2
    gain, (low, high) = gain_of_doubling(right, np.arange(8))
    assert gain == 0.5
    assert 0 <= low < 0.5 < high <= 1


@pytest.mark.process
def test_the_command_computes_features_once_and_writes_tables(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "weights.pt", make_params(), class_names=("a", "b"))
    write_project(tmp_path, model={"weights": "weights.pt"})
    result = run_here(tmp_path, COMMAND, "crossval")
    assert result.returncode == 0, result.stderr
    assert "if weights.pt was trained on some of these videos" in result.stdout
    rows = CLIPS.read_rows(tmp_path / "data" / "clips.csv")
    found = read_crossval(tmp_path / "metrics", rows)
    assert found is not None
    assert len(found.predictions.frame) == len(rows) == 24
    accuracy, (_, high) = found.accuracy()
    assert (accuracy, high) == (1, 1), "each class has a colour"
    assert "together" in result.stdout
    assert found.more_videos in result.stdout
    doubt = "if weights.pt was trained on some of these videos, the accuracy is too high"
    assert found.model == "slowfast_shallow, weights.pt"
    assert found.more_videos.splitlines()[1:] == [f"Warning: {doubt}."]
    assert len(found.curve) == len(SHARES)
    checkpoint = load_checkpoint(tmp_path / "weights.pt")
    places = find_stored(rows, tmp_path / "store")[extractor_of(checkpoint)]
    assert len(places) == len(rows), "what slowfast similar needs is there"
