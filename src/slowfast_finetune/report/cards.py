"""Pure: the test videos as the page shows them, and which come first where not all can."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.inspection.readable import shortened
from slowfast_finetune.report.results import VideoResult

BARS = 4  # probabilities shown of a video: the most probable, and the actual class's


@dataclass(frozen=True)
class Bar:
    """The probability of one class."""

    name: str
    probability: float
    is_actual: bool
    is_predicted: bool


@dataclass(frozen=True)
class Card:
    """One test video on the page; ``sheet`` is the address of its contact sheet."""

    path: str
    name: str
    actual: str
    predicted: str
    is_right: bool
    unanswered: bool
    confidence: float
    bars: Sequence[Bar]
    facts: str
    sheet: str | None


def make_card(
    prediction: VideoResult,
    *,
    class_names: Sequence[str],
    clip: ClipRow,
    sheet: str | None,
) -> Card:
    """A card of a prediction."""
    row = prediction.row
    return Card(
        path=shortened(row.video_path),
        name=shortened("/".join(row.video_path.split("/")[-2:]), limit=80),
        actual=row.actual,
        predicted=row.predicted,
        is_right=prediction.is_right,
        unanswered=row.answer != row.predicted,
        confidence=row.confidence,
        bars=probability_bars(prediction, class_names),
        facts=_facts(prediction, clip),
        sheet=sheet,
    )


def probability_bars(prediction: VideoResult, class_names: Sequence[str]) -> list[Bar]:
    """The most probable classes, the actual one among them, falling."""
    order = sorted(range(len(class_names)), key=lambda label: -prediction.probabilities[label])
    shown = order[:BARS]
    actual = class_names.index(prediction.row.actual)
    if actual not in shown:
        shown[-1] = actual
    return [
        Bar(
            name=class_names[label],
            probability=prediction.probabilities[label],
            is_actual=class_names[label] == prediction.row.actual,
            is_predicted=class_names[label] == prediction.row.predicted,
        )
        for label in shown
    ]


def _facts(prediction: VideoResult, clip: ClipRow) -> str:
    row = prediction.row
    facts = [f"group {shortened(row.group, limit=40)}"] if row.group else []
    facts.append(f"{clip.duration_seconds:.1f} s")
    facts.append(f"{clip.source_width}×{clip.source_height}")
    facts += [f"{clip.source_fps:.4g} fps"] if clip.source_fps else []
    facts += ["padded"] if clip.num_sampled < clip.num_frames else []
    facts += ["damaged"] if clip.damaged else []
    return " · ".join(facts)


def surest_mistakes(predictions: Sequence[VideoResult]) -> list[VideoResult]:
    """The mistakes, the surest first."""
    wrong = [prediction for prediction in predictions if not prediction.is_right]
    return sorted(wrong, key=lambda prediction: -prediction.row.confidence)


def least_certain(predictions: Sequence[VideoResult]) -> list[VideoResult]:
    """All videos, the least certain first."""
    return sorted(predictions, key=lambda prediction: prediction.row.confidence)


def most_telling(predictions: Sequence[VideoResult]) -> list[VideoResult]:
    """All videos, in the order in which a person gains most from seeing them.

    Mistakes, the surest first; then the right answers, one of each class in turn, in each class
    the least certain first.
    """
    right: Mapping[str, list[VideoResult]] = defaultdict(list)
    for prediction in least_certain(predictions):
        if prediction.is_right:
            right[prediction.row.actual].append(prediction)
    in_turn = chain.from_iterable(zip_longest(*(right[name] for name in sorted(right))))
    return surest_mistakes(predictions) + [found for found in in_turn if found is not None]


def to_explain(predictions: Sequence[VideoResult], *, limit: int) -> list[VideoResult]:
    """Which answers Grad-CAM should explain: sure mistakes, and the surest hit of each class.

    Half of the places are for mistakes; what one kind does not need, the other may take.
    """
    mistakes = surest_mistakes(predictions)
    best: dict[str, VideoResult] = {}
    for prediction in reversed(least_certain(predictions)):
        if prediction.is_right:
            best.setdefault(prediction.row.actual, prediction)
    hits = [best[name] for name in sorted(best)]
    num_mistakes = min(len(mistakes), max(limit // 2, limit - len(hits)))
    return mistakes[:num_mistakes] + hits[: limit - num_mistakes]
