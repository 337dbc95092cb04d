"""The feature store: what is computed, kept, checked and found again."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.preprocessing import StandardScaler
from small_run import TrainingProcess, write_project
from synthetic import make_params

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.clips.clip_reader import ClipReader
from slowfast_finetune.clips.clip_store import ClipStore, EntryError
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow
from slowfast_finetune.clips.windows import ViewPlan, plan_views
from slowfast_finetune.features import feature_store
from slowfast_finetune.features.extraction import (
    Backbone,
    VideoFeatures,
    features_of,
    weights_digest,
)
from slowfast_finetune.features.feature_store import FeatureSettings, FeatureStore, feature_stores
from slowfast_finetune.features.logistic import fit_path
from slowfast_finetune.model.checkpoint import Preprocessing
from slowfast_finetune.model.slowfast import ClipClassifier, build_slowfast, head_of
from slowfast_finetune.model.weights import build_pretrained
from slowfast_finetune.training.probe import put_head

PARAMS = make_params()
SHAPE = Preprocessing.from_params(PARAMS.clip, crop_size=PARAMS.train.crop_size)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    made = build_slowfast("slowfast_shallow", num_classes=3)
    for name, value in made.named_parameters():
        if name.endswith("norm_c.weight"):
            torch.nn.init.normal_(value, 1.0, 0.5)
    return made.eval()


@pytest.fixture
def project(tmp_path: Path) -> tuple[list[ClipRow], Path]:
    write_project(tmp_path)
    rows = CLIPS.read_rows(tmp_path / "data" / "clips.csv")[:4]
    return rows, ClipStore(tmp_path / "store", PARAMS.clip).folder


def compute(
    rows: list[ClipRow], clips: Path, network: torch.nn.Module, **changes: Any
) -> VideoFeatures:
    name = changes.pop("model_name", "slowfast_shallow")
    arguments = {
        "backbone": Backbone(network, name, changes.pop("shape", SHAPE)),
        "views": ViewPlan(2, mirrored=True),
        "clips": clips,
        "runtime": PARAMS.runtime,
    }
    return features_of(rows, **(arguments | changes))


def test_features_are_what_the_last_layer_of_the_network_is_given(
    project: tuple[list[ClipRow], Path], network: torch.nn.Module
) -> None:
    rows, clips = project
    found = compute(rows, clips, network)
    windows = plan_views(rows, SHAPE, ViewPlan(2))
    batch = ClipReader(rows, folder=clips, shape=SHAPE).gather(windows).clips
    given: list[torch.Tensor] = []
    hook = head_of(network).register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))
    with torch.inference_mode():
        logits = ClipClassifier(network)(torch.cat([batch, batch.flip(3)]))
    hook.remove()
    # Of each video: two views, then the same with left and right exchanged.
    plain, mirrored = given[0].reshape(2, 4, 2, -1).numpy()
    expected = np.concatenate([plain, mirrored], axis=1)
    assert found.values.shape == (4, 4, head_of(network).in_features)
    np.testing.assert_allclose(found.values, expected, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(found.unmirrored, found.values[:, :2])
    again = head_of(network)(torch.from_numpy(plain)).detach()
    torch.testing.assert_close(again.flatten(0, 1), logits[:8].clone())


@pytest.mark.slow
def test_r50_from_a_file_of_the_published_form(
    project: tuple[list[ClipRow], Path], tmp_path: Path
) -> None:
    """Features are those of the plain network, and the head sees them as they are."""
    rows, clips = project
    torch.manual_seed(0)
    published = build_slowfast("slowfast_r50", num_classes=400).eval()
    for name, value in published.named_parameters():
        if name.endswith("norm_c.weight"):  # zero at first: what is before them would not matter
            torch.nn.init.normal_(value, 0.5, 0.2)
    path = tmp_path / "SLOWFAST_8x8_R50.pyth"
    torch.save({"model_state": published.state_dict()}, path)
    params = make_params(model={"name": "slowfast_r50", "weights": str(path)})
    network, _ = build_pretrained(params.model, class_names=["clap", "jump"])
    found = compute(
        rows, clips, network, model_name="slowfast_r50", views=ViewPlan(1), shape=SHAPE
    ).values[:, 0]

    windows = plan_views(rows, SHAPE)
    batch = ClipReader(rows, folder=clips, shape=SHAPE).gather(windows).clips
    pooled: list[torch.Tensor] = []
    head_of(published).register_forward_hook(lambda _, inputs, __: pooled.append(inputs[0]))
    with torch.inference_mode():
        ClipClassifier(published)(batch)
    expected = pooled[0].flatten(1).numpy()
    assert found.shape == (4, 2304)
    assert np.ptp(expected, axis=0).max() > 0.1, "videos differ"
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)

    labels = np.array([0, 0, 1, 1])
    (head,) = fit_path(found[:, None], labels, penalties=[1.0], balanced=False)
    put_head(network, head)
    scaler = StandardScaler().fit(found.astype(np.float64))
    with torch.inference_mode():
        logits = ClipClassifier(network.eval())(batch).numpy()
    scaled = head.weight * scaler.scale_  # the weights of standardised features
    offset = head.bias + head.weight @ scaler.mean_
    unfolded = scaler.transform(found.astype(np.float64)) @ scaled.T + offset
    np.testing.assert_allclose(logits, unfolded, atol=1e-4)
    gradient = np.exp(log_softmax(unfolded, axis=1)) - np.eye(2)[labels]
    assert np.abs(gradient.sum(axis=0)).max() < 1e-3, "the bias has no penalty"


def test_what_is_stored_is_not_computed_again(
    project: tuple[list[ClipRow], Path], network: torch.nn.Module
) -> None:
    rows, clips = project
    first = compute(rows[:3], clips, network)
    assert first.num_computed == 3
    # One video more, one that is a copy of another, and other weights in the last layer.
    more = [*rows, rows[0]._replace(video_path="copy.mp4", label=1)]
    torch.nn.init.normal_(head_of(network).weight)
    second = compute(more, clips, network)
    assert second.num_computed == 1
    np.testing.assert_array_equal(second.values[:3], first.values)
    np.testing.assert_array_equal(second.values[4], first.values[0])
    assert compute(more, clips, network).num_computed == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"views": ViewPlan(2)},
        {"views": ViewPlan(1, mirrored=True)},
        {"views": ViewPlan(2, 3, mirrored=True)},
        {"shape": replace(SHAPE, crop_size=40)},
        {"runtime": PARAMS.runtime.model_copy(update={"precision": "bf16"})},
    ],
)
def test_other_settings_are_computed_anew(
    changes: dict[str, Any], project: tuple[list[ClipRow], Path], network: torch.nn.Module
) -> None:
    rows, clips = project
    compute(rows[:1], clips, network)
    assert compute(rows[:1], clips, network, **changes).num_computed == 1
    assert len(list(feature_stores(clips.parent))) == 2


def test_features_by_another_forward_pass_are_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FeatureSettings(
        model="slowfast_r50", weights="", clips="", num_frames=8, crop_size=32,
        precision="32-true", temporal_views=1, spatial_crops=1, mirrored=True,
    )  # fmt: skip
    before = settings.digest
    monkeypatch.setattr(feature_store, "FORWARD_VERSION", feature_store.FORWARD_VERSION + 1)
    assert settings.digest != before


def test_one_changed_number_of_the_weights_is_another_digest(network: torch.nn.Module) -> None:
    before = weights_digest(network)
    torch.nn.init.normal_(head_of(network).bias)
    assert weights_digest(network) == before
    norm = network.get_submodule("blocks.0.multipathway_blocks.0.norm")
    norm.running_mean[0] += 1e-6
    assert weights_digest(network) != before
    norm.running_mean[0] -= 1e-6


def damage_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        damage_byte,
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.with_stem("0" * 31 + "1").read_bytes()),
    ],
    ids=["one byte", "cut short", "empty", "of another video"],
)
def test_a_damaged_file_is_named_and_computed_again(
    damage: Any,
    project: tuple[list[ClipRow], Path],
    network: torch.nn.Module,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows, clips = project
    before = compute(rows, clips, network)
    ((store, settings),) = feature_stores(clips.parent)
    assert settings == before.settings
    path = store.path(rows[0].content_hash)
    damage(path)
    with pytest.raises(EntryError, match=str(path)):
        store.read(rows[0].content_hash)
    again = compute(rows, clips, network)
    assert again.num_computed == 1
    np.testing.assert_array_equal(again.values, before.values)
    assert f"{path}: the features" in capsys.readouterr().out


def test_a_missing_clip_is_named(
    project: tuple[list[ClipRow], Path], network: torch.nn.Module
) -> None:
    rows, clips = project
    (clips / f"{rows[1].content_hash}.safetensors").unlink()
    with pytest.raises(DataError, match=r"clap/1\.mp4"):
        compute(rows, clips, network)


def compute_two_at_once(folder: Path, *, dies: bool) -> None:
    """Compute the features of four videos, to the end or until two of them are stored."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stores: Any = FeatureStore
    write = stores.write

    def write_and_die(store: FeatureStore, key: str, values: Any) -> None:
        write(store, key, values)
        if len(store.keys()) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    if dies:
        stores.write = write_and_die
    runtime = PARAMS.runtime.model_copy(update={"batch_size_per_device": 2})
    rows = CLIPS.read_rows(folder / "data" / "clips.csv")[:4]
    network = build_slowfast("slowfast_shallow", num_classes=3)
    found = compute(rows, folder / "store" / rows[0].settings, network, runtime=runtime)
    (folder / "computed.txt").write_text(str(found.num_computed))


def exit_code_of_computing(folder: Path, *, dies: bool) -> int | None:
    process = TrainingProcess(target=compute_two_at_once, args=(folder,), kwargs={"dies": dies})
    process.start()
    process.join(60)
    return process.exitcode


@pytest.mark.process
@pytest.mark.usefixtures("project")
def test_kill_9_loses_only_the_videos_in_flight(tmp_path: Path) -> None:
    assert exit_code_of_computing(tmp_path, dies=True) == -signal.SIGKILL
    assert not (tmp_path / "computed.txt").exists()
    assert exit_code_of_computing(tmp_path, dies=False) == 0
    assert (tmp_path / "computed.txt").read_text() == "2"
