"""One command switches params.yaml to a preset and points it at a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pipeline_imports import PROJECT
from ruamel.yaml import YAML

from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.base.params import load_params
from slowfast_finetune.presets import apply_preset, list_presets

NAMES = [
    "demo",
    "demo_long",
    "probe",
    "scratch",
    "slowfast_16x8_r101_50_50",
    "slowfast_r101",
    "slowfast_r50",
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copytree(PROJECT / "presets", folder / "presets")
    shutil.copyfile(PROJECT / "params.yaml", folder / "params.yaml")
    (folder / ".gitignore").write_text("/models/\n")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def test_presets_are_listed_with_what_they_are(project: Path) -> None:
    listed = dict(list_presets(project))
    assert list(listed) == NAMES
    assert all(len(summary) > 20 and not summary.startswith("#") for summary in listed.values())


@pytest.mark.parametrize("name", NAMES)
def test_preset_becomes_params_with_the_folder_and_the_comments(
    name: str, project: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "my videos, ü"
    videos.mkdir()
    apply_preset(project, name, videos=videos)
    params = load_params(project / "params.yaml")
    assert params.data.videos == str(videos)
    assert params.data.group_pattern is None
    written = (project / "params.yaml").read_text().splitlines()
    preset = (project / "presets" / f"{name}.yaml").read_text().splitlines()
    changed = {new.split(":")[0] for old, new in zip(preset, written, strict=True) if old != new}
    assert changed <= {"  videos", "  group_pattern"}


def test_folder_inside_the_project_is_relative_and_ignored_by_git(project: Path) -> None:
    (project / "clips of mine").mkdir()
    done = apply_preset(project, "demo", videos=project / "clips of mine")
    assert load_params(project / "params.yaml").data.videos == "clips of mine"
    assert "/clips of mine/" in (project / ".gitignore").read_text().splitlines()
    assert "added" in done
    (project / "clips of mine/a.mp4").write_text("")
    status = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=project, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "a.mp4" not in status.stdout
    assert "added" not in apply_preset(project, "demo", videos=project / "clips of mine")


@pytest.mark.parametrize(
    "name",
    ["yes", "no", "12:30:00", "~a", "~", "data [1]", "tab\tx", "a\\b", "-x", "#h", "!n", ":x",
     "q?*", "null", "1e3", "${x}", "a: b", "it's", 'a"b', " lead"],
)  # fmt: skip
def test_odd_folder_names_survive_yaml_and_git(name: str, project: Path) -> None:
    (project / name).mkdir()
    (project / name / "a.mp4").touch()
    apply_preset(project, "demo", videos=project / name)
    text = (project / "params.yaml").read_text()
    # PyYAML reads YAML 1.1, DVC's ruamel YAML 1.2.
    for read in (yaml.safe_load(text), YAML(typ="safe").load(text)):
        assert (project / read["data"]["videos"]).samefile(project / name)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=project, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    assert f"{name}/a.mp4" not in listed
    assert "params.yaml" in listed


def test_a_folder_that_cannot_be_written_down_changes_nothing(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    for name in ("a\nb", os.fsdecode(b"x\xff")):
        (project / name).mkdir()
        with pytest.raises(ParamsError, match="line break or is not UTF-8"):
            apply_preset(project, "demo", videos=project / name)
    assert (project / "params.yaml").read_text() == before


def test_edited_params_are_kept(project: Path) -> None:
    edited = "# mine\n" + (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(edited)
    assert "params.yaml.bak" in apply_preset(project, "slowfast_r50", videos=None)
    assert (project / "params.yaml.bak").read_text() == edited
    (project / "params.yaml.bak").unlink()
    apply_preset(project, "demo", videos=None)
    assert not (project / "params.yaml.bak").exists(), "an unedited preset needs no copy"


def test_groups_are_asked_for_where_there_are_none(project: Path) -> None:
    videos = project / "mine"
    videos.mkdir()
    asked = "there is no groups.csv in it and data.group_pattern is not set: "
    told = apply_preset(project, "demo", videos=videos)
    assert asked in told
    assert "make them a group" in told
    (videos / "groups.csv").write_text("video_path,group\n")
    told = apply_preset(project, "demo", videos=videos)
    assert "groups are those of mine/groups.csv" in told
    assert "group_pattern" not in told


def test_unknown_preset_and_missing_folder_change_nothing(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    with pytest.raises(ParamsError, match="no preset 'slowfast'; there are demo, "):
        apply_preset(project, "slowfast", videos=None)
    with pytest.raises(ParamsError, match="nowhere is not a folder"):
        apply_preset(project, "demo", videos=project / "nowhere")
    assert (project / "params.yaml").read_text() == before


def test_pretrained_presets_keep_the_published_contract() -> None:
    for name, num_frames in [
        ("probe", 32),
        ("slowfast_r50", 32),
        ("slowfast_r101", 32),
        ("slowfast_16x8_r101_50_50", 64),
    ]:
        values = yaml.safe_load((PROJECT / "presets" / f"{name}.yaml").read_text())
        assert values["model"]["name"] == {"probe": "slowfast_r50"}.get(name, name)
        assert values["model"]["weights"] == "kinetics400"
        clip = values["clip"]
        assert (clip["num_frames"], clip["sample_fps"], clip["short_side"]) == (num_frames, 15, 256)
        assert values["train"]["crop_size"] == 224
        assert values["data"]["group_pattern"] is None


@pytest.mark.process
def test_help_answers_without_loading_what_it_does_not_need() -> None:
    code = (
        "import sys; sys.argv = ['slowfast', '--help']\n"
        "from slowfast_finetune.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'av', 'pydantic', 'yaml', 'dvc'}\n"
        "print(heavy & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip().endswith("set()")
