"""The notebook runs from its first cell to its last."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
from pipeline_imports import PROJECT, SOURCE

PEOPLE = 8  # half of the notebook's: each does three actions, and drawing and training take longest


@pytest.mark.process
@pytest.mark.extended
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_notebook_goes_from_a_folder_to_a_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = importlib.import_module("nbformat")
    nbclient = importlib.import_module("nbclient")
    paths = [str(SOURCE), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(PROJECT / "docs" / "notebook.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "kept without outputs"
    (drawing,) = [cell for cell in notebook.cells if '"--people",' in cell.source]
    assert '"16",' in drawing.source
    drawing.source = drawing.source.replace('"16",', f'"{PEOPLE}",')
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(PROJECT / "docs")}},
    ).execute()
    said = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "evaluate done" in said
    *_, counted, compared = said.strip().splitlines()
    right, of, rest = counted.partition(" of ")
    assert (of, rest) == (" of ", "12 test videos as their folder says"), said
    # These videos are as long as a clip, so predict and evaluate see the same frames.
    share = f"{int(right) / 12:.3f}"
    assert compared == f"evaluate measured {share}, which is {share}"
