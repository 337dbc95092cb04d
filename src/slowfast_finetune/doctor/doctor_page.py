"""Format a diagnosis as one self-contained HTML file: findings, classes, contact sheets."""

from itertools import chain, zip_longest
from pathlib import PurePosixPath

from slowfast_finetune.base.console import printable
from slowfast_finetune.base.manifest_table import case_noun
from slowfast_finetune.doctor.diagnosis import Diagnosis, pictured
from slowfast_finetune.doctor.diagnosis_text import costs, count_by_level, overview_line
from slowfast_finetune.inspection.findings import SEEN_IN_PICTURES
from slowfast_finetune.inspection.readable import template_environment
from slowfast_finetune.pictures.contact_sheets import data_uri

MAX_BYTES = 7_000_000  # of pictures; base64 adds a third
MAX_PATHS = 200  # listed under a finding
MAX_REJECTED = 500


def doctor_page(diagnosis: Diagnosis) -> str:
    """Render the page as HTML."""
    environment = template_environment("doctor", autoescape=True)
    environment.filters["printable"] = printable
    environment.filters["file_name"] = lambda path: PurePosixPath(path).name
    return environment.get_template("doctor_page.html").render(
        diagnosis=diagnosis,
        noun=case_noun([*diagnosis.videos, *diagnosis.rejected]),
        overview=overview_line(diagnosis),
        counts=count_by_level(diagnosis),
        costs=costs(diagnosis),
        pictured=pictured,
        pictures=_pictures(diagnosis),
        marks=_marks(diagnosis),
        videos={video.case: video for video in diagnosis.videos},
        most=max([1, *(line.num_videos for line in diagnosis.classes)]),
        max_paths=MAX_PATHS,
        max_rejected=MAX_REJECTED,
    )


def _pictures(diagnosis: Diagnosis) -> dict[str, str]:
    """Encode the strips as data URIs, as many as fit into the page, by the path of the video.

    First come the first of every class, then those of findings, then the second of every class,
    and so on.
    """
    first, *rounds = [*zip_longest(*diagnosis.sheets.values())] or [()]
    of_findings = [path for finding in diagnosis.findings for path in pictured(finding)]
    pictures: dict[str, str] = {}
    bytes_left = MAX_BYTES
    for path in dict.fromkeys(chain(first, of_findings, *rounds)):
        jpeg = diagnosis.strips.get(path)
        if jpeg is not None and len(jpeg) <= bytes_left:
            bytes_left -= len(jpeg)
            pictures[path] = data_uri(jpeg)
    return pictures


def _marks(diagnosis: Diagnosis) -> dict[str, list[str]]:
    """Map video paths to the codes of their problems and warnings that frames can confirm."""
    marks: dict[str, list[str]] = {}
    for finding in diagnosis.findings:
        if finding.level != "note" and finding.code.startswith(SEEN_IN_PICTURES):
            for path in finding.video_paths:
                marks.setdefault(path, []).append(finding.code)
    return marks
