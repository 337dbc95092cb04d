"""slowfast export: exports agree with their checkpoint; hostile and broken files are refused."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from filelock import FileLock
from pipeline_imports import PROJECT
from small_run import CLASS_NAMES, write_project
from synthetic import make_params, set_display_matrix, steady, write_video

from slowfast_finetune.base.errors import CheckpointError, ExportError, InputError
from slowfast_finetune.cli import main
from slowfast_finetune.decoding.sampled_frames import sampled_frames
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.exporting import model_export
from slowfast_finetune.exporting.file_check import check_file
from slowfast_finetune.exporting.model_export import export
from slowfast_finetune.exporting.parity import onnx_runner
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    Preprocessing,
    load_checkpoint,
    save_checkpoint,
)
from slowfast_finetune.model.slowfast import build_slowfast, head_of
from slowfast_finetune.predicting.predictor import load_model

needs_onnx = pytest.mark.extended
ONNX = pytest.param("onnx", marks=needs_onnx)
FORMATS = ("pt2", ONNX)
PARAMS = make_params(evaluate={"temporal_views": 1, "spatial_crops": 1})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A project with best.pt, clips.csv and clips, and best.pt2 and, if used, best.onnx of it."""
    uses_onnx = any(item.get_closest_marker("extended") for item in request.session.items)
    names = ("pt2", "onnx") if uses_onnx else ("pt2",)
    if os.environ.get("PYTEST_XDIST_WORKER") is None:
        return write_exports(tmp_path_factory.mktemp("project"), names)
    # The exports take a minute: of the processes that test, the first that needs them makes them.
    root = tmp_path_factory.getbasetemp().parent / "exports"
    with FileLock(f"{root}.lock"):
        if not root.exists():
            write_exports(root.with_name("unfinished"), names).rename(root)
    return root


