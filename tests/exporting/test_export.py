"""slowfast export: the file answers as the checkpoint does; a hostile or broken one is refused."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline_imports import PROJECT
from small_run import CLASS_NAMES, write_project
from synthetic import make_params, steady, write_video

from slowfast_finetune.base.errors import CheckpointError, ExportError
from slowfast_finetune.base.files import write_bytes
from slowfast_finetune.cli import main
from slowfast_finetune.exporting import export as export_module
from slowfast_finetune.exporting.checking import check_file
from slowfast_finetune.exporting.export import describe, export
from slowfast_finetune.exporting.parity import onnx_runner
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    Preprocessing,
    load_checkpoint,
    params_as_plain_values,
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
    root = tmp_path_factory.mktemp("project")
    write_project(root, evaluate={"temporal_views": 1, "spatial_crops": 1})
    torch.manual_seed(5)
    network = build_slowfast("slowfast_shallow", num_classes=3)
    # Untrained, every clip gets the same answer, and nothing would show that one is wrong.
    torch.nn.init.normal_(head_of(network).weight, std=0.1)
    checkpoint = Checkpoint(
        model_state=network.state_dict(),
        class_names=list(CLASS_NAMES),
        preprocessing=Preprocessing.from_params(PARAMS.clip, crop_size=32),
        params=params_as_plain_values(PARAMS),
        epoch=4,
        val_loss=0.5,
        provenance={"seed": 3},
        temperature=0.7,
        threshold=0.4,
    )
    save_checkpoint(root / "best.pt", checkpoint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP_STORE", str(root / "store"))
        uses_onnx = any(item.get_closest_marker("extended") for item in request.session.items)
        for name in ("pt2", "onnx") if uses_onnx else ("pt2",):
            exported = export(root / "best.pt", file_format=name, project=root)
            (root / f"{name}.txt").write_text(describe(exported))
    return root


@pytest.mark.parametrize("name", FORMATS)
def test_parity_is_measured_on_noise_and_real_clips_and_told(folder: Path, name: str) -> None:
    text = (folder / f"{name}.txt").read_text()
    assert "on 3 random clips" in text
    assert "on 3 real; another answer to 0 of 6" in text  # a test video of each class
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
    # Where our code lies on this machine is nobody's business.
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
example, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, str(__import__("pathlib").Path(example).parent))
try:
    import slowfast_finetune
except ImportError:
    runpy.run_path(example, run_name="__main__")
"""


def run_example(name: str, model: Path, video: Path) -> dict[str, float]:
    example = PROJECT / "examples" / f"run_{name}.py"
    result = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", BARE, str(example), str(model), str(video)],
        cwd=model.parent,
        env={"OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split(" ", 1) for line in result.stdout.splitlines()]
    return {class_name: float(probability) for probability, class_name in lines}


@pytest.mark.process
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("num_frames", "fps"), [(21, Fraction(30000, 1001)), (7, 25)])
def test_example_answers_as_predict(
    folder: Path, tmp_path: Path, name: str, num_frames: int, fps: Fraction | int
) -> None:
    """A video longer than the model's 8 frames at 15 fps, and one that is padded."""
    rng = np.random.default_rng(num_frames)
    blocks = rng.integers(0, 256, (num_frames, 9, 12, 3), np.uint8)
    video = write_video(
        tmp_path / "a video.mp4",
        steady(num_frames, fps),
        picture=lambda number: blocks[number].repeat(8, 0).repeat(8, 1),
        width=96,
        height=72,
    )
    wanted = load_model(folder / "best.pt", precision="fp32").predict(video)
    found = run_example(name, folder / f"best.{name}", video)
    assert list(found) == ["clap", "jump", "wave"]
    assert max(found, key=lambda key: found[key]) == wanted.label
    # Printed with six digits; the frames are the same to the last bit.
    assert found == pytest.approx(wanted.probabilities, abs=2e-6)


# What is refused at export


@needs_onnx
def test_model_that_answers_otherwise_is_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(content: bytes) -> Callable[[Any], Any]:
        run = onnx_runner(content)
        return lambda clips: run(clips)[:, ::-1]

    monkeypatch.setattr(export_module, "onnx_bytes", lambda _: (folder / "best.onnx").read_bytes())
    monkeypatch.setattr(export_module, "onnx_runner", wrong)
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

    monkeypatch.setattr(export_module, "onnx_bytes", lambda _: (folder / "best.onnx").read_bytes())
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
    with pytest.raises(ExportError, match=r"needs onnxscript, .*: pip install .*\[onnx\]"):
        export(folder / "best.pt", file_format="onnx", project=folder)


