"""docs/sharing.md: models go from one clone to another through a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline_imports import PROJECT

STAGE: dict[str, Any] = {
    "stages": {
        "train": {
            "cmd": f'{sys.executable} -c "'
            "from pathlib import Path; m = Path('models'); m.mkdir(exist_ok=True); "
            "text = Path('seed.txt').read_text(); "
            "[(m / n).write_text(n + text) for n in ('best.pt', 'best_model.pt2', 'README.md')]\"",
            "deps": ["seed.txt"],
            "outs": ["models/best.pt", "models/best_model.pt2", "models/README.md"],
        }
    },
    "artifacts": {
        "best": {"path": "models/best.pt", "type": "model"},
    },
}


def run(folder: Path, *words: str) -> str:
    environment = os.environ | {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site_cache"),
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    program = [sys.executable, "-m", "dvc"] if words[0] == "dvc" else ["git"]
    who = [] if words[0] == "dvc" else ["-c", "user.name=t", "-c", "user.email=t@t"]
    result = subprocess.run(
        [*program, *who, *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.process
def test_models_travel_through_a_remote_and_earlier_ones_can_be_had(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other clone"
    one.mkdir()
    run(one, "git", "init", "--quiet")
    # What `dvc init` and `dvc remote add --default storage FOLDER` write.
    (one / ".dvc").mkdir()
    shared = tmp_path / "shared"
    config = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {shared}\n"
    (one / ".dvc" / "config").write_text(config)
    (one / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (one / ".gitignore").write_text("/models/\n")  # as in this project
    (one / "dvc.yaml").write_text(yaml.safe_dump(STAGE))
    for seed in ("1", "2"):
        (one / "seed.txt").write_text(seed)
        run(one, "dvc", "repro")
        run(one, "git", "add", ".")
        run(one, "git", "commit", "--quiet", "-m", f"seed {seed}")
        # A registry sees annotated tags only.
        run(one, "git", "tag", "--annotate", "-m", "good", f"best@v{seed}.0.0")
    run(one, "dvc", "push", "--all-commits")

    run(tmp_path, "git", "clone", "--quiet", str(one), str(other))
    assert not (other / "models").exists(), "git holds no model"
    run(other, "dvc", "pull", "models/best.pt", "models/README.md")
    assert (other / "models/best.pt").read_text() == "best.pt2"
    assert (other / "models/README.md").read_text() == "README.md2"
    assert not (other / "models/best_model.pt2").exists()

    run(other, "dvc", "get", ".", "models/best.pt", "--rev", "HEAD~1", "--out", "earlier.pt")
    assert (other / "earlier.pt").read_text() == "best.pt1"
    run(other, "dvc", "artifacts", "get", ".", "best", "--rev", "v1.0.0", "--out", "first.pt")
    assert (other / "first.pt").read_text() == "best.pt1"


def test_everything_that_is_to_be_shared_is_an_output_that_dvc_caches() -> None:
    content = yaml.safe_load((PROJECT / "dvc.yaml").read_text())
    # An output without a cache is a dict here, and is not pushed.
    outs = [out for stage in content["stages"].values() for out in stage.get("outs", [])]
    shared = {"models/best.pt", "models/best_timeline.json"}
    shared |= {"models/best_model.pt2", "models/README.md"}
    assert shared <= {out for out in outs if isinstance(out, str)}
    assert {artifact["path"] for artifact in content["artifacts"].values()} <= shared
    assert all(artifact["type"] == "model" for artifact in content["artifacts"].values())
    text = (PROJECT / "docs" / "sharing.md").read_text()
    assert all(path in text for path in shared)
