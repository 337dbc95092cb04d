"""What evaluate averages, by a stand-in model whose answer tells which window it saw."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import make_manifest, make_params, read_entry
from tiny_model import StandIn
from torch import Tensor, nn

from slowfast_finetune.base.errors import CheckpointError, DataError
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation.evaluate import (
    evaluate_checkpoint,
    view_videos,
)
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, Predictions
from slowfast_finetune.model.checkpoint import Checkpoint, Preprocessing, save_checkpoint
from slowfast_finetune.scoring import views


def checkpoint_for(params: Params, class_names: list[str]) -> Checkpoint:
    return Checkpoint(
        model_state={},
        class_names=class_names,
        preprocessing=Preprocessing.from_params(params.clip, crop_size=params.train.crop_size),
        params={"model": {"name": "slowfast_shallow"}},
        epoch=1,
        val_loss=1.0,
        provenance={},
    )


class Witness(StandIn):
    """Answers with logits that depend on the first frame's brightness; remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def answer(self, clips: Tensor) -> Tensor:
        self.seen += list(clips.clone())
        brightness = clips[:, 0].float().mean(dim=(1, 2, 3)) / 255
        return torch.stack([brightness * 4, torch.zeros_like(brightness)], dim=1)


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Witness:
    model = Witness()
    monkeypatch.setattr(views, "classifier_from", lambda _: model)
    return model


@pytest.fixture
def stored(tmp_path: Path) -> tuple[list[ClipRow], ClipStore, Params]:
    """Two test videos of 40 frames that grow brighter, 96×64, kept as 48×32; a train row each."""
    params = make_params(clip={"short_side": 32}, train={"crop_size": 32, "batch_size": 3})
    names = ["dark/0.mp4", "light/1.mp4"]
    for name in names:
        write_brightening(tmp_path / name)
    manifest = [
        row._replace(split="test", label=label, class_name=class_name)
        for label, (row, class_name) in enumerate(
            zip(make_manifest(tmp_path, names), ("dark", "light"), strict=True)
        )
    ]
    store = ClipStore(tmp_path / "store", params.clip)
    rows, rejected = cache_videos(
        manifest,
        params=params,
        store=store,
        project=tmp_path,
    )
    assert rejected == []
    return rows, store, params


