"""The network computed by OpenVINO gives torch's numbers, or one clear line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import COMMAND, run_here
from synthetic import steady, write_video
from tiny_model import tiny_params, write_checkpoint

from slowfast_finetune import load_model
from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.model.checkpoint import load_checkpoint
from slowfast_finetune.predicting.openvino_network import OpenVinoNetwork
from slowfast_finetune.scoring.ready import head_inputs, ready_classifier


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in float32."""
    return write_checkpoint(tmp_path_factory.mktemp("model") / "best.pt")


@pytest.mark.extended
def test_logits_and_features_are_those_of_torch_in_batches_of_any_size(checkpoint: Path) -> None:
    loaded, runtime = load_checkpoint(checkpoint), tiny_params().runtime
    classifier, _ = ready_classifier(
        loaded, runtime.model_copy(update={"device": "cpu", "precision": "fp32"})
    )
    latest = head_inputs(classifier)
    network = OpenVinoNetwork(loaded, batch_size=4)
    clips = torch.randint(0, 256, (4, 8, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        logits, features = classifier(clips).numpy(), latest().numpy()
    for count in (4, 1, 3):
        found = network(clips[:count]).numpy()
        np.testing.assert_allclose(found, logits[:count], rtol=0, atol=1e-4)
        np.testing.assert_allclose(network.features(), features[:count], rtol=0, atol=1e-4)


@pytest.mark.extended
def test_the_command_predicts_with_it(checkpoint: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", steady(20, 15))
    arguments = ("predict", "a.mp4", "--checkpoint", str(checkpoint), "--csv", "--device", "cpu")
    said = [
        run_here(tmp_path, COMMAND, *arguments, "--precision", "fp32", "--engine", engine)
        for engine in ("torch", "openvino")
    ]
    assert said[0].stdout.count("\n") > 1
    assert said[0] == said[1]


def test_openvino_that_is_not_installed_is_asked_for(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ParamsError, match=r"not installed: pip install 'slowfast-finetune\[open"):
        load_model(checkpoint, engine="openvino")


@pytest.mark.extended
@pytest.mark.parametrize(
    ("asked", "message"),
    [({"device": "cuda"}, "on the CPU, not on cuda"), ({"precision": "bf16"}, "fp32, not in bf16")],
)
def test_openvino_computes_on_a_cpu_in_fp32(
    checkpoint: Path, asked: dict[str, str], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        load_model(checkpoint, engine="openvino", **asked)


def test_an_engine_that_there_is_not_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ParamsError, match="'onnx'; there are torch, openvino"):
        load_model(checkpoint, engine="onnx")
