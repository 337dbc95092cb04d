"""Grad-CAM on networks in which a person can say what must light up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from reported_run import answers, write_run
from synthetic import make_params
from torch import Tensor, nn

from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.model.slowfast import ClipClassifier, build_slowfast
from slowfast_finetune.pictures import grad_cam
from slowfast_finetune.pictures.grad_cam import overlay, upsampled
from slowfast_finetune.report import evidence as evidence_module
from slowfast_finetune.report.evidence import gather_evidence
from slowfast_finetune.report.results import read_results


class Brightness(nn.Module):
    """One channel (B, 1, t, h, w): the mean brightness of cells of 2 frames of 4×4 px."""

    def forward(self, clips: Tensor) -> Tensor:
        values = clips.float().mean(dim=4)[:, None] / 255
        return nn.functional.avg_pool3d(values, (2, 4, 4))


class Halves(nn.Module):
    """Class 0 is the sum of the left half of the cells, class 1 of the right half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))  # what gradients pass through
        self.cells = Brightness()
        self.gate = Gate(self.scale)

    def forward(self, clips: Tensor) -> Tensor:
        cells = self.gate(self.cells(clips))
        half = cells.shape[-1] // 2
        left, right = cells[..., :half], cells[..., half:]
        return torch.stack([left.sum(dim=(1, 2, 3, 4)), right.sum(dim=(1, 2, 3, 4))], dim=1)


class Gate(nn.Module):
    def __init__(self, scale: nn.Parameter) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, cells: Tensor) -> Tensor:
        return cells * self.scale


def test_map_is_the_activation_weighted_by_its_mean_gradient() -> None:
    """Half of the cells have gradient 1, so the mean is 1/2 and the map half the brightness."""
    clip = torch.zeros(1, 4, 8, 16, 3, dtype=torch.uint8)
    clip[:, :2, :4, 4:8] = 255  # one cell of 2 × 2 × 4
    expected = torch.zeros(2, 2, 4)
    expected[0, 0, 1] = 0.5
    model = Halves()
    for label in (0, 1):
        found = grad_cam.layer_map(model, model.gate, clip, label)
        torch.testing.assert_close(found, expected)


class TwoPathways(nn.Module):
    """Shaped like SlowFast; its last stage is a convolution that answers where it is bright."""

    def __init__(self) -> None:
        super().__init__()
        last = nn.Module()
        last.multipathway_blocks = nn.ModuleList([nn.Conv3d(3, 1, 1), nn.Conv3d(3, 1, 1)])
        for layer in last.multipathway_blocks:
            nn.init.ones_(layer.weight)
            nn.init.constant_(layer.bias, 0.0)
        self.blocks = nn.ModuleList([*(nn.Identity() for _ in range(grad_cam.LAST_STAGE)), last])

    def forward(self, pathways: list[Tensor]) -> Tensor:
        slow, fast = (
            layer(pathway + 2.1)  # normalised black is -2
            for layer, pathway in zip(self.blocks[4].multipathway_blocks, pathways, strict=True)
        )
        width = slow.shape[-1] // 2
        evidence = slow[..., :width].mean(dim=(1, 2, 3, 4)) + fast[..., width:].mean(
            dim=(1, 2, 3, 4)
        )
        return torch.stack([evidence, -evidence], dim=1)


def test_each_pathway_lights_up_where_it_was_bright() -> None:
    clip = torch.zeros(1, 8, 16, 16, 3, dtype=torch.uint8)
    clip[:, 3:5, :, :8] = 255  # frames 3 and 4; the slow pathway sees 0 and 7 alone
    clip[:, 7, 8:, 8:] = 255
    maps = grad_cam.explain(ClipClassifier(TwoPathways()).eval(), clip, label=0)
    assert maps.slow.shape == maps.fast.shape == (8, 16, 16)
    assert maps.slow.dtype == np.float32
    assert maps.slow[7, 12:, 12:].min() == pytest.approx(1)
    assert maps.slow[7, :8].max() < 0.05
    assert maps.fast[3, :, :8].min() == pytest.approx(1)
    assert maps.fast[3, :, 9:].max() < 0.05
    against = grad_cam.explain(ClipClassifier(TwoPathways()).eval(), clip, label=1)
    assert against.fast.max() == against.slow.max() == 0, "nothing speaks for the other class"


