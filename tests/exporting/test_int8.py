"""Networks of 8 bits answer as their checkpoint does; bad files are refused in one line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import write_project
from synthetic import make_params, steady, write_video
from tiny_model import write_checkpoint

from slowfast_finetune.base.errors import CheckpointError, ExportError, ParamsError
from slowfast_finetune.cli import main
from slowfast_finetune.exporting import int8_file, model_export
from slowfast_finetune.exporting.model_export import Format
from slowfast_finetune.exporting.parity import Runner, stored_clips
from slowfast_finetune.model.checkpoint import classifier_from, load_checkpoint
from slowfast_finetune.predicting.int8_network import Int8Network
from slowfast_finetune.predicting.predictor import load_model
from slowfast_finetune.scoring.ready import with_features

PARAMS = make_params(evaluate={"temporal_views": 1, "spatial_crops": 1})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with clips and best.pt, and best.int8 made from it."""
    root = tmp_path_factory.mktemp("int8")
    write_project(root, evaluate={"temporal_views": 1, "spatial_crops": 1})
    write_checkpoint(root / "best.pt", PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP_STORE", str(root / "store"))
        told = model_export.export(root / "best.pt", file_format="int8", project=root)
    (root / "told.txt").write_text(told)
    return root


def run(*words: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["slowfast", *map(str, words)])
        main()


@pytest.mark.extended
def test_logits_and_features_are_those_of_the_checkpoint_nearly(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_STORE", str(project / "store"))
    checkpoint = load_checkpoint(project / "best.pt")
    clips = stored_clips(checkpoint, project=project, split="train", at_most=50)
    exact = classifier_from(checkpoint).eval()
    network = Int8Network.beside(project / "best.pt")

    with torch.inference_mode():
        wanted, exact_features = (v.numpy() for v in with_features(exact, torch.from_numpy(clips)))
    found, features = (values.numpy() for values in network(torch.from_numpy(clips)))

    assert len(clips) == 15
    assert 0 < np.median(np.abs(wanted - found)) < 0.2 * wanted.std(axis=0).mean()
    one, other = exact_features, features
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosines.min() > 0.99
    assert sys.modules["openvino_telemetry"] is None, "OpenVINO would report to its makers"
    # A clip is computed alike alone and among others.
    np.testing.assert_allclose(
        network(torch.from_numpy(clips[1:2]))[0].numpy(), found[1:2], rtol=1e-4, atol=1e-4
    )


@pytest.mark.extended
def test_predicting_uses_the_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(project / "a.mp4", steady(20, fps=10))
    asked: list[tuple[int, ...]] = []
    compute = Int8Network.__call__

    def seen(network: Int8Network, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(tuple(clips.shape))
        return compute(network, clips)

    monkeypatch.setattr(Int8Network, "__call__", seen)
    run("predict", "--precision", "int8", "--checkpoint", project / "best.pt", video)
    assert asked
    assert str(video) in capsys.readouterr().out
    assert "differs on 0 of 6" in (project / "told.txt").read_text()


@pytest.mark.extended
def test_files_that_do_not_fit_are_refused(project: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.pt", PARAMS, threshold=0.3)
    with pytest.raises(CheckpointError, match=r"best\.int8: there is no such file; make it with"):
        load_model(tmp_path / "best.pt", precision="int8")
    content = bytearray((project / "best.int8").read_bytes())
    (tmp_path / "best.int8").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"was not made from this .*best\.pt; make it with"):
        load_model(tmp_path / "best.pt", precision="int8")
    (tmp_path / "best.pt").write_bytes((project / "best.pt").read_bytes())
    load_model(tmp_path / "best.pt", precision="int8")
    content[-100] ^= 1
    (tmp_path / "best.int8").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.int8: is damaged, or of another version"):
        load_model(tmp_path / "best.pt", precision="int8")
    (tmp_path / "best.int8").write_bytes(content[:1000])
    with pytest.raises(CheckpointError, match=r"best\.int8: cannot be read: "):
        load_model(tmp_path / "best.pt", precision="int8")
    with pytest.raises(ParamsError, match="int8 is for the CPU"):
        load_model(tmp_path / "best.pt", precision="int8", device="cuda")


@pytest.mark.extended
def test_nothing_is_written_if_too_many_answers_turn(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_STORE", str(project / "store"))
    copy = shutil.copy(project / "best.pt", tmp_path)
    made = int8_file.int8_runner

    def wrong(*network: bytes, temperature: float) -> Runner:
        """Gives the next class's probability for each class."""
        right = made(*network, temperature=temperature)
        return lambda clips: np.roll(right(clips), 1, axis=1)

    monkeypatch.setattr(model_export, "int8_runner", wrong)
    with pytest.raises(ExportError, match="answers 3 of 3 clips of test videos otherwise"):
        model_export.export(Path(copy), file_format="int8", project=project)
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]
    with pytest.raises(ExportError, match="--out is not for int8"):
        model_export.export(Path(copy), file_format="int8", output=tmp_path / "a", project=project)


def test_a_checkpoint_is_not_overwritten_by_its_export(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "mine.int8", PARAMS)
    content = (tmp_path / "mine.int8").read_bytes()
    tries: list[tuple[Format, Path | None]] = [("int8", None), ("pt2", tmp_path / "mine.int8")]
    for file_format, output in tries:
        with pytest.raises(ExportError, match=r"mine\.int8: is the checkpoint itself"):
            model_export.export(
                tmp_path / "mine.int8", file_format=file_format, output=output, project=tmp_path
            )
    assert (tmp_path / "mine.int8").read_bytes() == content


def test_few_clips_are_of_all_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_STORE", str(tmp_path / "store"))
    write_project(tmp_path, evaluate={"temporal_views": 1, "spatial_crops": 1})
    write_checkpoint(tmp_path / "best.pt", PARAMS)
    checkpoint = load_checkpoint(tmp_path / "best.pt")
    for at_most in (3, 8, 14):  # of 15, five of each class, which has a colour
        clips = stored_clips(checkpoint, project=tmp_path, split="train", at_most=at_most)
        colours = clips.mean(axis=(1, 2, 3)).argmax(axis=1)
        assert len(clips) == at_most
        assert np.ptp(np.bincount(colours, minlength=3)) <= 1


@pytest.mark.extended
def test_clips_of_the_project_are_needed(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="needs clips of training videos"):
        model_export.export(project / "best.pt", file_format="int8", project=tmp_path)


@pytest.mark.parametrize("module", ["openvino", pytest.param("nncf", marks=pytest.mark.extended)])
def test_a_missing_library_is_one_line(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "best.pt", PARAMS)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit) as ended:
        run("export", "--format", "int8", "--checkpoint", tmp_path / "best.pt")
    assert ended.value.code == 1
    expected = f"int8 needs {module}, which is not installed: pip install 'slowfast-finetune[int8]'"
    assert expected in capsys.readouterr().err