def test_bf16_is_for_pt2(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="bf16 is for --format pt2"):
        export(folder / "best.pt", file_format="onnx", precision="bf16", project=tmp_path)
    exported = export(
        folder / "best.pt",
        file_format="pt2",
        precision="bf16",
        project=tmp_path,
        output=tmp_path / "half.pt2",
    )
    # Rounded to 8 bits, so not the same; and not far off.
    assert 1e-6 < exported.parity.difference < 0.1
    assert exported.parity.num_real == 0
    assert "no real clips" in describe(exported)
    check_file(exported.path)


# Files from elsewhere


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("pt", "a checkpoint"),
        ("pt2", "a torch.export program"),
        pytest.param("onnx", "an ONNX model", marks=needs_onnx),
    ],
)
def test_sound_files_pass(folder: Path, name: str, what: str) -> None:
    assert check_file(folder / f"best.{name}") == (
        f"{folder / f'best.{name}'}: {what} of slowfast_shallow; 3 classes: clap, jump, wave"
    )


@pytest.mark.parametrize("name", ["pt", "pt2", ONNX])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_short(folder: Path, tmp_path: Path, name: str, share: float) -> None:
    content = (folder / f"best.{name}").read_bytes()
    path = tmp_path / f"cut.{name}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises((ExportError, CheckpointError), match=r"cut short|not a file of tensors"):
        check_file(path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "has format 2; this version reads 1"),
        ({"task": "object-detection"}, "is for object-detection; ours are for video-class"),
        ({"kind": "other"}, "is not an export of this project"),
        ({"class_names": "clap"}, "class_names, .* is not as we write it"),
    ],
)
def test_future_formats_and_other_tasks(
    folder: Path, tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / f"other.{name}"
    if name == "pt2":
        changes: dict[str, Any] = {"extra/slowfast.json": lambda text: text | change}
        repack(folder / "best.pt2", path, **changes)
    else:
        import onnx

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


def test_torch_itself_would_run_code_and_the_check_does_not(folder: Path, tmp_path: Path) -> None:
    """The reason for the check: the same file makes torch.export.load run what is in it."""
    mark = tmp_path / "ran"
    path = pickled_weights(folder, tmp_path / "hostile.pt2", mark)
    with pytest.raises(ExportError, match="holds pickled weights, which could carry code"):
        check_file(path)
    assert not mark.exists()
    load_regardless(path)
    assert mark.exists()


def load_regardless(path: Path) -> None:
    """As somebody who does not check; that it fails in the end saves nobody."""
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


def test_an_archive_that_shows_torch_other_content_than_python(
    folder: Path, tmp_path: Path
) -> None:
    """Two archives in one file: Python's zipfile finds the sound one, torch the hostile one."""
    mark, path = tmp_path / "ran", tmp_path / "two_faced.pt2"
    entries: dict[str, bytes] = {}
    tables: dict[str, bytes] = {}
    for name, source in (
        ("sound", repack(folder / "best.pt2", tmp_path / "sound.pt2")),
        ("hostile", pickled_weights(folder, tmp_path / "hostile.pt2", mark)),
    ):
        content = source.read_bytes()
        size, place = struct.unpack("<2I", content[-10:-2])
        entries[name], tables[name] = content[:place], content[place : place + size]
    assert len(tables["sound"]) == len(tables["hostile"])
    # torch goes to the stated place; Python counts back from the end, and shifts all entries.
    hostile = entries["hostile"].ljust(len(entries["sound"]), b"\0")
    behind = len(hostile) + len(tables["hostile"])
    shift = behind + len(entries["sound"]) - len(hostile)
    sound = bytearray(tables["sound"])
    place = 0
    while place < len(sound):
        lengths = struct.unpack_from("<3H", sound, place + 28)
        (offset,) = struct.unpack_from("<I", sound, place + 42)
        struct.pack_into("<I", sound, place + 42, offset + behind - shift)
        place += 46 + sum(lengths)
    number = len(zipfile.ZipFile(tmp_path / "sound.pt2").infolist())
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, number, number, len(sound), len(hostile), 0)
    path.write_bytes(hostile + tables["hostile"] + entries["sound"] + bytes(sound) + end)

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        (config,) = [n for n in archive.namelist() if n.endswith("model_weights_config.json")]
        assert b'"use_pickle": true' not in archive.read(config)
    with pytest.raises(ExportError, match=r"is not packed as torch\.export packs"):
        check_file(path)
    assert not mark.exists()
    load_regardless(path)
    assert mark.exists()


