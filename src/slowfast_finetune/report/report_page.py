"""Write metrics/report.html: a run on one self-contained page."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_finetune.base.console import say
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.manifest_table import SPLITS, case_noun, unit_noun
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation.resampling import few_units, units_of
from slowfast_finetune.evaluation.result_rows import accuracy_of_subsets
from slowfast_finetune.evaluation.result_tables import SubsetRow
from slowfast_finetune.inspection.checks import check_videos
from slowfast_finetune.inspection.findings import Finding, worst_first
from slowfast_finetune.inspection.label_errors import predict_by_features
from slowfast_finetune.inspection.readable import template_environment
from slowfast_finetune.inspection.video_summary import summarise_entry
from slowfast_finetune.pictures.contact_sheets import Frames, evenly_spaced, make_sheets
from slowfast_finetune.report import charts, run_overview, timeline_strips, video_order
from slowfast_finetune.report.charts import make_matrix
from slowfast_finetune.report.evidence import Evidence, gather_evidence
from slowfast_finetune.report.model_card import model_card
from slowfast_finetune.report.results import ResultFiles, Results, VideoResult, read_results, tested
from slowfast_finetune.report.run_findings import check_run

MAX_BYTES = 10_000_000  # of the whole page
SHEET_BYTES = 5_500_000  # of all contact sheets
TIMELINE_BYTES = 800_000  # of those of mistakes of timelines
MAX_STRIPS = 40
LISTED = 12  # videos in each list of single videos
MAX_PATHS = 20  # of a finding


# Videos and classes shown; if the page is too large, it is made again with the next numbers.
LIMITS = ((1500, 100), (700, 100), (300, 60), (100, 40), (24, 12))


def write_report(
    files: ResultFiles,
    *,
    params: Params,
    store: ClipStore,
    project: Path,
    output: Path,
    card: Path,
) -> None:
    """Inspect the videos of a run and write its report and its model card.

    Raises:
        DataError: a file or a clip is missing or invalid.
        CheckpointError: the checkpoint cannot be used.
    """
    results = read_results(files)
    restore_entries(results.clips, params=params, store=store, project=project)
    videos = [summarise_entry(row, store)[0] for row in results.clips]
    evidence = gather_evidence(
        results, checkpoint_path=files.checkpoint, runtime=params.runtime, store=store
    )
    root = store.folder.parent
    predicted = predict_by_features(videos, files.clips, params=params, root=root)
    findings = check_videos(videos, params=params, predicted=predicted)
    page = compose(
        results,
        store=store,
        evidence=evidence,
        findings=findings,
        project=project,
    )
    write_text(output, page)
    write_text(card, model_card(results, params=params, findings=_joined(results, findings)))
    size = len(page.encode())
    say(f"{output}: {tested(results.predictions)}, {size / 1e6:.1f} MB; {card}")


def compose(
    results: Results,
    *,
    store: ClipStore,
    evidence: Evidence,
    findings: Sequence[Finding] = (),
    project: Path = Path(),
) -> str:
    """Render the page; it is never longer than MAX_BYTES and states what it leaves out."""
    uncertain = video_order.least_certain(results.predictions)
    context = _context(results, uncertain, project=project) | {
        "clips": results.clip_of,
        "evidence": evidence,
        "findings": _joined(results, findings),
        "subsets": [*results.subsets, *_scene_subsets(results, findings)],
    }
    # Names of files and classes may contain anything, so that everything is escaped.
    template = template_environment("report", autoescape=True).get_template("report_page.html")
    for max_videos, max_classes in LIMITS:
        shown = [v.row.case for v in video_order.most_informative(results.predictions)[:max_videos]]
        paths = dict.fromkeys([*shown, *(video.row.case for video in uncertain[:LISTED])])
        sheets = make_sheets(
            [*paths],
            lambda path, num: stored_frames(store, results.clip_of[path], num),
            max_bytes=SHEET_BYTES,
        )
        matrix = make_matrix(results.confusion, results.class_names, max_classes=max_classes)
        page = template.render(context, shown=paths, sheets=sheets, matrix=matrix)
        if len(page.encode()) <= MAX_BYTES:
            break
    return page


def _context(
    results: Results, uncertain: Sequence[VideoResult], *, project: Path
) -> dict[str, Any]:
    """The variables of the template that depend on the results alone."""
    strips = timeline_strips.make_strips(results.timelines)
    timeline_mistakes = timeline_strips.largest_mistakes(strips, LISTED)
    names, read = timeline_strips.frame_reader(timeline_mistakes, project=project)
    run_params = results.run.get("params", {})
    # Timelines show background as no class.
    background = run_params.get("data", {}).get("background")
    unit, groups = unit_noun(results.clips), {row.video_path: row.group for row in results.clips}
    timeline_units = {groups.get(strip.video_path) or strip.video_path for strip in strips}
    surest = reversed(uncertain)
    return {
        "SPLITS": SPLITS,
        "by_cell": grouped(surest, key=lambda video: (video.row.actual, video.row.predicted)),
        "chosen": results.timeline_settings,
        "charts": charts.training_curves(results.history),
        "classes": sorted(results.classes, key=lambda r: 2.0 if r.recall is None else r.recall),
        "crossval": results.crossval,
        "data_rows": run_overview.data_table(results),
        "few_timelines": few_units(len(timeline_units), unit),
        "hues": timeline_strips.hues([name for name in results.class_names if name != background]),
        "is_probe": results.run.get("method") == "probe",
        "learning": charts.learning_chart(results.crossval.curve) if results.crossval else None,
        "max_paths": MAX_PATHS,
        "max_strips": MAX_STRIPS,
        "mistakes": video_order.surest_mistakes(results.predictions)[:LISTED],
        "model_name": run_params.get("model", {}).get("name", "SlowFast"),
        "noun": case_noun(results.clips),
        "probability_bars": video_order.probability_bars,
        "reasons": Counter(row.reason for row in results.rejected).most_common(),
        "reliability": charts.reliability_chart(results.reliability),
        "results": results,
        "sentences": {
            kind: run_overview.sentences(kind, results) for kind in ("result", "data", "training")
        },
        "short": charts.short,
        "strips": strips,
        "texts": run_overview.texts(),
        "timeline_mistakes": timeline_mistakes,
        "timeline_scores": {(row.method, row.score): row for row in results.timeline_scores},
        "timeline_sheets": make_sheets(names, read, max_bytes=TIMELINE_BYTES),
        "uncertain": uncertain[:LISTED],
        "unit": unit,
        **run_overview.reproduction(results),
    }


def _joined(results: Results, others: Sequence[Finding]) -> list[Finding]:
    """Add the findings on the predictions, which replace others of the same code."""
    own = check_run(results)
    codes = {finding.code for finding in own}
    return worst_first([*own, *(finding for finding in others if finding.code not in codes)])


def stored_frames(store: ClipStore, row: ClipRow, num_frames: int) -> Frames:
    """Read evenly spaced frames of a video without its padding, uint8 (N, H, W, 3)."""
    frames = store.clip(row)
    chosen = evenly_spaced(max(1, row.num_sampled + row.num_around), num_frames)
    return np.stack([frames[index] for index in chosen])


def _scene_subsets(results: Results, findings: Sequence[Finding]) -> list[SubsetRow]:
    """Measure the accuracy on scenes seen and not seen in training; empty if none is known."""
    known = {path for finding in findings for path in finding.scenes}
    if not known:
        return []
    paths = [video.row.case for video in results.predictions]
    tested = [results.clip_of[path] for path in paths]
    units = units_of([clip.group or clip.content_hash for clip in tested])
    right = np.array([video.is_right for video in results.predictions])
    seen = np.array([path in known for path in paths])
    return accuracy_of_subsets(right, units, {"seen_scenes": seen, "unseen_scenes": ~seen})
