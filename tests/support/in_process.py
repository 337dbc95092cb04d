"""Run a script in the tests' own process, which has imported what it needs: that takes seconds."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from pipeline_imports import PROJECT

COMMAND = "src/slowfast_finetune/cli.py"  # slowfast


class Done(NamedTuple):
    """The end of a script, named as by subprocess.CompletedProcess."""

    returncode: int
    stdout: str
    stderr: str


def run_here(folder: Path, script: str, *arguments: str) -> Done:
    """Run a script of the project in a folder, whose clip store is ``store``."""
    output, errors = io.StringIO(), io.StringIO()
    code = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        patch.chdir(folder)
        patch.setenv("CLIP_STORE", str(folder / "store"))
        patch.setenv("COLUMNS", "100")
        patch.setattr(sys, "argv", [script, *arguments])
        try:
            runpy.run_path(str(PROJECT / script), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, output.getvalue(), errors.getvalue())
