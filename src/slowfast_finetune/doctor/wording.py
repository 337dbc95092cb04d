"""A diagnosis as text for the terminal, and as JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections import Counter

from slowfast_finetune.base.console import printable, readable_bytes
from slowfast_finetune.base.manifest_table import SPLITS
from slowfast_finetune.base.params import ClipParams
from slowfast_finetune.doctor.class_facts import ClassFacts, class_facts, totals
from slowfast_finetune.doctor.costs import readable_seconds
from slowfast_finetune.doctor.doctor import Diagnosis
from slowfast_finetune.inspection.findings import LEVELS, Finding, counted

MOST_CLASSES = 40  # in the terminal; the page has them all
NAME_WIDTH = 28
MARGIN = " " * 9


def as_text(diagnosis: Diagnosis, clip: ClipParams) -> str:
    """The table of classes, the findings and the costs."""
    width = min(110, max(60, shutil.get_terminal_size((100, 20)).columns))
    facts = class_facts(diagnosis.looks, diagnosis.refused, num_frames=clip.num_frames)
    lines = [headline(diagnosis, facts), "", *_table(facts), ""]
    for note in diagnosis.notes:
        lines += textwrap.wrap(printable(note), width, subsequent_indent="  ")
    for finding in diagnosis.findings:
        lines += _finding(finding, width)
    return "\n".join([*lines, "", *costs(diagnosis), verdict(diagnosis)])


def headline(diagnosis: Diagnosis, facts: list[ClassFacts]) -> str:
    """How much of what was looked at."""
    splits = ", ".join(f"{n:,} {s}" for s, n in zip(SPLITS, totals(facts), strict=True))
    total = len(diagnosis.looks) + len(diagnosis.refused)
    classes = counted(len(facts), "class", "classes")
    return f"{counted(total, 'video')} of {classes} in {printable(diagnosis.source)}: {splits}"


def _table(facts: list[ClassFacts]) -> list[str]:
    shown = facts[:MOST_CLASSES]
    names = [
        textwrap.shorten(printable(line.class_name), NAME_WIDTH, placeholder="…") for line in shown
    ]
    width = max(len(name) for name in ["class", *names])
    lines = [
        f"{'class':{width}}  {'train':>5} {'val':>4} {'test':>5}  {'seconds':>15}  {'pixels':>14}"
        f"  {'frames/s':>9}  sound  padded  refused"
    ]
    for name, line in zip(names, shown, strict=True):
        train, val, test = line.splits
        shortest, median, longest = line.seconds
        seconds = f"{median:.3g} ({shortest:.3g}–{longest:.3g})"
        lines.append(
            f"{name:{width}}  {train:5} {val:4} {test:5}  {seconds:>15}  {_several(line.sizes):>14}"
            f"  {_several(line.rates):>9}  {line.sound:5.0%}  {line.padded:6.0%}  "
            f"{line.num_refused or '–':>7}"
        )
    if len(facts) > MOST_CLASSES:
        lines.append(f"… and {len(facts) - MOST_CLASSES} more classes; the page has them all")
    return lines


def _cut(name: str) -> str:
    return name if len(name) <= NAME_WIDTH else name[: NAME_WIDTH - 1] + "…"


def _several(commonest: tuple[str, int]) -> str:
    value, different = commonest
    return value if different < 2 else f"{value} +{different - 1}"


def _finding(finding: Finding, width: int) -> list[str]:
    level = finding.level.upper() if finding.level == "problem" else finding.level
    title = textwrap.wrap(printable(finding.title), width - len(MARGIN))
    detail = textwrap.wrap(printable(finding.detail), width - len(MARGIN))
    return [f"{level:{len(MARGIN)}}{title[0]}", *(MARGIN + line for line in [*title[1:], *detail])]


def costs(diagnosis: Diagnosis) -> list[str]:
    """The size of the clip store and the time of an epoch, in sentences."""
    epoch = diagnosis.epoch
    time = "unknown" if epoch.seconds is None else f"about {readable_seconds(epoch.seconds)}"
    return [
        f"clip store: {readable_bytes(diagnosis.cache_bytes)} for these videos",
        f"an epoch:   {time} ({epoch.basis})",
    ]


def verdict(diagnosis: Diagnosis) -> str:
    """How many of each kind."""
    counts = Counter(finding.level for finding in diagnosis.findings)
    if not counts:
        return "nothing to complain of"
    return ", ".join(counted(counts[level], level) for level in LEVELS if counts[level])


def as_json(diagnosis: Diagnosis, clip: ClipParams) -> str:
    """Everything but the pictures."""
    facts = class_facts(diagnosis.looks, diagnosis.refused, num_frames=clip.num_frames)
    values = {
        "source": diagnosis.source,
        "num_videos": len(diagnosis.looks),
        "has_problems": diagnosis.has_problems,
        "findings": [dataclasses.asdict(finding) for finding in diagnosis.findings],
        "notes": diagnosis.notes,
        "classes": [dataclasses.asdict(line) for line in facts],
        "refused": [dataclasses.asdict(video) for video in diagnosis.refused],
        "cache_bytes": diagnosis.cache_bytes,
        "epoch_seconds": diagnosis.epoch.seconds,
        "epoch_basis": diagnosis.epoch.basis,
    }
    return json.dumps(values, indent=2, ensure_ascii=False)
