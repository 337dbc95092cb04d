"""Whether the test videos are those that the last run was tested on."""

import csv
from collections.abc import Sequence
from pathlib import Path

from slowfast_finetune.base.manifest_table import ManifestRow, case_name, case_noun

LAST_TESTED = "metrics/predictions.csv"
TIMES = ("start_seconds", "end_seconds")


def changed_test_set(rows: Sequence[ManifestRow], *, project: Path) -> str:
    """Say how the test videos differ from those of the last run.

    Empty if they do not, or if none is the same, as for the next fold or another set of videos.
    The tables of later stages lie there until these run again. DVC need not know that they are
    read: nothing is written that depends on them.
    """
    tested = _cases(project / LAST_TESTED)
    refused = _cases(project / "data/rejected.csv")  # of them there are no predictions
    now = {row.case for row in rows if row.split == "test"}
    new, gone = now - tested - refused, tested - now
    if not tested & now or not (new or gone):
        return ""
    noun = case_noun(rows)
    return (
        f"WARNING: {len(new)} of {len(now)} test {noun}s are new since {LAST_TESTED}, and "
        f"{len(gone)} of its {len(tested)} are not tested now: accuracies before and after cannot "
        "be compared (`slowfast compare` tells)"
    )


def _cases(table: Path) -> set[str]:
    """The names of the cases of a table, none if it cannot be read."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return {
                case_name(row["video_path"], *(_time(row.get(name)) for name in TIMES))
                for row in csv.DictReader(file)
            }
    except (OSError, ValueError, KeyError, csv.Error):
        return set()


def _time(cell: str | None) -> float | None:
    return float(cell) if cell else None
