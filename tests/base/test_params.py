"""params.yaml: what is refused, by name; and that it is complete and explained."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest
import synthetic
import yaml

from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.base.params import VIDEO_EXTENSIONS, Params, load_params

PROJECT = Path(__file__).resolve().parents[2]
PRESETS = sorted((PROJECT / "presets").glob("*.yaml"))
FILES = [PROJECT / "params.yaml", *PRESETS]

MISSING = object()


def complaint(path: Path, *, params: Params, **changes: dict[str, Any]) -> str:
    """What is said of good parameters after some were changed or taken away."""
    values = params.model_dump(mode="json")
    for section, keys in changes.items():
        values.setdefault(section, {}).update(keys)
        values[section] = {k: v for k, v in values[section].items() if v is not MISSING}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("data", "videos", "", "data.videos"),
        ("data", "videos", 2024, "data.videos: found 2024"),
        ("data", "videos", None, "data.videos: found None"),
        ("data", "extensions", [], "data.extensions"),
        ("data", "extensions", ["mp4"], "'mp4' is not an extension such as .mp4"),
        ("data", "extensions", [".mp4", "*.avi"], "'*.avi' is not an extension"),
        ("data", "extensions", ".mp4", "data.extensions"),
        ("data", "val_fraction", 0, "val_fraction and test_fraction must both be above 0"),
        ("data", "test_fraction", 0, "val_fraction and test_fraction must both be above 0"),
        ("data", "val_fraction", -0.1, "data.val_fraction: found -0.1"),
        ("data", "val_fraction", 1, "data.val_fraction: found 1"),
        ("data", "test_fraction", 0.7, "must leave at least 0.2 for training"),
        ("data", "group_pattern", "person_(", "'person_(' is not a regular expression"),
        ("data", "split_seed", -1, "data.split_seed: found -1"),
        ("data", "split_seed", 0.5, "data.split_seed: found 0.5"),
        ("data", "num_folds", 1, "data.num_folds: found 1"),
        ("data", "fold", -1, "data.fold: found -1"),
        ("data", "fold", 3, "data: fold: 3 is none of num_folds: 3, counted from 0"),
        ("clip", "num_frames", 3, "clip.num_frames: found 3"),
        ("clip", "num_frames", 513, "clip.num_frames: found 513"),
        ("clip", "num_frames", 8.5, "clip.num_frames: found 8.5"),
        ("clip", "num_frames", "many", "clip.num_frames: found 'many'"),
        ("clip", "sample_fps", 0, "clip.sample_fps: found 0"),
        ("clip", "sample_fps", -15, "clip.sample_fps: found -15"),
        ("clip", "sample_fps", 241, "clip.sample_fps: found 241"),
        ("clip", "sample_fps", float("nan"), "clip.sample_fps: found nan"),
        ("clip", "short_side", 15, "clip.short_side: found 15"),
        ("clip", "max_seconds", 0, "clip.max_seconds: found 0"),
        # Too little for a single instant at 0 s, which would leave no frame at all.
        ("clip", "max_seconds", 0.0004, "clip.max_seconds: found 0.0004"),
        ("clip", "sample_fps", 1e-6, "clip.sample_fps: found 1e-06"),
        ("clip", "max_seconds", float("inf"), "clip.max_seconds: found inf"),
        ("clip", "padding", "black", "clip.padding: found 'black'"),
        ("cache", "max_rejected_fraction", 1.1, "cache.max_rejected_fraction: found 1.1"),
        ("cache", "min_decodable_fraction", -1, "cache.min_decodable_fraction: found -1"),
        ("cache", "max_megapixels", 0, "cache.max_megapixels: found 0"),
        ("cache", "timeout_seconds", 0, "cache.timeout_seconds: found 0"),
        ("cache", "timeout_seconds", float("inf"), "cache.timeout_seconds: found inf"),
        ("model", "name", "resnet", "model.name: found 'resnet'"),
        ("model", "weights", "", "model.weights"),
        ("model", "weights", "kinetics400", "slowfast_shallow has no Kinetics-400 weights"),
        ("train", "frozen_epochs", 1, "train.frozen_epochs: 1 would freeze random weights"),
        ("train", "batch_norm", "frozen", "batch_norm: frozen would keep the statistics of random"),
        ("train", "batch_norm", "sync", "train.batch_norm: found 'sync'"),
        ("train", "warmup_epochs", 2, "train: warmup_epochs: 2 leaves nothing of epochs: 2"),
        ("train", "warmup_epochs", -1, "train.warmup_epochs: found -1"),
        ("train", "frozen_epochs", 3, "frozen_epochs: 3 is more than epochs: 2"),
        ("train", "patience", 0, "train.patience: found 0"),
        ("train", "backbone_rate", 0, "train.backbone_rate: found 0"),
        ("train", "backbone_rate", 2, "train.backbone_rate: found 2"),
        ("train", "layer_decay", 1.1, "train.layer_decay: found 1.1"),
        ("train", "class_balance", "focal", "train.class_balance: found 'focal'"),
        ("train", "ema_decay", 1, "train.ema_decay: found 1"),
        ("augment", "max_zoom", 0.5, "augment.max_zoom: found 0.5"),
        ("augment", "rand_augment_ops", -1, "augment.rand_augment_ops: found -1"),
        ("augment", "rand_augment_magnitude", 31, "augment.rand_augment_magnitude: found 31"),
        ("augment", "mixup_alpha", -1, "augment.mixup_alpha: found -1"),
        ("augment", "cutmix_alpha", "yes", "augment.cutmix_alpha: found 'yes'"),
        ("runtime", "devices", 0, "runtime.devices"),
        ("runtime", "batch_size_per_device", 0, "runtime.batch_size_per_device"),
        ("runtime", "save_minutes", 0, "runtime.save_minutes: found 0"),
        ("runtime", "compile", "maybe", "runtime.compile: found 'maybe'"),
        ("model", "dropout_rate", 1, "model.dropout_rate: found 1"),
        ("train", "seed", -1, "train.seed: found -1"),
        ("train", "seed", 2**32, "train.seed: found 4294967296"),
        ("train", "epochs", 0, "train.epochs: found 0"),
        # YAML reads `yes` and `on` as true, which Python would count as 1.
        ("train", "epochs", True, "train.epochs: found true"),
        ("train", "learning_rate", True, "train.learning_rate: found true"),
        ("train", "batch_size", 0, "train.batch_size: found 0"),
        ("train", "optimizer", "lion", "train.optimizer: found 'lion'"),
        ("train", "learning_rate", 0, "train.learning_rate: found 0"),
        ("train", "learning_rate", float("nan"), "train.learning_rate: found nan"),
        ("train", "learning_rate", -1e-3, "train.learning_rate: found -0.001"),
        ("train", "learning_rate", "fast", "train.learning_rate: found 'fast'"),
        ("train", "weight_decay", -1, "train.weight_decay: found -1"),
        ("train", "schedule", "step", "train.schedule: found 'step'"),
        ("train", "label_smoothing", 1, "train.label_smoothing: found 1"),
        ("train", "crop_size", 49, "train.crop_size: 49 is larger than clip.short_side: 48"),
        ("augment", "random_crop", "perhaps", "augment.random_crop: found 'perhaps'"),
        ("augment", "horizontal_flip", 1.5, "augment.horizontal_flip: found 1.5"),
        ("train", "max_grad_norm", 0, "train.max_grad_norm: found 0"),
        ("evaluate", "temporal_views", 0, "evaluate.temporal_views: found 0"),
        ("evaluate", "spatial_crops", 2, "evaluate.spatial_crops: found 2"),
        ("runtime", "device", "tpu", "runtime.device: found 'tpu'"),
        ("runtime", "precision", "fp64", "runtime.precision: found 'fp64'"),
        ("runtime", "num_workers", -1, "runtime.num_workers: found -1"),
        ("runtime", "num_workers", "all", "runtime.num_workers: found 'all'"),
        # Unknown: the nearest known one is offered, or all of the section.
        ("train", "learning_rat", 1, "train.learning_rat is unknown; did you mean learning_rate?"),
        ("clip", "size", 1, "clip.size is unknown"),
        ("evaluate", "zzz", 1, "evaluate.zzz is unknown; known here: temporal_views, spatial"),
        ("trian", "epochs", 1, "trian is unknown; did you mean train?"),
        ("train", "epochs", MISSING, "train.epochs is missing"),
        ("data", "group_pattern", MISSING, "data.group_pattern is missing"),
    ],
)
def test_a_bad_value_is_named(
    tmp_path: Path,
    small_params: Callable[..., Params],
    section: str,
    key: str,
    value: object,
    said: str,
) -> None:
    path = tmp_path / "params.yaml"
    assert said in complaint(path, params=small_params(), **{section: {key: value}})


@pytest.mark.parametrize("section", Params.model_fields)
def test_a_missing_section_is_named(
    tmp_path: Path, small_params: Callable[..., Params], section: str
) -> None:
    values = small_params().model_dump(mode="json")
    del values[section]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ParamsError, match=f"{section} is missing"):
        load_params(tmp_path / "params.yaml")


def test_all_faults_are_named_at_once(tmp_path: Path, small_params: Callable[..., Params]) -> None:
    message = complaint(
        tmp_path / "params.yaml",
        params=small_params(),
        train={"epochs": 0, "batch": 4},
        clip={"padding": MISSING},
    )
    for said in ("train.epochs: found 0", "train.batch is unknown", "clip.padding is missing"):
        assert said in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "found NoneType"),
        (b"- a\n- b\n", "found list"),
        (b"just words", "found str"),
        (b"data: [unclosed", "is not YAML"),
        (b"data: \xff\xfe", "is not YAML"),
        (b"data: 3\n", "data: found 3"),
    ],
)
def test_what_is_no_parameter_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("again", "said"),
    [
        ("train:\n  epochs: 3\n", r"params\.yaml: train is there twice$"),
        ("  tensorboard: true\n", r"params\.yaml: runtime\.tensorboard is there twice$"),
    ],
)
def test_a_key_that_is_there_twice(
    tmp_path: Path, small_params: Callable[..., Params], again: str, said: str
) -> None:
    """YAML's reader would take the last one without a word."""
    text = yaml.safe_dump(small_params().model_dump(mode="json"), sort_keys=False)
    assert list(yaml.safe_load(text))[-1] == "runtime"
    (tmp_path / "params.yaml").write_text(text + again)
    with pytest.raises(ParamsError, match=said):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml: cannot be read: No such file"):
        load_params(tmp_path / "params.yaml")


