"""Where the clip store lies, and where files named in params.yaml lie."""

import os
from pathlib import Path

from slowfast_finetune.base.errors import WeightsError


def store_root(project: Path) -> Path:
    """Where the store lies: ``$CLIP_STORE``, else ``clips`` beside the DVC cache.

    Beside the cache, it is shared by what shares the cache: temporary and queued experiments,
    and clones that are given one cache folder. Outside a DVC project it is ``.clips``.
    """
    chosen = os.environ.get("CLIP_STORE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    cache = dvc_cache(project)
    return project / ".clips" if cache is None else cache.parent / "clips"


def dvc_cache(project: Path) -> Path | None:
    """The folder of DVC's cache; None outside a DVC project."""
    root = _dvc_root(project)
    if root is None:
        return None
    from dvc.config import Config

    folder = str(root / ".dvc")
    return Path(Config(dvc_dir=folder)["cache"].get("dir") or f"{folder}/cache")


def locate(path: str, *, project: Path) -> Path:
    """The file or folder that params.yaml or a table names; ``~/`` is the home folder.

    A relative path starts from the project. ``dvc exp run --temp`` and ``--queue`` run in a copy of
    the project that lacks what neither git nor DVC tracks, such as the videos: what is missing
    there is looked up in the project itself.
    """
    expanded = Path(path).expanduser() if path.split("/")[0] == "~" else Path(path)
    here = project / expanded
    original = None if expanded.is_absolute() else _original_project(project)
    if original is None or here.exists() or not (original / expanded).exists():
        return here
    return original / expanded


def locate_weights_file(path: str, *, project: Path) -> Path:
    """The file that ``model.weights`` names.

    Raises:
        WeightsError: there is no such file.
    """
    found = locate(path, project=project)
    if not found.is_file():
        raise WeightsError(
            f"model.weights: {path} is not a file; "
            "give kinetics400, none, a checkpoint file, or an http(s) address"
        )
    return found


def written_path(path: Path, *, project: Path) -> str:
    """A path as tables hold it: relative where it lies in the project, else absolute.

    A temporary experiment writes the same as the project, so that its tables are equal. Links stay
    as they are.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links
    for base in (Path(os.path.abspath(project)), _original_project(project)):  # noqa: PTH100
        if base is not None and absolute.is_relative_to(base):
            relative = absolute.relative_to(base).as_posix()
            return f"./{relative}" if relative.split("/")[0] == "~" else relative
    return str(absolute)


def _original_project(project: Path) -> Path | None:
    """The project whose temporary experiment runs in ``project``; None if none does."""
    folder = Path(os.path.abspath(project))  # noqa: PTH100 - links stay as they are
    for parent in folder.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps") and (copy := _dvc_root(folder)):
            return parent.parents[2] / folder.relative_to(copy)
    return None


def _dvc_root(project: Path) -> Path | None:
    return next(
        (folder for folder in (project, *project.parents) if (folder / ".dvc").is_dir()), None
    )