def write_brightening(path: Path) -> None:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15, options={"qp": "0", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv444p"
        for number in range(40):
            ramp = np.tile(np.linspace(0, 50, 96, dtype=np.uint8), (64, 1))
            image = np.repeat((ramp + 5 * number)[..., None], 3, axis=2)
            if path.parent.name == "light":
                image = image[:, ::-1]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def with_views(params: Params, temporal_views: int, spatial_crops: int) -> Params:
    changes = {"temporal_views": temporal_views, "spatial_crops": spatial_crops}
    return params.model_copy(update={"evaluate": params.evaluate.model_copy(update=changes)})


@pytest.mark.parametrize(("views", "crops"), [(1, 1), (3, 1), (1, 3), (4, 3)])
def test_every_view_is_shown_once_and_their_probabilities_are_averaged(
    views: int, crops: int, witness: Witness, stored: tuple[list[ClipRow], ClipStore, Params]
) -> None:
    rows, store, params = stored
    params = with_views(params, views, crops)
    checkpoint = checkpoint_for(params, ["dark", "light"])
    seen = view_videos(rows, checkpoint=checkpoint, params=params, store=store)
    probabilities = seen.probabilities(temperature=1.0)

    # 40 frames, windows of 8; 48×32 px, squares of 32: worked out by hand.
    starts = {1: [16], 3: [0, 16, 32], 4: [0, 10, 21, 32]}[views]
    lefts = {1: [8], 3: [0, 8, 16]}[crops]
    for row, answer in zip(rows, probabilities, strict=True):
        frames = read_entry(store, row.content_hash)
        expected = np.zeros(2)
        for start in starts:
            for left in lefts:
                window = frames[start : start + 8, :, left : left + 32]
                assert any(np.array_equal(window, seen.numpy()) for seen in witness.seen)
                logits = torch.tensor([window[0].mean() / 255 * 4, 0.0])
                expected += logits.softmax(0).numpy() / (len(starts) * len(lefts))
        np.testing.assert_allclose(answer, expected, atol=2e-3)
    assert len(witness.seen) == len(rows) * views * crops


def run(
    rows: list[ClipRow],
    store: ClipStore,
    params: Params,
    folder: Path,
    names: Sequence[str] = ("dark", "light"),
    *,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    save_checkpoint(folder / "best.pt", checkpoint or checkpoint_for(params, list(names)))
    evaluate_checkpoint(
        rows,
        checkpoint_path=folder / "best.pt",
        params=params,
        store=store,
        project=folder,
        results=folder,
    )
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def test_metrics_of_two_videos_by_hand(
    witness: Witness, stored: tuple[list[ClipRow], ClipStore, Params], tmp_path: Path
) -> None:
    rows, store, params = stored
    train = [rows[1]._replace(split="train")] * 2
    metrics = run([*rows, *train], store, params, tmp_path, ["dark", "light"])
    # Brightness is above 0, so both are taken for class 0: one right, one wrong.
    assert metrics["top1_accuracy"] == 0.5
    assert metrics["macro_recall"] == 0.5
    assert metrics["macro_precision"] == 0.25
    assert metrics["majority_baseline"] == 0.5
    rows_written = PREDICTIONS.read_rows(tmp_path / "predictions.csv")
    assert [(row.actual, row.predicted) for row in rows_written] == [
        ("dark", "dark"),
        ("light", "dark"),
    ]
    loss = -np.log([row.probability_of_actual for row in rows_written]).mean()
    assert metrics["loss"] == pytest.approx(loss, abs=1e-3)


def test_other_views_than_predict_shows_are_named(
    witness: Witness,
    stored: tuple[list[ClipRow], ClipStore, Params],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows, store, params = stored
    train = [row._replace(split="train") for row in rows]
    own, other = params.evaluate.model_dump(), with_views(params, 4, 3)
    trained = checkpoint_for(params, ["dark", "light"])
    trained = replace(trained, params={**trained.params, "evaluate": own})
    run([*rows, *train], store, params, tmp_path, checkpoint=trained)
    assert "note: " not in capsys.readouterr().out
    run([*rows, *train], store, other, tmp_path, checkpoint=trained)
    assert (
        "note: this measures with evaluate.temporal_views: 4, evaluate.spatial_crops: 3; predict "
        "and serve, and the limit of novelty, go by what params.yaml had in training, "
        f"evaluate.temporal_views: {own['temporal_views']}, "
        f"evaluate.spatial_crops: {own['spatial_crops']}; train again to change that"
    ) in capsys.readouterr().out


def test_probabilities_can_be_recomputed_from_the_views(
    witness: Witness, stored: tuple[list[ClipRow], ClipStore, Params], tmp_path: Path
) -> None:
    rows, store, params = stored
    train = [rows[1]._replace(split="train")] * 2
    params = with_views(params, 3, 3)
    checkpoint = dataclasses.replace(
        checkpoint_for(params, ["dark", "light"]), temperature=2.0, threshold=0.9
    )
    run([*rows, *train], store, params, tmp_path, checkpoint=checkpoint)
    views = pd.read_csv(tmp_path / "views.csv")
    assert list(views.columns) == [
        "video_path", "start", "top", "left", "start_seconds", "end_seconds",
        "logit(dark)", "logit(light)",
    ]  # fmt: skip
    frame = PREDICTIONS.read(tmp_path / "predictions.csv")
    probabilities = Predictions.of(frame, source="predictions.csv").probabilities
    for row, values in zip(PREDICTIONS.rows(frame), probabilities, strict=True):
        own = views[views["video_path"] == row.video_path]
        assert len(own) == row.num_views == 9
        # Of two classes the softmax is a sigmoid of the difference.
        difference = (own["logit(dark)"] - own["logit(light)"]) / 2.0
        expected = (1 / (1 + np.exp(-difference))).mean()
        assert values.tolist() == pytest.approx([expected, 1 - expected], abs=1e-6)
        assert row.confidence == pytest.approx(max(values), abs=1e-4)
        assert row.answer == (row.predicted if row.confidence >= 0.9 else "none of these")
    assert set(frame["answer"]) == {"none of these"}


def test_checkpoint_of_other_classes_is_refused(
    witness: Witness, stored: tuple[list[ClipRow], ClipStore, Params], tmp_path: Path
) -> None:
    rows, store, params = stored
    with pytest.raises(
        CheckpointError, match=r"was trained with dark, bright; .* 'light' as label 1"
    ):
        run(rows, store, params, tmp_path, ["dark", "bright"])


def test_no_test_video_is_refused(
    witness: Witness, stored: tuple[list[ClipRow], ClipStore, Params], tmp_path: Path
) -> None:
    rows, store, params = stored
    rows = [row._replace(split="train") for row in rows]
    with pytest.raises(DataError, match="no usable video in test"):
        run(rows, store, params, tmp_path, ["dark", "light"])


@pytest.mark.slow
def test_smallest_allowed_clip_trains_in_bf16() -> None:
    """The limits in params.py are ones the network can work with."""
    from slowfast_finetune.model.slowfast import ClipClassifier, build_slowfast

    torch.manual_seed(0)
    model = ClipClassifier(build_slowfast("slowfast_shallow", num_classes=2))
    clips = torch.randint(0, 256, (2, 4, 32, 32, 3), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = nn.functional.cross_entropy(model(clips), torch.tensor([0, 1]))
    loss.backward()
    assert torch.isfinite(loss)
