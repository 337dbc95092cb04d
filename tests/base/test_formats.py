"""docs/formats.md says what the files hold."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from pipeline_imports import PROJECT

from slowfast_finetune.base.files import Row
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.clips.clip_store import EntryInfo
from slowfast_finetune.clips.tables import ClipRow, RejectedRow
from slowfast_finetune.decoding.video_facts import VideoFacts
from slowfast_finetune.evaluation.tables import (
    ClassRow,
    ConfusionRow,
    PredictionRow,
    ReliabilityRow,
    ScoreRow,
    SubsetRow,
    ViewRow,
)
from slowfast_finetune.model.checkpoint import FORMAT_VERSION, Checkpoint, Preprocessing
from slowfast_finetune.training.history import EpochRow

TEXT = (PROJECT / "docs" / "formats.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/formats.md has no section {title}"
    return found.group(1)


def first_cells(title: str) -> list[str]:
    """Names in the first column of a section's table, in order."""
    rows = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def words(title: str) -> list[str]:
    return re.findall(r"`(\w+)`", section(title))


@pytest.mark.parametrize(
    ("title", "row_type"),
    [("data/manifest.csv", ManifestRow), ("metrics/history.csv", EpochRow)],
)
def test_tables_list_their_columns_in_order(title: str, row_type: type[Row]) -> None:
    documented = first_cells(title)
    assert documented == list(row_type.model_fields)


def test_clips_table_is_the_manifest_and_its_own_columns() -> None:
    own = first_cells("data/clips.csv")
    assert [*ManifestRow.model_fields, *own] == list(ClipRow.model_fields)


@pytest.mark.parametrize(
    ("title", "row_type"),
    [
        ("data/rejected.csv", RejectedRow),
        ("metrics/predictions.csv", PredictionRow),
        ("metrics/views.csv", ViewRow),
        ("metrics/scores.csv", ScoreRow),
        ("metrics/subsets.csv", SubsetRow),
        ("metrics/plots/per_class.csv", ClassRow),
        ("metrics/plots/confusion.csv", ConfusionRow),
        ("metrics/plots/reliability.csv", ReliabilityRow),
    ],
)
def test_short_tables_name_every_column(title: str, row_type: type[Row]) -> None:
    assert set(row_type.model_fields) <= set(words(title))


def test_every_reason_code_is_documented_and_no_other() -> None:
    code = "\n".join(path.read_text() for path in (PROJECT / "src").rglob("*.py"))
    folder_only = {"too_small"}  # of VideoFolderDataset, which writes no table
    used = set(re.findall(r"(?:VideoError|Refusal)\(\s*\"(\w+)\"", code)) - folder_only
    assert used == set(first_cells("data/rejected.csv"))


def test_entry_facts_are_documented() -> None:
    names = {field.name for field in dataclasses.fields(EntryInfo)}
    assert names <= set(words("The clip store"))
    assert set(VideoFacts.model_fields) <= set(first_cells("data/clips.csv"))


def test_checkpoint_keys_are_documented() -> None:
    keys = [field.name for field in dataclasses.fields(Checkpoint)]
    listed = first_cells("models/best.pt")
    assert listed == [*keys, "format_version"]
    assert {field.name for field in dataclasses.fields(Preprocessing)} <= set(
        words("models/best.pt")
    )
    assert f"format version {FORMAT_VERSION}" in section("models/best.pt")


def test_readme_names_only_files_that_exist_or_are_made() -> None:
    readme = (PROJECT / "README.md").read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme):
        assert (PROJECT / link).exists(), link
    made = (PROJECT / "dvc.yaml").read_text()
    for name in re.findall(r"`((?:data|metrics|models)/[\w./]+\.\w+)`", readme):
        assert name in made, name
    assert Path(PROJECT / "LICENSE").read_text().lstrip().startswith("Apache License")