def write_exports(root: Path, names: Sequence[str]) -> Path:
    write_project(root, evaluate={"temporal_views": 1, "spatial_crops": 1})
    torch.manual_seed(5)
    network = build_slowfast("slowfast_shallow", num_classes=3)
    # Untrained, every clip gets the same answer, and nothing would show that one is wrong.
    torch.nn.init.normal_(head_of(network).weight, std=0.1)
    checkpoint = Checkpoint(
        model_state=network.state_dict(),
        class_names=list(CLASS_NAMES),
        preprocessing=Preprocessing.from_params(PARAMS.clip, crop_size=32),
        params=PARAMS.model_dump(mode="json"),
        epoch=4,
        val_loss=0.5,
        provenance={"seed": 3},
        temperature=0.7,
        threshold=0.4,
    )
    save_checkpoint(root / "best.pt", checkpoint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP_STORE", str(root / "store"))
        for name in names:
            told = export(root / "best.pt", file_format=name, project=root)
            (root / f"{name}.txt").write_text(told)
    return root


@pytest.mark.parametrize("name", FORMATS)
def test_parity_is_measured_on_noise_and_real_clips_and_told(folder: Path, name: str) -> None:
    text = (folder / f"{name}.txt").read_text()
    assert "on 3 random clips" in text
    assert "on 3 real clips; " in text  # a test video of each class
    assert "differs on 0 of 6" in text
    assert "uint8 (B, 8, 32, 32, 3)" in text
    assert "float32 (B, 3): clap, jump, wave" in text
    assert f"examples/run_{name}.py" in text
    assert (PROJECT / "examples" / f"run_{name}.py").is_file()


@pytest.mark.parametrize("name", FORMATS)
def test_metadata(folder: Path, name: str) -> None:
    path = folder / f"best.{name}"
    if name == "pt2":
        with zipfile.ZipFile(path) as archive:
            (member,) = [entry for entry in archive.namelist() if entry.endswith("slowfast.json")]
            about = json.loads(archive.read(member))
    else:
        import onnx

        (entry,) = onnx.load(path).metadata_props
        about = json.loads(entry.value)
    assert about["class_names"] == ["clap", "jump", "wave"]
    assert about["preprocessing"]["padding"] == "repeat_last"
    assert (about["temperature"], about["threshold"]) == (0.7, 0.4)
    assert (about["task"], about["format_version"]) == ("video-classification", 1)
    assert about["provenance"] == {"seed": 3}
    assert "cannot tell videos unlike the training videos" in about["limits"]
    # The file must not hold paths of the machine that wrote it.
    assert str(PROJECT).encode() not in path.read_bytes()


@needs_onnx
def test_probabilities_hold_the_temperature(folder: Path) -> None:
    clips = np.random.default_rng(1).integers(0, 256, (2, 8, 32, 32, 3), np.uint8)
    found = onnx_runner((folder / "best.onnx").read_bytes())(clips)
    checkpoint = load_checkpoint(folder / "best.pt")
    from slowfast_finetune.model.checkpoint import classifier_from

    with torch.no_grad():
        logits = classifier_from(checkpoint)(torch.from_numpy(clips)).double()
    powers = torch.exp(logits / 0.7)
    np.testing.assert_allclose(found, powers / powers.sum(1, keepdim=True), atol=1e-5)
    assert 0.34 < found.max() < 0.99  # neither undecided nor settled whatever the sums
    assert np.abs(found[0] - found[1]).max() > 1e-3


# The examples, without this project


BARE = """
import importlib.abc, runpy, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("slowfast_finetune", "pytorchvideo", "torchvision", "fvcore"):
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Refuse())
example, model, *videos = sys.argv[1:]
sys.path.insert(0, str(__import__("pathlib").Path(example).parent))
try:
    import slowfast_finetune
except ImportError:
    for video in videos:
        sys.argv[1:] = [model, video]
        runpy.run_path(example, run_name="__main__")
"""


def run_example(name: str, model: Path, *videos: Path) -> list[tuple[str, float]]:
    """The classes and probabilities that it prints, of one video after the other."""
    example = PROJECT / "examples" / f"run_{name}.py"
    result = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", BARE, *map(str, (example, model, *videos))],
        cwd=model.parent,
        env={"OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split(" ", 1) for line in result.stdout.splitlines()]
    return [(class_name, float(probability)) for probability, class_name in lines]


@pytest.mark.process
@pytest.mark.parametrize("name", FORMATS)
def test_example_answers_as_predict(folder: Path, tmp_path: Path, name: str) -> None:
    """A video longer than the model's 8 frames at 15 fps, and one that is padded."""
    videos = []
    for num_frames, fps in ((21, Fraction(30000, 1001)), (7, 25)):
        rng = np.random.default_rng(num_frames)
        blocks = rng.integers(0, 256, (num_frames, 9, 12, 3), np.uint8)
        videos.append(
            write_video(
                tmp_path / f"{num_frames} frames.mp4",
                steady(num_frames, fps),
                picture=blocks.repeat(8, axis=1).repeat(8, axis=2).__getitem__,
                width=96,
                height=72,
            )
        )
    printed = run_example(name, folder / f"best.{name}", *videos)
    model = load_model(folder / "best.pt", precision="fp32")
    for video, lines in zip(videos, (printed[:3], printed[3:]), strict=True):
        wanted, found = model.predict(video), dict(lines)
        assert list(found) == ["clap", "jump", "wave"]
        assert max(found, key=lambda key: found[key]) == wanted.label
        # Printed with six digits; the frames are the same to the last bit.
        assert found == pytest.approx(wanted.probabilities, abs=2e-6)


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(64, 45), Fraction(1, 2), Fraction(50)])
@pytest.mark.parametrize(
    "matrix", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)], ids=str
)
def test_the_example_reads_the_clip_that_the_pipeline_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aspect: Fraction, matrix: tuple[int, ...]
) -> None:
    """Pixels that are not square, one shape that cannot be true, and videos filmed on the side."""
    monkeypatch.syspath_prepend(str(PROJECT / "examples"))
    clip = importlib.import_module("clip")
    video = write_picture(tmp_path / "a.mp4", aspect=aspect)
    set_display_matrix(video, **dict(zip("abcd", matrix, strict=True)))
    shape = PARAMS.clip.model_dump() | {"crop_size": 32}
    settings = DecodeSettings.from_clip(PARAMS.clip, max_megapixels=36)
    frames = np.stack(list(sampled_frames(video, settings=settings)))
    top, left = ((extent - 32) // 2 for extent in frames.shape[1:3])
    np.testing.assert_array_equal(
        clip.read_clip(str(video), shape)[0], frames[:8, top : top + 32, left : left + 32]
    )


def write_picture(path: Path, *, aspect: Fraction) -> Path:
    """8 frames of one picture of 96×72 px at 15 fps."""
    picture = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(8):
            array = picture.repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode(None))
    return path


# What is refused at export


@needs_onnx
def test_model_that_answers_otherwise_is_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(content: bytes) -> Callable[[Any], Any]:
        run = onnx_runner(content)
        return lambda clips: run(clips)[:, ::-1]

    monkeypatch.setattr(model_export, "onnx_bytes", lambda _: (folder / "best.onnx").read_bytes())
    monkeypatch.setattr(model_export, "onnx_runner", wrong)
    target = tmp_path / "out.onnx"
    with pytest.raises(ExportError, match=r"differ by 0\.\d+, 0.0001 is allowed; nothing was"):
        export(folder / "best.pt", file_format="onnx", output=target, project=tmp_path)
    assert not target.exists()


@needs_onnx
def test_full_disk_keeps_the_old_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_export, "onnx_bytes", lambda _: (folder / "best.onnx").read_bytes())
    target = tmp_path / "out.onnx"
    target.write_text("old")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        export(folder / "best.pt", file_format="onnx", output=target, project=tmp_path)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


@needs_onnx
def test_missing_library_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"needs onnxscript, .*: pip install .*\[onnx\]"):
        export(folder / "best.pt", file_format="onnx", project=folder)


