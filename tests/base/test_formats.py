"""docs/formats.md says what the files hold."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from pipeline_imports import PROJECT

from slowfast_finetune.base.manifest_table import MANIFEST
from slowfast_finetune.base.tables import Column, Table
from slowfast_finetune.clips.clip_store import EntryInfo
from slowfast_finetune.clips.clip_tables import CLIPS, REJECTED, RejectedRow
from slowfast_finetune.comparing.crossval_files import CURVE
from slowfast_finetune.decoding.video_facts import VideoFacts
from slowfast_finetune.evaluation.result_tables import (
    CLASSES,
    CONFUSION,
    PREDICTIONS,
    RELIABILITY,
    SCORES,
    SUBSETS,
    VIEWS,
)
from slowfast_finetune.indexing.label_table import LABELS
from slowfast_finetune.model.checkpoint import FORMAT_VERSION, Checkpoint, Preprocessing
from slowfast_finetune.timelines.timeline_tables import TIMELINE_SCORES, TIMELINES
from slowfast_finetune.training.history import HISTORY

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


TABLES = (
    LABELS,
    MANIFEST,
    CLIPS,
    REJECTED,
    HISTORY,
    PREDICTIONS,
    VIEWS,
    SCORES,
    SUBSETS,
    CLASSES,
    CONFUSION,
    RELIABILITY,
    CURVE,
    TIMELINES,
    TIMELINE_SCORES,
)


def documented(column: Column, *, name: str) -> str:
    """The line of a column in docs/formats.md."""
    kinds = {str: "text", int: "integer", float: "number", bool: "boolean"}
    choices = ", ".join(f"`{choice}`" for choice in column.choices)
    kind = column.unit or choices or kinds[column.kind]
    return f"| `{name}` | {kind}{' or none' if column.nullable else ''} | {column.meaning} |"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.file)
def test_a_table_is_documented_as_it_is_described(table: Table[Any]) -> None:
    lines = ["| column | type | meaning |", "| --- | --- | --- |"]
    lines += [documented(column, name=column.name) for column in table.columns]
    if table.per_class is not None:
        lines.append(documented(table.per_class, name=f"{table.per_class.name}(<class>)"))
    expected = "\n".join(lines)
    assert f"\n\n{expected}\n\n" in section(table.file) + "\n", f"docs/formats.md needs\n{expected}"
    assert f"Version {table.version}." in section(table.file)


def test_every_table_that_is_documented_is_described() -> None:
    """And no other: what is a table of columns in the docs is one of ours."""
    titles = re.findall(r"^## (\S+\.csv)$", TEXT, re.MULTILINE)
    assert sorted(titles) == sorted(table.file for table in TABLES)


def test_every_reason_code_is_documented_and_no_other() -> None:
    code = "\n".join(path.read_text() for path in (PROJECT / "src").rglob("*.py"))
    folder_only = {"too_small"}  # of VideoFolderDataset, which writes no table
    used = set(re.findall(r"VideoError\(\s*\"(\w+)\"", code)) - folder_only
    assert used == set(first_cells("data/rejected.csv")) - set(RejectedRow._fields)


def test_entry_facts_are_documented() -> None:
    assert set(EntryInfo.model_fields) <= set(words("The clip store"))
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
