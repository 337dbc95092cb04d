"""Where the clip store of a project lies."""

from __future__ import annotations

import os
from pathlib import Path


def store_root(project: Path) -> Path:
    """Where the store lies: ``$CLIP_STORE``, else ``clips`` beside the DVC cache.

    Beside the cache, it is shared by what shares the cache: temporary and queued experiments,
    and clones that are given one cache folder. Outside a DVC project it is ``.clips``.
    """
    chosen = os.environ.get("CLIP_STORE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    dvc_folder = next(
        (folder / ".dvc" for folder in (project, *project.parents) if (folder / ".dvc").is_dir()),
        None,
    )
    if dvc_folder is None:
        return project / ".clips"
    from dvc.config import Config

    cache = Config(dvc_dir=str(dvc_folder))["cache"].get("dir") or str(dvc_folder / "cache")
    return Path(cache).parent / "clips"