def test_slowfast_gives_maps_of_the_clip_and_takes_no_harm() -> None:
    torch.manual_seed(0)
    network = build_slowfast("slowfast_shallow", num_classes=3)
    classifier = ClipClassifier(network).eval()
    clip = torch.randint(0, 256, (1, 8, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        before = classifier(clip)
    maps = grad_cam.explain(classifier, clip, label=1)
    for pathway in (maps.slow, maps.fast):
        assert pathway.shape == (8, 64, 64)
        assert pathway.min() >= 0
        assert pathway.max() <= 1
    assert not np.array_equal(maps.slow, maps.fast)
    with torch.no_grad():
        assert torch.equal(classifier(clip), before)


def test_stretching_meets_the_ends_in_time_and_the_cells_in_space() -> None:
    cells = torch.tensor([[[0.0, 4.0]], [[2.0, 0.0]]])  # (t 2, h 1, w 2)
    frames = upsampled(cells, (5, 2, 4))
    assert frames.shape == (5, 2, 4)
    assert frames[0, 0].tolist() == pytest.approx([0, 0.25, 0.75, 1])  # bilinear, halves by cells
    assert frames[4, 1].tolist() == pytest.approx([0.5, 0.375, 0.125, 0])
    assert frames[1] == pytest.approx(0.75 * frames[0] + 0.25 * frames[4])
    assert upsampled(torch.zeros(2, 1, 2), (3, 2, 4)).max() == 0


def test_overlay_is_grey_where_cold_and_coloured_where_hot() -> None:
    frames = np.full((1, 2, 2, 3), (200, 100, 0), np.uint8)
    maps = np.array([[[0, 0], [0, 1]]], np.float32)
    cold, hot = overlay(frames, maps)[0, 0, 0], overlay(frames, maps)[0, 1, 1]
    # 0.75 of the grey 100 and 0.25 of the coldest colour; 0.3 of it and 0.7 of the hottest.
    assert cold.tolist() == [77, 77, 85]
    assert hot.tolist() == [206, 187, 107]


def write_checkpoint(path: Path, class_names: list[str]) -> None:
    from slowfast_finetune.model.checkpoint import Checkpoint, Preprocessing, save_checkpoint

    params = make_params(clip={"num_frames": 8}, model={"name": "slowfast_shallow"})
    torch.manual_seed(0)
    save_checkpoint(
        path,
        Checkpoint(
            model_state=build_slowfast(
                "slowfast_shallow", num_classes=len(class_names)
            ).state_dict(),
            class_names=class_names,
            preprocessing=Preprocessing.from_params(params.clip, crop_size=32),
            params=params.model_dump(mode="json"),
            epoch=1,
            val_loss=1.0,
            provenance={},
            temperature=1.0,
            threshold=0.0,
        ),
    )


def test_evidence_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [*answers("a", {"a": 3, "b": 2}), *answers("b", {"b": 2})]
    run = write_run(tmp_path, tests, class_names=["a", "b"], noise=True)
    write_checkpoint(run.files.checkpoint, ["a", "b"])
    monkeypatch.setattr(evidence_module, "MAX_CLIPS", 3)
    found = gather_evidence(
        read_results(run.files),
        checkpoint_path=run.files.checkpoint,
        runtime=run.params.runtime,
        store=run.store,
    )
    shown = [video.row.actual + video.row.predicted for video, _, _ in found.items]
    assert shown == ["ab", "aa", "bb"]
    for _, slow, fast in found.items:
        assert slow.startswith("data:image/jpeg;base64,")
        assert fast.startswith("data:image/jpeg;base64,")
    assert found.note == ""


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, answers("a", {"a": 2}), class_names=["a", "b"])
    write_checkpoint(run.files.checkpoint, ["b", "c"])
    with pytest.raises(CheckpointError, match=r"best\.pt: has no class a"):
        gather_evidence(
            read_results(run.files),
            checkpoint_path=run.files.checkpoint,
            runtime=run.params.runtime,
            store=run.store,
        )


def test_without_captum_the_section_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path, answers("a", {"a": 2}), class_names=["a", "b"])
    monkeypatch.setattr(grad_cam, "is_installed", lambda: False)
    found = gather_evidence(
        read_results(run.files),
        checkpoint_path=run.files.checkpoint,
        runtime=run.params.runtime,
        store=run.store,
    )
    assert found.items == ()
    assert found.note == "Grad-CAM needs captum: pip install 'slowfast-finetune[explain]'"
