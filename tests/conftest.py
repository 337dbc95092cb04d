"""What several test files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import synthetic

from slowfast_finetune.base.params import Params


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of six mp4 files, 64×48, ten frames at 15 fps. Shared: change nothing in it."""
    root = tmp_path_factory.mktemp("class_folders") / "videos"
    return synthetic.write_class_folders(root, {"clap": 6, "jump": 6, "wave": 6})


@pytest.fixture
def small_params() -> Callable[..., Params]:
    """A maker of small valid parameters: ``small_params(train={"epochs": 3})`` changes some."""
    return synthetic.make_params


@pytest.fixture
def clip_store_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty clip store, which ``CLIP_STORE`` points at."""
    root = tmp_path / "clip_store"
    monkeypatch.setenv("CLIP_STORE", str(root))
    return root
