"""A diagnosis as one HTML file that needs nothing else: findings, classes, contact sheets."""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from slowfast_finetune.base.console import printable
from slowfast_finetune.base.params import ClipParams
from slowfast_finetune.doctor.class_facts import class_facts
from slowfast_finetune.doctor.doctor import Diagnosis, pictured
from slowfast_finetune.doctor.wording import costs, headline, verdict
from slowfast_finetune.inspection.findings import SEEN_IN_PICTURES, rounded_percent
from slowfast_finetune.pictures.contact_sheets import data_uri

MOST_BYTES = 7_000_000  # of pictures; a third more as text
MOST_PATHS = 200  # listed under a finding
MOST_REFUSED = 500


def as_page(diagnosis: Diagnosis, clip: ClipParams) -> str:
    """The page's HTML."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["printable"] = printable
    environment.filters["rounded_percent"] = rounded_percent
    template = environment.from_string(
        files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    )
    facts = class_facts(diagnosis.looks, diagnosis.refused, num_frames=clip.num_frames)
    pictures = _pictures(diagnosis)
    looks = {look.video_path: look for look in diagnosis.looks}
    marks = _marks(diagnosis)

    def tile(path: str) -> dict[str, Any]:
        look = looks[path]
        return {
            "path": path,
            "name": PurePosixPath(path).name,
            "class_name": look.class_name,
            "facts": f"{look.facts.duration_seconds:.3g} s · {look.facts.size_text} · {look.split}",
            "uri": pictures.get(path),
            "marks": marks.get(path, []),
        }

    return template.render(
        headline=headline(diagnosis, facts),
        verdict=verdict(diagnosis),
        has_problems=diagnosis.has_problems,
        has_warnings=any(finding.level == "warning" for finding in diagnosis.findings),
        costs=costs(diagnosis),
        notes=diagnosis.notes,
        findings=[
            {
                "finding": finding,
                "tiles": [
                    tile(path) for path in pictured(finding) if path in pictures and path in looks
                ],
                "paths": finding.video_paths[:MOST_PATHS],
            }
            for finding in diagnosis.findings
        ],
        facts=facts,
        most=max((line.num_videos for line in facts), default=1) or 1,
        sheets={
            name: [tile(path) for path in paths if path in pictures]
            for name, paths in diagnosis.sheets.items()
        },
        refused=diagnosis.refused[:MOST_REFUSED],
        num_refused=len(diagnosis.refused),
    )


def _pictures(diagnosis: Diagnosis) -> dict[str, str]:
    """Addresses of the strips, as many as the page has room for.

    The first of every class come first, then those of findings, then the second of every class…
    """
    rounds = max((len(paths) for paths in diagnosis.sheets.values()), default=0)
    by_round = [
        [paths[i] for paths in diagnosis.sheets.values() if i < len(paths)] for i in range(rounds)
    ]
    of_findings = [path for finding in diagnosis.findings for path in pictured(finding)]
    order = [
        path for part in (by_round[:1], [of_findings], by_round[1:]) for p in part for path in p
    ]
    pictures: dict[str, str] = {}
    room = MOST_BYTES
    for path in dict.fromkeys(order):
        jpeg = diagnosis.strips.get(path)
        if jpeg is not None and len(jpeg) <= room:
            room -= len(jpeg)
            pictures[path] = data_uri(jpeg)
    return pictures


def _marks(diagnosis: Diagnosis) -> dict[str, list[str]]:
    """Codes of the findings that a picture can show, by the path of the video; no notes."""
    marks: dict[str, list[str]] = {}
    for finding in diagnosis.findings:
        if finding.level != "note" and finding.code in SEEN_IN_PICTURES:
            for path in finding.video_paths:
                marks.setdefault(path, []).append(finding.code)
    return marks
