"""``train.method: probe``: an ordinary checkpoint whose last layer was fitted to features."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline_imports import PROJECT
from small_run import best, refused, run_python, train, with_export, write_project
from synthetic import make_params
from tiny_model import write_checkpoint

from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.base.params import Params, TrainParams, load_params
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.clips.windows import ViewPlan
from slowfast_finetune.evaluation.evaluate import view_videos
from slowfast_finetune.features.feature_store import FeatureStore, feature_stores
from slowfast_finetune.features.logistic import PENALTIES
from slowfast_finetune.model.checkpoint import load_checkpoint
from slowfast_finetune.scoring.novelty import ClassDistances, directions_of
from slowfast_finetune.scoring.views import view_stored
from slowfast_finetune.training.history import HISTORY
from slowfast_finetune.training.probe import UNUSED

PROBE = {"method": "probe", "probe_views": 2}


def write_probe(folder: Path, **sections: dict[str, Any]) -> Params:
    write_checkpoint(folder / "weights.pt", make_params(), class_names=("a", "b"))
    return write_project(folder, model={"weights": "weights.pt"}, train=PROBE, **sections)


@pytest.mark.process
def test_a_probe_is_fitted_and_fitted_again_from_stored_features(tmp_path: Path) -> None:
    write_probe(tmp_path)
    said = train(tmp_path, with_export)
    # 15 + 6 videos, two starts and their mirror images; slowfast_shallow has 1152 features.
    assert "21 videos × 4 views × 1152 numbers; 0 videos from the store, 21 computed" in said
    assert "without effect are" in said
    assert "max_zoom" in said
    assert "sanity check" in said
    first, rows = best(tmp_path), HISTORY.read_rows(tmp_path / "metrics" / "history.csv")
    summary = json.loads((tmp_path / "metrics" / "train.json").read_text())
    chosen = min(rows, key=lambda row: row.val_loss)
    assert [row.penalty for row in rows] == [*PENALTIES[: len(rows)]]
    assert (summary["best_epoch"], first["epoch"]) == (chosen.epoch, chosen.epoch)
    assert summary["best_val_loss"] == round(chosen.val_loss, 4)
    assert chosen.val_accuracy == 1, "each class has a colour"
    (run,) = summary["run"]
    assert (run["method"], run["penalty"], run["fitted_videos"]) == ("probe", chosen.penalty, 21)
    assert run["parameters_trained"] == 3 * 1152 + 3

    weights = torch.load(tmp_path / "weights.pt", weights_only=True)["model_state"]
    for name, value in first["model_state"].items():
        if not name.startswith("blocks.6.proj."):
            assert torch.equal(value, weights[name]), name
    again = train(tmp_path, with_export)
    assert "21 videos from the store, 0 computed" in again
    for name, value in best(tmp_path)["model_state"].items():
        assert torch.equal(value, first["model_state"][name]), name

    # A file of features that are not this network's, whole and with a right checksum.
    store = largest_store(tmp_path)
    for key in store.keys():  # noqa: SIM118 - no mapping
        store.write(key, store.read(key) + np.float32(0.5))
    assert "the network's logits differ by" in refused(tmp_path)


@pytest.mark.process
def test_strangeness_is_fitted_to_training_videos_and_to_what_evaluate_shows_of_the_others(
    tmp_path: Path,
) -> None:
    params = write_probe(tmp_path, evaluate={"temporal_views": 3})
    train(tmp_path)
    checkpoint = load_checkpoint(tmp_path / "models" / "best.pt")
    distances = ClassDistances.of(checkpoint)
    assert distances is not None
    rows = CLIPS.read_rows(tmp_path / "data" / "clips.csv")
    view = partial(
        view_stored,
        checkpoint=checkpoint,
        clips=ClipStore(tmp_path / "store", params.clip).folder,
        runtime=params.runtime,
    )
    # Of 6 videos 95 % are all: the strangest lies at the limit.
    shown = view([row for row in rows if row.split == "val"], views=ViewPlan(3, 1))
    assert shown.novelty(distances).max() == pytest.approx(1, abs=5e-3)
    # Of two starts the second is the middle one.
    trained = [row for row in rows if row.split == "train"]
    later = directions_of(view(trained, views=ViewPlan(2)).features[1::2])
    labels = np.array([row.label for row in trained])
    means = [later[labels == label].mean(axis=0) for label in range(3)]
    np.testing.assert_allclose(distances.means, means, atol=2e-3)


def largest_store(folder: Path) -> FeatureStore:
    """That of the probe's views; another holds what evaluate shows of the validation videos."""
    return max(
        (store for store, _ in feature_stores(folder / "store")), key=lambda s: len(s.keys())
    )


@pytest.mark.extended
def test_two_processes_share_the_videos_and_one_fits(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder, runtime in ((alone, {}), (together, {"devices": 2})):
        folder.mkdir()
        write_probe(folder, runtime=runtime)
    train(alone)
    said = run_python(together, str(PROJECT / "stages" / "train.py"))
    assert "2 × CPU" in said
    assert said.count("0 videos from the store, 21 computed") == 1, "one process speaks"
    for name, value in best(together)["model_state"].items():
        torch.testing.assert_close(value, best(alone)["model_state"][name], rtol=1e-3, atol=1e-5)
    assert len(largest_store(together).keys()) == 21


@pytest.mark.process
def test_evaluate_and_predict_give_what_the_network_of_a_probe_gives(tmp_path: Path) -> None:
    params = write_probe(tmp_path)
    train(tmp_path)
    checkpoint = load_checkpoint(tmp_path / "models" / "best.pt")
    rows = CLIPS.read_rows(tmp_path / "data" / "clips.csv")
    store = ClipStore(tmp_path / "store", params.clip)
    found = view_videos(rows, checkpoint=checkpoint, params=params, store=store)
    expected = view_stored(
        rows,
        checkpoint=checkpoint,
        clips=store.folder,
        runtime=params.runtime,
        views=ViewPlan(params.evaluate.temporal_views),
    )
    assert list(found.windows) == list(expected.windows)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    probabilities = found.probabilities(temperature=checkpoint.temperature)
    assert probabilities.argmax(axis=1).tolist() == [row.label for row in rows]


@pytest.mark.process
def test_a_class_in_one_group_stops_it_with_one_line(tmp_path: Path) -> None:
    write_probe(tmp_path)
    path = tmp_path / "data" / "clips.csv"
    rows = CLIPS.read_rows(path)
    CLIPS.write(path, [row._replace(group="ann" if row.label == 1 else row.group) for row in rows])
    assert refused(tmp_path).count("\n") == 1
    assert "class 'jump' lies in one group alone" in (tmp_path / "errors.txt").read_text()


def test_random_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="features of random weights"):
        make_params(train=PROBE)
    text = (Path(__file__).parents[2] / "presets" / "probe.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("weights: kinetics400", "weights: none"))
    with pytest.raises(ParamsError, match=r"train\.method: probe would fit"):
        load_params(path)


def test_every_parameter_without_effect_is_named() -> None:
    assert set(TrainParams.model_fields) - set(UNUSED["train"]) == {
        "method", "probe_views", "seed", "class_balance", "crop_size",
    }  # fmt: skip
    assert "horizontal_flip" not in UNUSED["augment"]
    assert "random_crop" in UNUSED["augment"]
    assert UNUSED["model"] == ["dropout_rate"]
