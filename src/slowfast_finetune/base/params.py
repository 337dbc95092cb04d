"""The typed mirror of params.yaml. Meanings and units stand beside each value in that file.

There are no defaults here: params.yaml is complete, so that what DVC tracks is what runs.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml
from pydantic import Field, field_validator, model_validator

from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.base.files import read_errors

Fraction = Annotated[float, Field(ge=0, lt=1)]
ModelName = Literal["slowfast_r50", "slowfast_r101", "slowfast_16x8_r101_50_50", "slowfast_shallow"]
Engine = Literal["local", "ray"]
Padding = Literal["repeat_last", "loop"]

# What the presets take for videos, and predict where it is given a folder.
VIDEO_EXTENSIONS = (
    *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)


@dataclass(frozen=True)
class ClipShape:
    """What the network is shown of a video at once."""

    num_frames: int  # of a clip
    crop_size: int  # side of the square that is cut out [px]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_not_a_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        # YAML reads yes and on as true, and pydantic reads true as 1.
        if (
            isinstance(value, bool)
            and cls.model_fields[str(info.field_name)].annotation is not bool
        ):
            raise ValueError(f"found {str(value).lower()}, expected another kind of value")
        return value


class DataParams(_Section):
    """``data:`` — which videos, and how they are split."""

    videos: str = Field(min_length=1)
    labels: str | None = Field(min_length=1)
    background: str | None = Field(min_length=1)
    background_ratio: float = Field(gt=0, le=100)
    extensions: tuple[str, ...] = Field(min_length=1)
    exclude: tuple[Annotated[str, Field(min_length=1)], ...]
    val_fraction: Fraction
    test_fraction: Fraction
    group_pattern: str | None
    split_seed: int = Field(ge=0)
    num_folds: int = Field(ge=2, le=100)
    fold: int | None = Field(ge=0)

    @field_validator("extensions", "exclude", mode="before")
    @classmethod
    def _a_list(cls, values: Any, info: pydantic.ValidationInfo) -> Any:
        if not isinstance(values, list | tuple):
            example = "[.mp4, .mov]" if info.field_name == "extensions" else "['*_thumb.mp4', raw]"
            raise ValueError(f"found {values!r}, expected a list such as {example}")
        return values

    @field_validator("extensions")
    @classmethod
    def _extensions_start_with_a_dot(cls, extensions: tuple[str, ...]) -> tuple[str, ...]:
        for extension in extensions:
            if not re.fullmatch(r"\.\w+", extension):
                raise ValueError(f"{extension!r} is not an extension such as .mp4")
        return tuple(extension.lower() for extension in extensions)

    @field_validator("group_pattern")
    @classmethod
    def _pattern_compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        if not (self.val_fraction > 0 and self.test_fraction > 0):
            raise ValueError("val_fraction and test_fraction must both be above 0")
        if self.val_fraction + self.test_fraction > 0.8:
            raise ValueError("val_fraction + test_fraction must leave at least 0.2 for training")
        if self.fold is not None and self.fold >= self.num_folds:
            raise ValueError(
                f"fold: {self.fold} is none of num_folds: {self.num_folds}, counted from 0"
            )
        if self.fold is not None and self.val_fraction + 1 / self.num_folds > 0.8:
            raise ValueError("val_fraction and one fold must leave at least 0.2 for training")
        return self


class ClipParams(_Section):
    """``clip:`` — how clips are sampled and stored; any change decodes all videos again."""

    num_frames: int = Field(ge=4, le=512, multiple_of=4)  # the slow pathway takes every fourth
    sample_fps: float = Field(ge=0.1, le=240)
    short_side: int = Field(ge=32, le=1080)
    max_seconds: float = Field(ge=0.1, le=86_400)
    padding: Padding
    encoding: Literal["jpeg", "raw"]
    jpeg_quality: int = Field(ge=50, le=100)

    @classmethod
    def restored(cls, values: dict[str, Any]) -> Self:
        """The parameters in a checkpoint or a clip store, maybe older than ``encoding`` is."""
        return cls.model_validate({"encoding": "raw", "jpeg_quality": 90, **values})


class CacheParams(_Section):
    """``cache:`` — which videos are refused, and how many may be."""

    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]
    min_decodable_fraction: Annotated[float, Field(ge=0, le=1)]
    max_megapixels: float = Field(gt=0)
    timeout_seconds: float = Field(gt=0)
    worker_memory_mb: int = Field(ge=256)


class ModelParams(_Section):
    """``model:`` — which network, and where its weights come from."""

    name: ModelName
    weights: str = Field(min_length=1)
    dropout_rate: Annotated[float, Field(ge=0, lt=1)]

    @property
    def weights_file(self) -> str | None:
        """The file that ``weights`` names; None where it names no file."""
        is_address = self.weights.startswith(("http://", "https://"))
        return None if is_address or self.weights in {"none", "kinetics400"} else self.weights

    @model_validator(mode="after")
    def _no_kinetics_for_shallow(self) -> Self:
        if self.name == "slowfast_shallow" and self.weights == "kinetics400":
            raise ValueError("slowfast_shallow has no Kinetics-400 weights; set weights: none")
        return self


class TrainParams(_Section):
    """``train:`` — the recipe."""

    method: Literal["finetune", "probe"]
    probe_views: int = Field(ge=1, le=64)
    seed: int = Field(ge=0, lt=2**32)
    epochs: int = Field(ge=1)
    patience: int | None = Field(ge=1)
    batch_size: int = Field(ge=1)
    optimizer: Literal["adam", "adamw", "sgd"]
    learning_rate: float = Field(gt=0)
    backbone_rate: Annotated[float, Field(gt=0, le=1)]
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    frozen_epochs: int = Field(ge=0)
    schedule: Literal["constant", "cosine"]
    warmup_epochs: Annotated[float, Field(ge=0)]
    weight_decay: float = Field(ge=0)
    max_grad_norm: float | None = Field(gt=0)
    label_smoothing: Fraction
    class_balance: Literal["none", "weights", "sampler"]
    batch_norm: Literal["batch", "frozen", "precise"]
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    crop_size: int = Field(ge=32)  # the network halves it five times

    @model_validator(mode="after")
    def _something_is_left_after_the_start(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs:g} leaves nothing of epochs: {self.epochs}"
            )
        if self.frozen_epochs > self.epochs:
            raise ValueError(
                f"frozen_epochs: {self.frozen_epochs} is more than epochs: {self.epochs}; "
                "set it to epochs to train only the last layer"
            )
        if self.frozen_epochs < self.epochs <= self.frozen_epochs + self.warmup_epochs:
            raise ValueError(
                f"frozen_epochs: {self.frozen_epochs} and then warmup_epochs: "
                f"{self.warmup_epochs:g} leave nothing of epochs: {self.epochs}"
            )
        return self

    @property
    def is_balanced(self) -> bool:
        """Whether heads that are fitted to features weigh all classes alike."""
        return self.class_balance != "none"


class AugmentParams(_Section):
    """``augment:`` — how training clips differ from epoch to epoch."""

    random_crop: bool
    max_zoom: Annotated[float, Field(ge=1, le=4)]
    horizontal_flip: Annotated[float, Field(ge=0, le=1)]
    rand_augment_ops: int = Field(ge=0, le=8)
    rand_augment_magnitude: int = Field(ge=0, le=30)
    mixup_alpha: Annotated[float, Field(ge=0, le=10)]
    cutmix_alpha: Annotated[float, Field(ge=0, le=10)]


class EvaluateParams(_Section):
    """``evaluate:`` — the views averaged for each test video."""

    temporal_views: int = Field(ge=1, le=64)
    spatial_crops: Literal[1, 3]


class RuntimeParams(_Section):
    """``runtime:`` — how it runs, not what comes out; no stage lists it, so it re-runs nothing."""

    engine: Engine
    num_workers: Literal["auto"] | Annotated[int, Field(ge=0, le=1024)]
    device: Literal["auto", "cpu", "cuda"]
    devices: Literal["auto"] | Annotated[int, Field(ge=1, le=64)]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    batch_size_per_device: Literal["auto"] | Annotated[int, Field(ge=1)]
    compile: bool
    save_minutes: float = Field(gt=0)
    tensorboard: bool


class Params(_Section):
    """All of params.yaml."""

    data: DataParams
    clip: ClipParams
    cache: CacheParams
    model: ModelParams
    train: TrainParams
    augment: AugmentParams
    evaluate: EvaluateParams
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Self:
        # What is frozen should know something.
        if self.model.weights == "none":
            if self.train.method == "probe":
                raise ValueError(
                    "train.method: probe would fit a head to the features of random weights "
                    "(model.weights: none); use kinetics400, a checkpoint file, or "
                    "train.method: finetune"
                )
            if self.train.frozen_epochs > 0:
                raise ValueError(
                    f"train.frozen_epochs: {self.train.frozen_epochs} would freeze random weights "
                    "(model.weights: none)"
                )
            if self.train.batch_norm == "frozen":
                raise ValueError(
                    "train.batch_norm: frozen would keep the statistics of random weights "
                    "(model.weights: none); use batch or precise"
                )
        # The last stage has num_frames // 4 slow frames of ceil(crop_size / 32) px squared.
        is_single = self.clip.num_frames == 4 and self.train.crop_size == 32
        if is_single and self.train.batch_norm != "frozen":
            raise ValueError(
                "clip.num_frames: 4 and train.crop_size: 32 leave the last layers one value of a "
                "clip, too few for batch norm; use num_frames: 8, a larger crop_size, or "
                "train.batch_norm: frozen"
            )
        if self.train.crop_size > self.clip.short_side:
            raise ValueError(
                f"train.crop_size: {self.train.crop_size} is larger than "
                f"clip.short_side: {self.clip.short_side}"
            )
        return self


def load_params(path: Path) -> Params:
    """Read and check the whole of params.yaml, whichever stage asks: a typo stops before work.

    Raises:
        ParamsError: every faulty parameter by name, with what was found and what is allowed.
    """
    try:
        with read_errors(path, ParamsError):
            text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: is not YAML: {error}") from error
    return parse_params(text, path=path)


def parse_params(text: str, *, path: Path) -> Params:
    """Check the text of a params.yaml; ``path`` is named in errors, and not read.

    Raises:
        ParamsError: as :func:`load_params`.
    """
    try:
        values = yaml.safe_load(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if twice := _keys_given_twice(root):
        raise ParamsError(f"{path}: {twice[0]} is there twice")
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: found {type(values).__name__}, expected sections data: … etc.")
    try:
        return Params.model_validate(values)
    except pydantic.ValidationError as error:
        faults = "; ".join(_describe(fault) for fault in error.errors())
        raise ParamsError(f"{path}: {faults}") from error


def _keys_given_twice(node: yaml.Node | None, section: str = "") -> list[str]:
    """The sections, or the keys of a section, that YAML would read twice, and take the last."""
    if not isinstance(node, yaml.MappingNode):
        return []
    names = [f"{section}{key.value}" for key, _ in node.value]
    twice = [name for position, name in enumerate(names) if name in names[:position]]
    if not section:
        for name, (_, value) in zip(names, node.value, strict=True):
            twice += _keys_given_twice(value, f"{name}.")
    return twice


def _describe(fault: Any) -> str:
    """One pydantic fault as ``train.epochs: found 0, input should be greater than 0``."""
    places = [str(part) for part in fault["loc"][:2]]  # what follows tells items and kinds apart
    name = ".".join(places)
    if fault["type"] == "extra_forbidden":
        return f"{name} is unknown{_suggestion(places)}"
    if fault["type"] == "missing":
        return f"{name} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{name}: {message}" if name else message
    return f"{name}: found {fault['input']!r}, {message[0].lower()}{message[1:]}"


def _suggestion(places: list[str]) -> str:
    known = list(Params.model_fields)
    if len(places) == 2:
        section: Any = Params.model_fields[places[0]].annotation
        known = list(section.model_fields)
    close = difflib.get_close_matches(places[-1], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"