def test_scientific_numbers_as_yaml_reads_them(
    tmp_path: Path, small_params: Callable[..., Params]
) -> None:
    # PyYAML takes 1e-3 for text.
    path = synthetic.write_params(tmp_path / "params.yaml", small_params())
    text = path.read_text()
    assert "learning_rate: 0.001\n" in text
    path.write_text(text.replace("learning_rate: 0.001", "learning_rate: 1e-3"))
    assert yaml.safe_load(path.read_text())["train"]["learning_rate"] == "1e-3"
    assert load_params(path).train.learning_rate == 0.001


def test_what_is_written_is_read(tmp_path: Path, small_params: Callable[..., Params]) -> None:
    params = small_params(data={"extensions": (".MP4", ".Mov"), "group_pattern": r"s(\d+)_"})
    assert load_params(synthetic.write_params(tmp_path / "params.yaml", params)) == params
    # Extensions are compared in lower case.
    assert params.data.extensions == (".mp4", ".mov")


def test_parameters_cannot_be_changed(small_params: Callable[..., Params]) -> None:
    with pytest.raises(pydantic.ValidationError):
        small_params().train.epochs = 3  # type: ignore[misc]


# The files in the project


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_projects_files_are_valid(path: Path) -> None:
    load_params(path)


def test_there_is_a_preset_for_every_pretrained_model() -> None:
    names = {path.stem for path in PRESETS}
    assert {"demo", "slowfast_r50", "slowfast_r101", "slowfast_16x8_r101_50_50"} <= names
    for path in PRESETS:
        name = load_params(path).model.name
        others = dict.fromkeys(("demo", "demo_long", "scratch"), "slowfast_shallow")
        others["probe"] = "slowfast_r50"
        assert name == others.get(path.stem, path.stem)


