"""What the stages ask for: parameters of a preset, and manifest rows."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from slowfast_finetune.base.hash_memo import hash_files
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.params import Params

PROJECT = Path(__file__).resolve().parents[1]
DVC = (sys.executable, "-m", "dvc")


def demo_params(**sections: dict[str, Any]) -> Params:
    """The demo preset with some values changed: ``demo_params(clip={…})``.

    Never the params.yaml of the checkout: figures must not depend on what somebody set there.
    """
    return Params.model_validate(changed_values(**sections))


def changed_values(**sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """As :func:`demo_params`, unchecked, to be written to another params.yaml."""
    values = values_of_preset("demo")
    for name, changes in sections.items():
        values[name] = {**values[name], **changes}
    # Nothing is trained here; a crop that fits the clip keeps the parameters valid.
    values["train"]["crop_size"] = values["clip"]["short_side"]
    return values


def values_of_preset(name: str) -> dict[str, dict[str, Any]]:
    """A preset's values, unchecked."""
    text = (PROJECT / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    values: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return values


def new_project(folder: Path, values: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Copy what ``dvc repro`` needs into an empty folder; the environment to run it in.

    Args:
        folder: the project, in which everything stays, the clip store too.
        values: of params.yaml.
    """
    compiled = shutil.ignore_patterns("__pycache__")
    for name in ("src", "stages"):
        shutil.copytree(PROJECT / name, folder / name, ignore=compiled)
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(PROJECT / name, folder)
    for name in ("videos", "long_videos"):  # dvc.yaml names them
        (folder / "demo" / name).mkdir(parents=True)
    text = yaml.safe_dump(dict(values), sort_keys=False)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "src"),
        "CLIP_STORE": str(folder / "clips"),
    }


def manifest_of(videos: Sequence[Path], *, class_names: Sequence[str]) -> list[ManifestRow]:
    """Rows for the cache stage, all in train."""
    labels = {name: label for label, name in enumerate(sorted(set(class_names)))}
    with quiet():
        hashes = hash_files(videos)
    return [
        ManifestRow(
            video_path=str(video.absolute()),
            class_name=class_name,
            label=labels[class_name],
            split="train",
            group=None,
            content_hash=content_hash,
        )
        for video, class_name, content_hash in zip(videos, class_names, hashes, strict=True)
    ]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the stages' progress off the screen."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
