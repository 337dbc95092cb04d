"""Format a diagnosis as text for the terminal and as JSON for scripts."""

import dataclasses
import json
import shutil
import textwrap
from collections import Counter

from slowfast_finetune.base.console import count, printable, readable_bytes
from slowfast_finetune.base.manifest_table import SPLITS, HasTimes, case_noun
from slowfast_finetune.doctor.diagnosis import ClassFacts, Diagnosis
from slowfast_finetune.inspection.findings import LEVELS, Finding
from slowfast_finetune.inspection.readable import duration, percent

MAX_CLASSES = 40  # in the terminal; the page shows all
NAME_WIDTH = 28
MARGIN = " " * 9


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """Format the table of classes, the findings and the costs."""
    width = min(110, max(60, shutil.get_terminal_size((100, 20)).columns))
    lines = [overview_line(diagnosis), "", *_table(diagnosis.classes), ""]
    for note in diagnosis.notes:
        lines += textwrap.wrap(printable(note), width, subsequent_indent="  ")
    for finding in diagnosis.findings:
        lines += _finding(finding, width)
    return "\n".join([*lines, "", *costs(diagnosis), count_by_level(diagnosis)])


def overview_line(diagnosis: Diagnosis) -> str:
    """Summarise in one line: number of videos, classes, and videos per split."""
    in_split = Counter(video.split for video in diagnosis.videos)
    splits = ", ".join(f"{in_split[split]:,} {split}" for split in SPLITS)
    cases: list[HasTimes] = [*diagnosis.videos, *diagnosis.rejected]
    classes = count(len(diagnosis.classes), "class", "classes")
    total = count(len(cases), case_noun(cases))
    return f"{total} of {classes} in {printable(diagnosis.source)}: {splits}"


def _table(facts: list[ClassFacts]) -> list[str]:
    shown = facts[:MAX_CLASSES]
    names = [
        textwrap.shorten(printable(line.class_name), NAME_WIDTH, placeholder="…") for line in shown
    ]
    width = max(len(name) for name in ["class", *names])
    lines = [
        f"{'class':{width}}  {'train':>5} {'val':>4} {'test':>5}  {'seconds':>15}  {'pixels':>14}"
        f"  {'frames/s':>9}   sound  padded  rejected"
    ]
    for name, line in zip(names, shown, strict=True):
        train, val, test = line.splits
        shortest, median, longest = line.seconds
        seconds = f"{median:.3g} ({shortest:.3g}–{longest:.3g})"
        lines.append(
            f"{name:{width}}  {train:5} {val:4} {test:5}  {seconds:>15}  {_several(line.sizes):>14}"
            f"  {_several(line.rates):>9}  {percent(line.sound):>6}  {percent(line.padded):>6}  "
            f"{line.num_rejected or '–':>8}"
        )
    if len(facts) > MAX_CLASSES:
        lines.append(f"… and {len(facts) - MAX_CLASSES} more classes; the page shows all")
    return lines


def _several(most_frequent: tuple[str, int]) -> str:
    value, different = most_frequent
    return value if different < 2 else f"{value} +{different - 1}"


def _finding(finding: Finding, width: int) -> list[str]:
    level = finding.level.upper() if finding.level == "problem" else finding.level
    title = textwrap.wrap(printable(finding.title), width - len(MARGIN))
    detail = textwrap.wrap(printable(finding.detail), width - len(MARGIN))
    return [f"{level:{len(MARGIN)}}{title[0]}", *(MARGIN + line for line in [*title[1:], *detail])]


def costs(diagnosis: Diagnosis) -> list[str]:
    """State the size of the clip store and the time of an epoch."""
    seconds = diagnosis.epoch_seconds
    time = "unknown" if seconds is None else f"about {duration(seconds)}"
    return [
        f"clip store: {readable_bytes(diagnosis.cache_bytes)} for these videos",
        f"an epoch:   {time} ({diagnosis.epoch_basis})",
    ]


def count_by_level(diagnosis: Diagnosis) -> str:
    """State the number of problems, warnings and notes."""
    counts = Counter(finding.level for finding in diagnosis.findings)
    if not counts:
        return "no findings"
    return ", ".join(count(counts[level], level) for level in LEVELS if counts[level])


def diagnosis_json(diagnosis: Diagnosis) -> str:
    """Format everything but the pictures as JSON."""
    values = {
        "source": diagnosis.source,
        "num_videos": len(diagnosis.videos),
        "has_problems": diagnosis.has("problem"),
        "findings": [dataclasses.asdict(finding) for finding in diagnosis.findings],
        "notes": diagnosis.notes,
        "classes": [dataclasses.asdict(line) for line in diagnosis.classes],
        "rejected": [video._asdict() for video in diagnosis.rejected],
        "cache_bytes": diagnosis.cache_bytes,
        "epoch_seconds": diagnosis.epoch_seconds,
        "epoch_basis": diagnosis.epoch_basis,
    }
    return json.dumps(values, indent=2, ensure_ascii=False)