def test_every_preset_takes_the_files_that_predict_takes_from_a_folder() -> None:
    for path in PRESETS:
        assert load_params(path).data.extensions == VIDEO_EXTENSIONS


def test_params_yaml_is_the_demo_preset() -> None:
    demo = (PROJECT / "presets" / "demo.yaml").read_text(encoding="utf-8")
    assert (PROJECT / "params.yaml").read_text(encoding="utf-8") == demo


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_parameter_is_there_once_and_explained_on_its_line(path: Path) -> None:
    section, found = "", []
    for line in path.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"(\w+):(\s+#.*)?", line):
            section = heading[1]
        elif line and not line.startswith("#"):
            entry = re.fullmatch(r"  (\w+): (\S.*?) # (\S.{6,})", line)
            assert entry, f"{path.name}: no explanation in {line!r}"
            found.append((section, entry[1]))
    known = [
        (section, key)
        for section, field in Params.model_fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]
    ]
    assert found == known


def test_no_parameter_has_a_name_that_dvc_leaves_out_of_its_hashes() -> None:
    for field in Params.model_fields.values():
        assert not {"size", "nfiles"} & set(field.annotation.model_fields)  # type: ignore[union-attr]


def test_warm_up_after_frozen_epochs_must_fit_too(
    tmp_path: Path, small_params: Callable[..., Params]
) -> None:
    path = tmp_path / "params.yaml"
    changes = {"epochs": 5, "frozen_epochs": 3, "warmup_epochs": 2}
    assert "frozen_epochs: 3 and then warmup_epochs: 2 leave nothing of epochs: 5" in complaint(
        path, params=small_params(), train=changes, model={"weights": "some.pyth"}
    )


