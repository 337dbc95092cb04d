"""Answers as text for people, as JSON lines and as CSV for programs."""

import json
from typing import Any, NamedTuple

from slowfast_finetune.base.console import printable
from slowfast_finetune.base.manifest_table import NONE_OF_THESE
from slowfast_finetune.base.tables import csv_text
from slowfast_finetune.predicting.prediction import Prediction, RefusedVideo


class SegmentRow(NamedTuple):
    """One stretch of a video, or a refused file; every video has at least one row."""

    path: str
    label: str | None = None  # of the whole video, as the next three
    answer: str | None = None  # empty for "none of these"
    confidence: float | None = None
    duration_seconds: float | None = None
    segment: int | None = None  # counted from 0
    start_seconds: float | None = None
    end_seconds: float | None = None
    segment_answer: str | None = None
    segment_confidence: float | None = None
    reason: str | None = None  # why the file was refused, as detail
    detail: str | None = None
    doubt: str | None = None  # why the whole video has no answer, as novelty
    novelty: float | None = None


def as_text(result: Prediction | RefusedVideo, *, top: int) -> str:
    """Path, answer, confidence; then the most probable classes; then the segments, if several."""
    path = printable(str(result.path))
    if isinstance(result, RefusedVideo):
        return f"{path}  refused: {result.reason}: {printable(result.detail)}"
    lines = [f"{path}  {named(result.answer)}{doubted(result)}  {result.confidence:.2f}"]
    ranked = ", ".join(f"{printable(name)} {share:.2f}" for name, share in result.top(top))
    lines += [f"    {ranked}"] * bool(ranked)
    if len(result.segments) > 1:
        lines += [
            f"    {clock(part.start_seconds)}–{clock(part.end_seconds)}  "
            f"{named(part.answer)}  {part.confidence:.2f}"
            for part in result.segments
        ]
    return "\n".join(lines)


def named(answer: str | None) -> str:
    """The answer as people read it."""
    return NONE_OF_THESE if answer is None else printable(answer)


def doubted(result: Prediction) -> str:
    """Why there is no answer, with the two classes where it lies between these."""
    if result.doubt == "between classes":
        return ": between " + " and ".join(printable(name) for name, _ in result.top(2))
    return "" if result.doubt is None else f": {result.doubt} (novelty {result.novelty:.2f})"


def clock(seconds: float) -> str:
    """A time as ``01:02.3``, with hours where there are any."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    ahead = f"{hours}:" if hours else ""
    return f"{ahead}{minutes:02}:{tenths // 10:02}.{tenths % 10}"


def as_json(result: Prediction | RefusedVideo, *, top: int | None) -> str:
    """One line; names that are no UTF-8 keep their bytes as ``\\udc80`` to ``\\udcff``.

    Args:
        top: how many classes are listed; None for all of them.
    """
    said: dict[str, Any] = {"path": str(result.path)}
    if isinstance(result, RefusedVideo):
        said["refused"] = {"reason": result.reason, "detail": result.detail}
        return json.dumps(said)
    said |= {
        "answer": result.answer,
        "label": result.label,
        "confidence": result.confidence,
        "doubt": result.doubt,
        "novelty": result.novelty,
        "duration_seconds": result.duration_seconds,
        "probabilities": dict(result.top(len(result.probabilities) if top is None else top)),
        "segments": [vars(part) for part in result.segments],
    }
    return json.dumps(said)


def csv_header() -> str:
    """The names of the columns."""
    return csv_text([SegmentRow._fields]).rstrip("\n")


def as_csv(result: Prediction | RefusedVideo) -> str:
    """A line for each segment, one for a refused file."""
    # A name that is no UTF-8 cannot stand in a table that is.
    path = str(result.path).encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(result, RefusedVideo):
        refused = SegmentRow(path, reason=result.reason, detail=result.detail)
        return csv_text([refused]).rstrip("\n")
    rows = [
        SegmentRow(
            path,
            label=result.label,
            answer=result.answer,
            confidence=round(result.confidence, 6),
            duration_seconds=round(result.duration_seconds, 3),
            segment=number,
            start_seconds=round(part.start_seconds, 3),
            end_seconds=round(part.end_seconds, 3),
            segment_answer=part.answer,
            segment_confidence=round(part.confidence, 6),
            doubt=result.doubt,
            novelty=None if result.novelty is None else round(result.novelty, 4),
        )
        for number, part in enumerate(result.segments)
    ]
    return csv_text(rows).rstrip("\n")