@pytest.mark.parametrize("how", ["before", "after", "between", "comment"])
def test_an_archive_with_bytes_that_belong_to_no_entry(
    folder: Path, tmp_path: Path, how: str
) -> None:
    content = (folder / "best.pt2").read_bytes()
    with zipfile.ZipFile(folder / "best.pt2") as archive:
        table = archive.start_dir
    changed = {
        "before": b"x" + content,
        "after": content + b"x",
        "between": content[:table] + b"x" + content[table:],
        "comment": content[:-2] + b"\1\0x",
    }[how]
    path = tmp_path / "odd.pt2"
    path.write_bytes(changed)
    with pytest.raises(ExportError, match=r"is not packed as torch|cut short or damaged"):
        check_file(path)


def in_graph(**changes: str) -> Callable[[Any], Any]:
    """Replace the first string under each key of a program."""

    def change(item: Any) -> Any:
        waiting, left = [item], dict(changes)
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                for key in [key for key in left if isinstance(value.get(key), str)]:
                    value[key] = left.pop(key)
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
        assert not left
        return item

    return change


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        ("models/model.json", in_graph(expr_str="__import__('os').getpid()"), "getpid"),
        ("models/model.json", in_graph(target="torch.load"), "torch.load"),
        ("models/model.json", in_graph(target="#custom:op"), "custom"),
        ("models/model.json", in_graph(name="x\nimport os"), "import os"),
        ("models/model.json", in_graph(in_spec='{"__enum__": true}'), "foreign type"),
        ("models/model.json", lambda graph: graph | {"guards_code": ["1/0"]}, "carries Python"),
        ("models/model.json", b"{", "models/model.json in it is not JSON"),
        ("models/model.json", b"[" * 100_000, "models/model.json in it is not JSON"),
        ("data/sample_inputs/model.pt", pickle.dumps(1), "holds pickled inputs"),
        ("data/constants/opaque_obj_0", pickle.dumps(1), "holds data/constants/opaque_obj_0"),
        ("data/weights/model.pt", pickle.dumps(1), "holds data/weights/model.pt"),
        ("data/constants/model_constants_config.json", b"[]", "not as torch writes it"),
    ],
)
def test_program_that_is_not_ours(
    folder: Path, tmp_path: Path, member: str, change: Any, message: str
) -> None:
    path = repack(folder / "best.pt2", tmp_path / "hostile.pt2", **{member: change})
    with pytest.raises(ExportError, match=message):
        check_file(path)


def test_changed_bytes_and_packed_archives(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "best.pt2").read_bytes())
    content[len(content) // 2] ^= 1
    write_bytes(tmp_path / "changed.pt2", bytes(content))
    with pytest.raises(ExportError, match=r"is damaged|not as|not JSON"):
        check_file(tmp_path / "changed.pt2")
    packed = repack(folder / "best.pt2", tmp_path / "packed.pt2", packing=zipfile.ZIP_DEFLATED)
    with pytest.raises(ExportError, match="is not packed as torch"):
        check_file(packed)
    with pytest.raises(ExportError, match="cannot be read: No such file"):
        check_file(tmp_path / "none.pt2")


@needs_onnx
def test_onnx_that_reaches_outside(folder: Path, tmp_path: Path) -> None:
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
        (foreign_operator, "calls operators that are not ONNX's own"),
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
def test_onnx_with_a_changed_weight(folder: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(folder / "best.onnx")
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    changed = bytearray(weight.raw_data)
    changed[len(changed) // 2] ^= 1
    weight.raw_data = bytes(changed)
    path = tmp_path / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="its weights are not as they were written"):
        check_file(path)


def repack(
    source: Path, target: Path, *, packing: int = zipfile.ZIP_STORED, **changes: Any
) -> Path:
    """Copy an archive with other bytes, or changed JSON, in some members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", packing) as new:
        top = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            change = changes.pop(name.removeprefix(f"{top}/"), None)
            content = old.read(name)
            if callable(change):
                content = json.dumps(change(json.loads(content))).encode()
            elif change is not None:
                content = change
            new.writestr(name, content)
        for name, content in changes.items():
            new.writestr(f"{top}/{name}", content)
    return target