def test_as_many_frozen_epochs_as_epochs_train_the_last_layer_only(
    small_params: Callable[..., Params],
) -> None:
    params = small_params(
        train={"epochs": 5, "frozen_epochs": 5, "warmup_epochs": 2}, model={"weights": "some.pyth"}
    )
    assert params.train.frozen_epochs == params.train.epochs


def test_batch_norm_needs_more_than_one_value_of_a_clip(
    tmp_path: Path, small_params: Callable[..., Params]
) -> None:
    """The slow pathway's last layers see num_frames / 4 frames of crop_size / 32 px, rounded up."""
    least = {"clip": {"num_frames": 4}, "train": {"crop_size": 32, "batch_norm": "batch"}}
    said = complaint(tmp_path / "params.yaml", params=small_params(), **least)
    assert "clip.num_frames: 4 and train.crop_size: 32 leave the last layers one value" in said
    small_params(clip={"num_frames": 8}, train={"crop_size": 32, "batch_norm": "batch"})
    small_params(clip={"num_frames": 4}, train={"crop_size": 33, "batch_norm": "batch"})
    frozen = small_params(
        clip={"num_frames": 4},
        train={"crop_size": 32, "batch_norm": "frozen"},
        model={"weights": "some.pyth"},
    )
    assert frozen.clip.num_frames == 4
