"""Switch params.yaml to one of the complete files in presets/, comments and all."""

import io
import os
import re
import shutil
import subprocess
from pathlib import Path

from slowfast_finetune.base.console import printable
from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.params import parse_params
from slowfast_finetune.base.store_location import locate, written_path
from slowfast_finetune.indexing.folder_walk import GROUPS_FILE

PARAMS = "params.yaml"


def list_presets(project: Path) -> list[tuple[str, str]]:
    """Name and first comment line of each preset.

    Raises:
        ParamsError: there is no presets folder here.
    """
    paths = sorted((project / "presets").glob("*.yaml"))
    if not paths:
        raise ParamsError(f"{project}: holds no presets/*.yaml; run this in the project's folder")
    texts = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    return [(name, text.split("\n", 1)[0].removeprefix("# ")) for name, text in texts.items()]


def apply_preset(project: Path, name: str, *, videos: Path | None) -> str:
    """Make a preset the params.yaml, with ``data.videos`` set if given.

    An edited params.yaml is kept as params.yaml.bak. A folder inside the project is added to
    .gitignore, for videos must never be committed.

    Returns:
        What was done, as text.

    Raises:
        ParamsError: no such preset, or no such folder.
    """
    known = [preset for preset, _ in list_presets(project)]
    if name not in known:
        raise ParamsError(f"no preset {name!r}; there are {', '.join(known)}")
    text = (project / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    done = [f"{PARAMS} is now presets/{name}.yaml"]
    if videos is not None:
        # Links stay links, and a folder may be called ~a.
        folder = Path(os.path.abspath(locate(str(videos), project=project)))  # noqa: PTH100
        if not folder.is_dir():
            raise ParamsError(f"--videos: {videos} is not a folder")
        if project.resolve().is_relative_to(folder.resolve()):
            raise ParamsError(f"--videos: {videos} holds this project; give a folder of classes")
        written = written_path(folder, project=project)
        if re.search(r"[\r\n\ud800-\udfff]", written):
            raise ParamsError(
                f"--videos: {printable(written)}: holds a line break or is not UTF-8; rename it"
            )
        text = _with_videos(text, written)
        if (folder / GROUPS_FILE).exists():
            done.append(f"groups are those of {written}/{GROUPS_FILE}")
        elif parse_params(text, path=Path(PARAMS)).data.group_pattern is None:
            done.append(
                f"there is no {GROUPS_FILE} in it and data.group_pattern is not set: if one "
                "person, camera or recording is in several videos, write or set one of these to "
                "make them a group, or the measured accuracy will be too high"
            )
        done[0] += f", pointing at {written}"
    parse_params(text, path=Path(PARAMS))  # before anything is changed
    if videos is not None:
        done += _ignore_in_git(written, project)
    done += _keep_edits(project)
    write_text(project / PARAMS, text)
    return "\n".join(done)


def _with_videos(text: str, videos: str) -> str:
    """Set data.videos and leave out the demo's own group pattern; all else stays as written."""
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    yaml = YAML()
    yaml.width = 4096
    # By default a bare "key:" stands for None; the word is clearer to people.
    yaml.representer.add_representer(
        type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    document = yaml.load(text)
    if document["data"]["videos"] != videos:
        document["data"]["group_pattern"] = None
        # Quoted where one of YAML's versions would read a bare word as something else (yes, 1:30).
        is_plain = re.fullmatch(r"[\w./-]*/[\w./-]*", videos, re.ASCII)
        document["data"]["videos"] = videos if is_plain else DoubleQuotedScalarString(videos)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _keep_edits(project: Path) -> list[str]:
    current = project / PARAMS
    presets = (path.read_bytes() for path in (project / "presets").glob("*.yaml"))
    if not current.exists() or current.read_bytes() in presets:
        return []
    shutil.copyfile(current, project / f"{PARAMS}.bak")
    return [f"the {PARAMS} before is kept as {PARAMS}.bak"]


def _ignore_in_git(folder: str, project: Path) -> list[str]:
    """Add a folder inside the project to .gitignore, unless git ignores it already."""
    if Path(folder).is_absolute():
        return []
    check = subprocess.run(
        ["git", "check-ignore", "--quiet", "--no-index", f"./{folder}/x"],
        cwd=project,
        check=False,
        capture_output=True,
    )
    if check.returncode != 1:  # 0: ignored; 128: not a git repository
        return []
    ignore = project / ".gitignore"
    old = ignore.read_text(encoding="utf-8") if ignore.exists() else ""
    pattern = "/" + re.sub(r"([\\\[\]*?])", r"\\\1", folder.removeprefix("./")) + "/"
    write_text(ignore, f"{old.rstrip()}\n{pattern}\n".lstrip())
    return [f"added {pattern} to .gitignore, so that videos are not committed"]
