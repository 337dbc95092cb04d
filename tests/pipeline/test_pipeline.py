"""The whole: what dvc.yaml says is true, and a small run from folder to metrics."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from in_process import run_here
from pipeline_imports import PROJECT, imported_files
from synthetic import make_params, write_params

from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_tables import CLIPS, REJECTED
from slowfast_finetune.evaluation.result_tables import CLASSES, PREDICTIONS
from slowfast_finetune.timelines.timeline_tables import TIMELINE_SCORES, TIMELINES
from slowfast_finetune.training.history import HISTORY

RESULTS = ["models/best.pt", "metrics/train.json", "metrics/metrics.json"]
RESULTS += ["metrics/predictions.csv"]
STAGES = ["index", "cache", "train", "evaluate", "timelines", "report"]


@cache
def dvc_yaml() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())
    return content


# An edit in any of these re-runs no stage that computes the result.
ROOMS_OUTSIDE = ["comparing", "commands", "demo", "doctor", "exporting", "predicting", "report"]
ROOMS_OUTSIDE += ["serving", "pictures", "inspection", "timelines"]


def code_of(deps: list[str]) -> set[str]:
    """The dependencies that are code: rooms (folders of the package) and files."""
    return {dep for dep in deps if dep.startswith(("src/", "stages/"))}


def rooms_and_files(paths: set[str]) -> set[str]:
    """Each path's room, with a slash at its end; files at the top of the package as they are."""
    return {
        "/".join(parts[:3]) + "/" if len(parts := path.split("/")) > 3 else path for path in paths
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_just_the_rooms_that_it_imports(stage: str) -> None:
    """Rooms hold pages, styles and scripts too, so whatever a room reads of its own is covered."""
    imported = imported_files(PROJECT / "stages" / f"{stage}.py")
    assert code_of(dvc_yaml()["stages"][stage]["deps"]) == rooms_and_files(imported)


def test_the_demo_depends_on_just_the_rooms_that_it_imports() -> None:
    stages = yaml.safe_load((PROJECT / "demo" / "dvc.yaml").read_text())["stages"]
    deps = stages["videos"]["deps"]
    assert stages["long_videos"]["deps"] == deps
    script = PROJECT / "src" / "slowfast_finetune" / "demo" / "__main__.py"
    listed = code_of([dep.removeprefix("../") for dep in deps])
    assert listed == rooms_and_files(imported_files(script))


@pytest.mark.parametrize("stage", ["index", "cache", "train", "evaluate"])
def test_what_shows_or_uses_a_model_is_in_no_room_of_the_stages_that_make_it(stage: str) -> None:
    rooms = {Path(dep).name for dep in code_of(dvc_yaml()["stages"][stage]["deps"])}
    assert not rooms & set(ROOMS_OUTSIDE)


@pytest.mark.parametrize("stage", ["evaluate", "timelines", "report"])
def test_what_measures_or_shows_a_model_runs_again_after_training(stage: str) -> None:
    stages = dvc_yaml()["stages"]
    assert "models/best.pt" in stages["train"]["outs"]
    assert "models/best.pt" in stages[stage]["deps"]


def test_dvc_yaml_is_short_enough_to_be_read() -> None:
    assert len((PROJECT / "dvc.yaml").read_text().splitlines()) <= 150


@cache
def sections_read_in(file: str) -> set[str]:
    """The sections that a file reads of what it calls params or _params."""
    return {
        node.attr
        for node in ast.walk(ast.parse((PROJECT / file).read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in Params.model_fields
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr)
        in {"params", "_params"}
    }


@pytest.mark.parametrize("stage", STAGES)
def test_stage_uses_no_section_of_params_that_dvc_does_not_watch(stage: str) -> None:
    """Of what a stage's own modules read, only runtime: may be missing from its params."""
    watched = set(dvc_yaml()["stages"][stage].get("params", []))
    files = imported_files(PROJECT / "stages" / f"{stage}.py")
    used = set().union(*map(sections_read_in, files))
    # evaluate restores missing clips with the clip and cache sections and batches like train;
    # all three already decided what is in clips.csv and best.pt, which it depends on.
    inherited = {"evaluate": {"clip", "cache", "train"}, "train": {"cache"}}.get(stage, set())
    assert used - watched - inherited <= {"runtime"}


def test_no_parameter_has_a_name_that_the_run_cache_drops() -> None:
    """DVC leaves keys named size or nfiles out of its hash and would hand out stale results."""
    for section in Params.model_fields.values():
        assert isinstance(section.annotation, type)
        assert not {"size", "nfiles"} & section.annotation.model_fields.keys()


@pytest.mark.process
def test_index_and_cache_never_import_torch() -> None:
    for stage in ("index", "cache"):
        code = (
            f"import sys; sys.argv = ['{stage}.py']; sys.path.insert(0, 'stages'); "
            f"import {stage}, slowfast_finetune.decoding.sampled_frames; "
            "print([m for m in ('torch', 'dvc.repo') if m in sys.modules])"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == "[]", stage


@pytest.mark.process
def test_timelines_takes_no_torch_where_no_video_has_parts(tmp_path: Path) -> None:
    rows = [ManifestRow(f"{n}.mp4", "a", 0, "test", None, f"{n:032x}") for n in range(3)]
    MANIFEST.write(tmp_path / "data/manifest.csv", rows)
    shutil.copyfile(PROJECT / "params.yaml", tmp_path / "params.yaml")
    code = (
        "import sys; sys.argv = ['timelines.py']; "
        f"sys.path.insert(0, {str(PROJECT / 'stages')!r}); import timelines; timelines.main(); "
        "print([m for m in ('torch', 'av') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == [
        "no test video has labelled parts; no timeline is measured",
        "[]",
    ]
    assert json.loads((tmp_path / "metrics/timelines.json").read_text()) == {}
    assert json.loads((tmp_path / "models/best_timeline.json").read_text()) == {}
    assert TIMELINES.read_rows(tmp_path / "metrics/timelines.csv") == []
    assert TIMELINE_SCORES.read_rows(tmp_path / "metrics/timeline_scores.csv") == []


def test_nothing_in_the_package_imports_stages() -> None:
    for path in (PROJECT / "src").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) stages\b", path.read_text(), re.MULTILINE), path


@pytest.fixture
def project(tmp_path: Path, class_folders: Path, small_params: Callable[..., Params]) -> Path:
    """A git and DVC project like a fresh clone, with small parameters and videos of its own."""
    folder = tmp_path / "project"
    folder.mkdir()
    names = ["stages", "src", "dvc.yaml", ".gitignore", ".dvcignore", "presets", "demo/dvc.yaml"]
    names += [".dvc/config", ".dvc/.gitignore", ".dvc/plots"]
    for name in names:
        source, target = PROJECT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-*"))
        else:
            shutil.copyfile(source, target)
    shutil.copytree(class_folders, folder / "videos")
    params = small_params().model_dump(mode="json")
    params["data"]["videos"] = "videos"
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "."],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "start"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def dvc(project: Path, *words: str) -> str:
    """Run dvc in the project; its output. Stages must find this environment's python."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
        "DVC_NO_ANALYTICS": "1",
    }
    environment.pop("CLIP_STORE", None)
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '([\w/.:]+)'", output)


def set_param(project: Path, section: str, name: str, value: Any) -> None:
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params[section][name] = value
    path.write_text("# a comment\n" + yaml.safe_dump(params, sort_keys=False))


@pytest.mark.slow
def test_pipeline_from_folder_to_metrics_and_what_runs_again(project: Path) -> None:
    output = dvc(project, "repro")
    assert "Warning" not in output, "from a library that a stage imports, say"
    first_run = stages_run(output)
    assert sorted(first_run[:2]) == ["demo/dvc.yaml:long_videos", "demo/dvc.yaml:videos"]
    assert first_run[2:] == STAGES

    manifest = MANIFEST.read_rows(project / "data/manifest.csv")
    clips = CLIPS.read_rows(project / "data/clips.csv")
    rejected = REJECTED.read_rows(project / "data/rejected.csv")
    assert {row.video_path for row in manifest} == {row.video_path for row in clips}
    assert rejected == []
    history = HISTORY.read_rows(project / "metrics/history.csv")
    train = json.loads((project / "metrics/train.json").read_text())
    best = torch.load(project / "models/best.pt", weights_only=True)
    assert best["epoch"] == train["best_epoch"]
    assert best["val_loss"] == min(row.val_loss for row in history)
    assert (project / "logs/train.log").read_text().count("\n") >= len(history)
    metrics = json.loads((project / "metrics/metrics.json").read_text())
    predictions = PREDICTIONS.read_rows(project / "metrics/predictions.csv")
    right = sum(row.actual == row.predicted for row in predictions) / len(predictions)
    assert metrics["top1_accuracy"] == pytest.approx(right, abs=1e-4)
    assert len(predictions) == sum(row.split == "test" for row in manifest)
    per_class = CLASSES.read_rows(project / "metrics/plots/per_class.csv")
    assert [row.class_name for row in per_class] == sorted({row.class_name for row in manifest})

    card = yaml.safe_load((project / "models/README.md").read_text().split("---\n")[1])
    (accuracy, *_) = card["model-index"][0]["results"][0]["metrics"]
    assert accuracy["value"] == metrics["top1_accuracy"]

    # The store lies beside the DVC cache, and git sees no video, tensor or model.
    assert len(list((project / ".dvc/clips").glob("*/*.safetensors"))) == len(clips)
    status = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=project, capture_output=True, text=True, check=True,
    ).stdout.split()[1::2]  # fmt: skip
    assert set(status) <= {
        "dvc.lock",
        "demo/dvc.lock",
        "demo/.gitignore",
        "data/.gitignore",
        "models/.gitignore",
        "logs/.gitignore",
        "metrics/.gitignore",
        "metrics/history.csv",
        "metrics/metrics.json",
        "metrics/plots/confusion.csv",
        "metrics/plots/per_class.csv",
        "metrics/plots/reliability.csv",
        "metrics/timelines.json",
        "metrics/train.json",
    }

    # What a change runs again, and what it does not.
    params = yaml.safe_load((project / "params.yaml").read_text())
    set_param(project, "runtime", "num_workers", 1)
    assert stages_run(dvc(project, "repro")) == ["index"]
    first = {name: (project / name).read_bytes() for name in RESULTS}
    set_param(project, "train", "learning_rate", 0.5)
    # The report shows all parameters; what else depends on the model, a test above tells.
    assert stages_run(dvc(project, "repro", "--dry")) == ["index", "train", "report"]
    set_param(project, "train", "learning_rate", params["train"]["learning_rate"])
    set_param(project, "evaluate", "temporal_views", 1)
    assert stages_run(dvc(project, "repro")) == ["index", "evaluate", "report"]
    set_param(project, "evaluate", "temporal_views", params["evaluate"]["temporal_views"])
    # What an earlier run gave is fetched, also by one that knows nothing of it.
    for name in ("dvc.lock", *RESULTS):
        (project / name).unlink()
    assert stages_run(dvc(project, "repro")) == ["index"]
    assert {name: (project / name).read_bytes() for name in first} == first
    set_param(project, "clip", "padding", "loop")
    assert stages_run(dvc(project, "repro", "cache")) == ["index", "cache"]


# As processes, all stages run in the test above; starting one that imports torch takes seconds.


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_refuses_a_misspelt_parameter_before_any_work(
    name: str, tmp_path: Path
) -> None:
    write_params(tmp_path / "params.yaml", make_params())
    set_param(tmp_path, "train", "learnig_rate", 0.1)
    code, _, errors = run_here(tmp_path, f"stages/{name}.py")
    assert code == 1
    assert errors == (
        "error: params.yaml: train.learnig_rate is unknown; did you mean learning_rate?\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cache", "error: data/manifest.csv: cannot be read: No such file or directory"),
        ("train", "error: data/clips.csv: cannot be read: No such file or directory"),
        ("evaluate", "error: data/clips.csv: cannot be read: No such file or directory"),
        ("timelines", "error: data/manifest.csv: cannot be read: No such file or directory"),
        ("report", "error: metrics/predictions.csv: cannot be read: No such file or directory"),
    ],
)
def test_stage_without_its_input_says_so_in_one_line(
    name: str, message: str, tmp_path: Path
) -> None:
    write_params(tmp_path / "params.yaml", make_params())
    code, _, errors = run_here(tmp_path, f"stages/{name}.py")
    assert code == 1
    assert errors.startswith(message)
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_explains_itself(name: str, tmp_path: Path) -> None:
    code, output, _ = run_here(tmp_path, f"stages/{name}.py", "--help")
    assert code == 0
    assert "--params" in output


@pytest.mark.slow
def test_index_sees_changes_behind_links_and_of_the_weights(project: Path, tmp_path: Path) -> None:
    def repro() -> list[str]:
        return stages_run(dvc(project, "repro", "cache"))

    elsewhere = tmp_path / "elsewhere"
    (project / "videos" / "jump").rename(elsewhere)
    (project / "videos" / "jump").symlink_to(elsewhere)
    (project / "videos" / "wave" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(project / "videos" / "wave" / "pipe.mp4")
    weights = project / "models" / "mine.pt"
    weights.parent.mkdir()
    weights.write_bytes(b"first")
    set_param(project, "model", "weights", "models/mine.pt")
    first = dvc(project, "repro", "cache")
    assert re.search(r"passed over: .*1 broken link \(", first)
    assert re.search(r"passed over: .*1 special file \(", first)
    video = elsewhere / "new.mp4"
    shutil.copyfile(next((project / "videos" / "clap").glob("*.mp4")), video)
    assert repro() == ["index", "cache"]
    video.write_bytes(video.read_bytes() + b"changed")
    assert repro() == ["index", "cache"]
    # Without it, all is as it was at first, but for the weights.
    video.unlink()
    weights.write_bytes(b"other")
    assert repro() == ["index"]
    assert "new.mp4" not in (project / "data/manifest.csv").read_text()
    status = dvc(project, "status", "train")
    assert "data/weights.json" in status


@pytest.mark.slow
def test_queued_experiments_find_videos_that_git_ignores(project: Path) -> None:
    # They run in a temporary folder, as those of `--temp` do.
    dvc(project, "repro", "cache")
    for command in (
        ["git", "rm", "-rq", "--cached", "videos"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "run"],
    ):
        subprocess.run(command, cwd=project, check=False)
    queued = dvc(project, "exp", "run", "--queue", "-S", "data.split_seed=0", "cache")
    dvc(project, "queue", "start")
    name = re.findall(r"Queued experiment '([\w-]+)'", queued)[0]
    output = dvc(project, "queue", "logs", "--follow", name)
    assert "Stage 'cache' didn't change, skipping" in output