def test_bf16_is_for_pt2(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="bf16 is for --format pt2"):
        export(folder / "best.pt", file_format="onnx", precision="bf16", project=tmp_path)
    told = export(
        folder / "best.pt",
        file_format="pt2",
        precision="bf16",
        project=tmp_path,
        output=tmp_path / "half.pt2",
    )
    # Rounded to 8 bits, so not the same; and not far off.
    (difference,) = re.findall(r"by at most (\S+) on 3 random clips", told)
    assert 1e-6 < float(difference) < 0.1
    assert "not compared on real clips" in told


# Files from elsewhere


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("pt", "a checkpoint"),
        pytest.param("onnx", "an ONNX model", marks=needs_onnx),
    ],
)
def test_sound_files_pass(folder: Path, name: str, what: str) -> None:
    assert check_file(folder / f"best.{name}") == (
        f"{folder / f'best.{name}'}: {what} of slowfast_shallow; 3 classes: clap, jump, wave"
    )


@pytest.mark.parametrize("name", ["pt", ONNX])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_short(folder: Path, tmp_path: Path, name: str, share: float) -> None:
    content = (folder / f"best.{name}").read_bytes()
    path = tmp_path / f"cut.{name}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises((ExportError, CheckpointError), match=r"cut short|not a file of tensors"):
        check_file(path)


@needs_onnx
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format_version is 2 .*; this version reads 1"),
        (
            {"task": "object-detection"},
            "task is 'object-detection' .*; this version reads 'video-class",
        ),
        ({"kind": "other"}, "kind is 'other' .*; this version reads 'slowfast-finetune"),
        ({"class_names": "clap"}, "class_names or model .* has the wrong type"),
    ],
)
def test_future_formats_and_other_tasks(
    folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    import onnx

    path = tmp_path / "other.onnx"
    model = onnx.load(folder / "best.onnx")
    text = json.loads(model.metadata_props[0].value) | change
    model.metadata_props[0].value = json.dumps(text)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=message) as caught:
        check_file(path)
    assert "\n" not in str(caught.value)


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("words", [["--check"], ["--format", "pt2", "--checkpoint"]])
@pytest.mark.parametrize("name", ["zip.pt", "plain.pt"])
def test_hostile_checkpoint_is_refused_and_nothing_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    words: list[str],
) -> None:
    mark = tmp_path / "ran"
    if name == "zip.pt":
        torch.save({"format_version": 3, "model_state": Touch(mark)}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Touch(mark)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["slowfast", "export", *words, name])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    output, errors = capsys.readouterr()
    assert errors.startswith(f"error: {name}: cannot be used: it ")
    assert errors.count("\n") == 1
    assert output == ""
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_pt2_file_can_make_torch_run_code_so_it_is_refused_unread(
    folder: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    path = pickled_weights(folder, tmp_path / "hostile.pt2", mark)
    with pytest.raises(ExportError, match=r"cannot be checked, because .* can run code"):
        check_file(path)
    assert not mark.exists()
    load_regardless(path)
    assert mark.exists()


def load_regardless(path: Path) -> None:
    """Load it with torch; the code in it runs although loading fails in the end."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        torch.export.load(path)


def pickled_weights(folder: Path, target: Path, mark: Path) -> Path:
    """An export whose first weight is a pickle that makes a file."""
    buffer = io.BytesIO()
    torch.save(Touch(mark), buffer)

    def pickled(config: dict[str, Any]) -> dict[str, Any]:
        next(iter(config["config"].values()))["use_pickle"] = True
        return config

    changes: dict[str, Any] = {
        "data/weights/model_weights_config.json": pickled,
        "data/weights/weight_0": buffer.getvalue(),
    }
    return repack(folder / "best.pt2", target, **changes)


@needs_onnx
def test_an_onnx_model_that_refers_to_others_is_refused(folder: Path, tmp_path: Path) -> None:
    import onnx

    def foreign_operator(model: Any) -> None:
        model.graph.node[0].domain = "elsewhere"

    def other_file(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"

    def no_metadata(model: Any) -> None:
        del model.metadata_props[:]

    for change, message in (
        (foreign_operator, "calls operators that are not part of ONNX"),
        (other_file, "reads weights from other files"),
        (no_metadata, "is not an export of this project"),
    ):
        model = onnx.load(folder / "best.onnx")
        change(model)
        path = tmp_path / "foreign.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ExportError, match=message):
            check_file(path)


@needs_onnx
def test_an_onnx_model_with_a_changed_weight_is_refused(folder: Path, tmp_path: Path) -> None:
    import onnx

    with pytest.raises(ExportError, match="cannot be read: No such file"):
        check_file(tmp_path / "none.onnx")

    model = onnx.load(folder / "best.onnx")
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    changed = bytearray(weight.raw_data)
    changed[len(changed) // 2] ^= 1
    weight.raw_data = bytes(changed)
    path = tmp_path / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="its weights differ from those that were exported"):
        check_file(path)


def repack(source: Path, target: Path, **changes: Any) -> Path:
    """Copy an archive with other bytes, or changed JSON, in some members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        top = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            change = changes.pop(name.removeprefix(f"{top}/"), None)
            content = old.read(name)
            if callable(change):
                content = json.dumps(change(json.loads(content))).encode()
            elif change is not None:
                content = change
            new.writestr(name, content)
    assert not changes
    return target
