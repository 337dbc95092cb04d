"""Measure the timelines that the model gives of test videos whose labelled cases are parts."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slowfast_finetune.base.console import count, say
from slowfast_finetune.base.errors import CheckpointError, DataError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.manifest_table import ManifestRow, unit_noun
from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.evaluation.resampling import bootstrap_interval, few_units
from slowfast_finetune.predicting.timeline import Segment
from slowfast_finetune.scoring.metrics import Floats
from slowfast_finetune.timelines import labelled_videos as labelled
from slowfast_finetune.timelines import timeline_tables as tables
from slowfast_finetune.timelines.segment_scores import BACKGROUND, Timeline, draws, scores_of
from slowfast_finetune.timelines.timeline_tables import TimelineRow, TimelineScoreRow

DIGITS = 4  # decimals of a score
BASELINES = ("most_frequent", "positions")


def measure_timelines(
    rows: Sequence[ManifestRow],
    *,
    checkpoint_path: Path,
    runtime: RuntimeParams,
    project: Path,
    results: Path,
) -> None:
    """Choose the timeline's parameters on validation videos, and measure it on test videos.

    Args:
        results: folder for timelines.json and the tables.

    Raises:
        CheckpointError: the checkpoint cannot be used or has other classes than the manifest.
        DataError: none of the test videos can be read.
    """
    from slowfast_finetune.predicting.timeline_settings import write_settings

    videos, validation = (labelled.labelled_videos(rows, split) for split in ("test", "val"))
    if not videos:
        _write(results, [], [])
        say("no test video has labelled parts; no timeline is measured")
    if not videos and not validation:
        write_settings(checkpoint_path, None)
        return
    from slowfast_finetune.model.checkpoint import load_checkpoint
    from slowfast_finetune.predicting.predictor import Predictor
    from slowfast_finetune.timelines.choosing import choose_settings

    checkpoint = load_checkpoint(checkpoint_path)
    model = Predictor(checkpoint, device=runtime.device)
    if unknown := {row.class_name for row in rows} - {*model.class_names}:
        raise CheckpointError(f"{checkpoint_path}: has no class {min(unknown)!r}; run `dvc repro`")
    background = checkpoint.params["data"].get("background")
    names = [name for name in model.class_names if name != background]
    labels = {name: label for label, name in enumerate(names)}
    chosen = choose_settings(validation, model=model, labels=labels, project=project)
    write_settings(checkpoint_path, chosen)
    if not videos:
        return
    if chosen is not None:
        model.timeline = chosen
    timelines, segments, units = [], [], []
    paths = [locate(video.path, project=project) for video in videos]
    answers = model.predict_many(paths)
    for video, found in labelled.readable(videos, answers):
        seconds = found.duration_seconds
        line = Timeline(
            video.stretches(seconds, labels), labelled.stretches_of(found.segments, labels), seconds
        )
        segments += segment_rows(video.path, line, names, found.segments)
        timelines.append(line)
        units.append(video.unit)
    if not timelines:
        raise DataError("none of the test videos with labelled parts can be read")
    training = labelled.labelled_videos(rows, "train")
    if not training:
        say("no training video has labelled parts; the baselines of timelines are empty")
    prior = labelled.position_prior(training, labels, project=project) if training else None
    scores = score_rows(timelines, prior, units, num_left_out=len(videos) - len(timelines))
    _write(results, segments, scores)
    few = few_units(len({*units}), unit_noun(row for video in videos for row in video.rows))
    say("\n".join(filter(None, (described(scores), few))))


def segment_rows(
    path: str, timeline: Timeline, class_names: Sequence[str], found: Sequence[Segment]
) -> list[TimelineRow]:
    """Rows of both timelines of a video, which they fill."""
    return [
        TimelineRow(
            path,
            source,  # type: ignore[arg-type]  # of a tuple mypy keeps no literals
            round(start, 3),
            round(end, 3),
            None if label == BACKGROUND else class_names[label],
            _confidence(found, start, end) if source == "predicted" else None,
        )
        for source, stretches in (("true", timeline.true), ("predicted", timeline.predicted))
        for label, start, end, _ in labelled.filled(stretches, timeline.seconds)
    ]


def _confidence(found: Sequence[Segment], start: float, end: float) -> float | None:
    """Mean over the time from start to end: of none and of background there may be several."""
    shares = [max(0.0, min(p.end_seconds, end) - max(p.start_seconds, start)) for p in found]
    if not sum(shares):
        return None
    return round(float(np.average([p.confidence for p in found], weights=shares)), DIGITS)


def score_rows(
    timelines: Sequence[Timeline],
    prior: Floats | None,
    units: Sequence[str],
    *,
    num_left_out: int = 0,
) -> list[TimelineScoreRow]:
    """Every score of the model and of the baselines, with intervals by resampling units.

    Args:
        prior: of positions; without one the scores of the baselines are empty.
        num_left_out: videos that could not be measured.
    """
    weights = draws(units)
    values = {"model": scores_of(timelines, weights)}
    for name, make in zip(BASELINES, (labelled.most_frequent, labelled.by_position), strict=True):
        if prior is None:
            values[name] = {score: np.full(len(weights), np.nan) for score in values["model"]}
        else:
            lines = [line._replace(predicted=make(prior, line.seconds)) for line in timelines]
            values[name] = scores_of(lines, weights)
    values["above_positions"] = {
        name: value - values["positions"][name] for name, value in values["model"].items()
    }
    rows = []
    for method, scores in values.items():
        for name, (value, *drawn) in scores.items():
            ends = bootstrap_interval(np.array(drawn), num_units=len({*units}))
            known = [None if np.isnan(v) else round(float(v), DIGITS) for v in (value, *ends)]
            row = method, name, *known, len(timelines), num_left_out
            rows.append(TimelineScoreRow(*row))  # type: ignore[arg-type]
    return rows


def headline(scores: Sequence[TimelineScoreRow]) -> dict[str, float | None]:
    """The scores for timelines.json, of which `dvc metrics show` prints a column each."""
    values: dict[str, float | None] = {}
    for method, score, value, low, high, num_videos, num_left_out in scores:
        values |= {"num_videos": num_videos, "num_left_out": num_left_out}
        if method == "model":
            values[score] = value
        if (method, score) == ("model", "f1_25"):
            values |= {"f1_25_low": low, "f1_25_high": high}
        if method in BASELINES and score in ("frame_accuracy", "f1_25"):
            values[f"{method}_{score}"] = value
    return values


def described(scores: Sequence[TimelineScoreRow]) -> str:
    """The result as lines of text."""
    missing = f" ({scores[0].num_left_out} more cannot be read)" if scores[0].num_left_out else ""
    videos = count(scores[0].num_videos, "test video")
    lines = [f"timelines of {videos} with labelled parts{missing}:"]
    for method, score, value, low, high, *_ in scores:
        said = score in ("frame_accuracy", "f1_25") and method != "above_positions"
        if said and value is not None:
            ends = "" if low is None else f" (95 % confidence interval {low:.3f} to {high:.3f})"
            lines.append(f"  {score} of {method}: {value:.3f}{ends}")
    return "\n".join(lines)


def _write(
    results: Path, segments: Sequence[TimelineRow], scores: Sequence[TimelineScoreRow]
) -> None:
    tables.TIMELINES.write(tables.TIMELINES.within(results), segments)
    tables.TIMELINE_SCORES.write(tables.TIMELINE_SCORES.within(results), scores)
    write_text(results / "timelines.json", json.dumps(headline(scores), indent=2) + "\n")
