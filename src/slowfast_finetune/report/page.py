"""metrics/report.html: everything about a run on one page that needs nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.console import say
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation.measure import subset_row
from slowfast_finetune.evaluation.resampling import design_effect, units_of
from slowfast_finetune.evaluation.result_tables import SubsetRow
from slowfast_finetune.inspection.findings import Finding, worst_first
from slowfast_finetune.inspection.inspect import inspect
from slowfast_finetune.inspection.looks import looks_from_store
from slowfast_finetune.inspection.scenes import seen_scenes
from slowfast_finetune.pictures.contact_sheets import data_uri
from slowfast_finetune.pictures.sheets import Sheets, make_sheets, spread
from slowfast_finetune.report import overview
from slowfast_finetune.report.cards import (
    Card,
    least_certain,
    make_card,
    most_telling,
    surest_mistakes,
)
from slowfast_finetune.report.charts import reliability_chart
from slowfast_finetune.report.evidence import Evidence, gather_evidence
from slowfast_finetune.report.matrix import Cell, Matrix, make_matrix
from slowfast_finetune.report.model_card import model_card
from slowfast_finetune.report.results import (
    ResultFiles,
    Results,
    VideoResult,
    read_results,
)
from slowfast_finetune.report.verdict import pointers, verdict
from slowfast_finetune.report.wording import count, interval, percent, plain, shortened

Frames = npt.NDArray[np.uint8]

MAX_BYTES = 10_000_000  # of the whole page
SHEET_BUDGET = 5_500_000  # of all contact sheets
LISTED = 12  # videos in each list of single videos
MAX_PATHS = 20  # of a finding
SECTIONS = (
    ("result", "Result"),
    ("findings", "Look at"),
    ("data", "Data"),
    ("curves", "Training"),
    ("confusion", "Confusion"),
    ("classes", "Classes"),
    ("confidence", "Confidence"),
    ("mistakes", "Mistakes"),
    ("unsure", "Unsure"),
    ("evidence", "Grad-CAM"),
    ("scores", "Scores"),
    ("reproduce", "Reproduce"),
)


@dataclass(frozen=True)
class Limits:
    """How much is shown; where the page grows too large, the next limits are tried."""

    cards: int
    classes: int


LIMITS = (Limits(1500, 100), Limits(700, 100), Limits(300, 60), Limits(100, 40), Limits(24, 12))


def write_report(
    files: ResultFiles,
    *,
    params: Params,
    store: ClipStore,
    project: Path,
    output: Path,
    card: Path,
) -> None:
    """Look at the videos of a run once more and write its report and its model card.

    Raises:
        DataError: a file or a clip cannot be had.
        CheckpointError: the checkpoint cannot be used.
    """
    results = read_results(files)
    test_rows = [row for row in results.clips if row.split == "test"]
    restore_entries(results.clips, params=params, store=store, project=project)
    looks = looks_from_store(results.clips, store)
    evidence = gather_evidence(
        results.predictions,
        test_rows,
        checkpoint_path=files.checkpoint,
        runtime=params.runtime,
        store=store,
    )
    findings = inspect(looks, clip=params.clip)
    page = compose(
        results,
        store=store,
        evidence=evidence,
        findings=findings,
        seen_scenes=seen_scenes(looks),
    )
    write_text(output, page)
    all_findings = _joined(pointers(results), findings)
    write_text(card, model_card(results, params=params, findings=all_findings))
    size = len(page.encode())
    say(f"{output}: {count(len(results.predictions), 'test video')}, {size / 1e6:.1f} MB; {card}")


def compose(
    results: Results,
    *,
    store: ClipStore,
    evidence: Evidence,
    findings: Sequence[Finding] = (),
    seen_scenes: Set[str] | None = None,
) -> str:
    """The page, never longer than MAX_BYTES; what is left out for that it says."""
    clips = {row.video_path: row for row in results.clips}
    for limits in LIMITS:
        telling = most_telling(results.predictions)[: limits.cards]
        shown = [prediction.row.video_path for prediction in telling]
        shown += [
            prediction.row.video_path
            for prediction in least_certain(results.predictions)[:LISTED]
            if prediction.row.video_path not in set(shown)
        ]
        sheets = make_sheets(
            shown,
            lambda path, count: stored_frames(store, clips[path], count),
            budget=SHEET_BUDGET,
        )
        page = _render(
            results,
            limits=limits,
            shown=set(shown),
            sheets=sheets,
            evidence=evidence,
            findings=_joined(pointers(results), findings),
            subsets=[*results.subsets, *_scene_subsets(results, seen_scenes)],
        )
        if len(page.encode()) <= MAX_BYTES:
            break
    return page


def _joined(own: Sequence[Finding], others: Sequence[Finding]) -> list[Finding]:
    """All findings, the worst first; of one code those that know the predictions too."""
    codes = {finding.code for finding in own}
    return worst_first([*own, *(finding for finding in others if finding.code not in codes)])


def stored_frames(store: ClipStore, row: ClipRow, count: int) -> Frames:
    """``count`` frames spread over a video without its padding, uint8 (count, H, W, 3)."""
    frames = store.frames(row.content_hash)
    return np.stack([frames[index] for index in spread(max(1, row.num_sampled), count)])


def _scene_subsets(results: Results, seen_scenes: Set[str] | None) -> list[SubsetRow]:
    """Accuracy where training has seen the scene and where not; empty if nobody looked."""
    if seen_scenes is None:
        return []
    clips = {row.video_path: row for row in results.clips}
    paths = [prediction.row.video_path for prediction in results.predictions]
    units = units_of([clips[path].group or clips[path].content_hash for path in paths])
    right = np.array([prediction.is_right for prediction in results.predictions])
    seen = np.array([path in seen_scenes for path in paths])
    return [
        subset_row(name, right[chosen], units[chosen], design_effect=design_effect(right, units))
        for name, chosen in (("seen_scenes", seen), ("unseen_scenes", ~seen))
        if chosen.any()
    ]


def _render(
    results: Results,
    *,
    limits: Limits,
    shown: set[str],
    sheets: Sheets,
    evidence: Evidence,
    findings: Sequence[Finding],
    subsets: Sequence[SubsetRow],
) -> str:
    clips = {row.video_path: row for row in results.clips}

    def cards(predictions: Iterable[VideoResult]) -> list[Card]:
        return [
            make_card(
                prediction,
                class_names=results.class_names,
                clip=clips[prediction.row.video_path],
                sheet=data_uri(sheets.images[prediction.row.video_path])
                if prediction.row.video_path in sheets.images
                else None,
            )
            for prediction in predictions
        ]

    matrix = make_matrix(results.confusion, results.class_names, max_classes=limits.classes)
    by_cell: dict[tuple[str, str], list[VideoResult]] = defaultdict(list)
    for prediction in reversed(least_certain(results.predictions)):
        by_cell[prediction.row.actual, prediction.row.predicted].append(prediction)
    run = overview.reproduction(results)
    best_epoch = results.summary.get("best_epoch")
    context: dict[str, Any] = {
        "accuracy": results.scores["top1_accuracy"],
        "baselines": overview.baselines(results),
        "best_epoch": best_epoch or "unknown",
        "cells": [
            _cell_view(cell, by_cell[cell.actual, cell.predicted], shown, cards)
            for cell in matrix.cells
        ],
        "classes": overview.class_table(results),
        "curves": overview.curves(results.history, best_epoch=best_epoch),
        "data": overview.data_view(results),
        "evidence": evidence.items,
        "evidence_grid": evidence.grid,
        "evidence_note": evidence.note,
        "findings": [_finding_view(finding) for finding in findings],
        "matrix": matrix,
        "max_paths": MAX_PATHS,
        "mistakes": cards(surest_mistakes(results.predictions)[:LISTED]),
        "model_name": _model_name(results),
        "num_classes_text": count(len(results.class_names), "class", "classes"),
        "params_text": results.params_text,
        "reliability": reliability_chart(results.reliability),
        "scores": overview.score_table(results),
        "sections": SECTIONS,
        "sheet_note": _sheet_note(sheets, results, shown, matrix),
        "subsets": overview.subset_table(subsets),
        "training_sentence": overview.training_sentence(results),
        "unsure": cards(least_certain(results.predictions)[:LISTED]),
        "verdict": verdict(results),
        **run,
    }
    page: str = _template().render(context)
    return page


def _cell_view(
    cell: Cell, predictions: Sequence[VideoResult], shown: set[str], cards: Any
) -> dict[str, Any]:
    chosen = [prediction for prediction in predictions if prediction.row.video_path in shown]
    left_out = len(predictions) - len(chosen)
    return {
        "id": cell.id,
        "title": cell.label,
        "cards": cards(chosen),
        "note": f"{len(chosen)} of {len(predictions)} are shown." if left_out else "",
    }


def _finding_view(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level,
        "title": finding.title,
        "detail": finding.detail,
        "video_paths": [shortened(path) for path in finding.video_paths],
    }


def _model_name(results: Results) -> str:
    params = overview.run_of(results.summary).get("params") or {}
    return str((params.get("model") or {}).get("name") or "SlowFast")


def _sheet_note(sheets: Sheets, results: Results, shown: set[str], matrix: Matrix) -> str:
    total = len(results.predictions)
    notes = []
    if len(shown) < total:
        notes.append(
            f"To keep this page small it shows {len(shown)} of {count(total, 'video')}: "
            "mistakes first, then the least certain of each class."
        )
    if sheets.num_left_out:
        notes.append(
            f"Contact sheets of {count(sheets.num_left_out, 'video')} are left out for the same "
            "reason."
        )
    if matrix.is_cut:
        notes.append("metrics/plots/confusion.csv holds all classes.")
    return " ".join(notes)


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    # Names of files and classes may hold anything, so everything is escaped but our own code.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(
        percent=percent,
        interval=interval,
        plain=plain,
        count=count,
        pos=lambda value: f"{100 * min(1.0, max(0.0, value)):.2f}",
        style=Markup(_part("style.css")),
        script=Markup(_part("script.js")),
    )
    return environment.from_string(_part("template.html"))


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
