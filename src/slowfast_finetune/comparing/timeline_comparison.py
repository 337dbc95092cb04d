"""Compare the timelines that two models give of the same test videos. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slowfast_finetune.comparing.comparison import Difference, differences, table_of
from slowfast_finetune.evaluation.resampling import few_units
from slowfast_finetune.timelines.segment_scores import Timeline, draws, scores_of
from slowfast_finetune.timelines.timeline_tables import TimelineRow, timelines_of

# So far apart the ends of a video may be: each model counts whole frames of its own rate.
MAX_APART = 1.0  # [s]


@dataclass(frozen=True)
class TimelineComparison:
    """Differences of the scores of timelines, with intervals by a paired bootstrap over units."""

    num_videos: int  # that both have timelines of, labelled alike
    num_left_out: int  # that only one has, or that are labelled otherwise
    num_units: int  # of resampling: groups, and videos without one
    differences: tuple[Difference, ...]


def compare_timelines(
    a: Sequence[TimelineRow], b: Sequence[TimelineRow], groups: Mapping[str, str]
) -> TimelineComparison | None:
    """Compare the timelines of B with those of A; None where fewer than two units are shared.

    Args:
        groups: of videos that are in one.
    """
    names = sorted({row.class_name for row in (*a, *b) if row.class_name is not None})
    of_a, of_b = timelines_of(a, names), timelines_of(b, names)
    shared = {}
    for path in filter(of_b.__contains__, of_a):
        lines = of_a[path], of_b[path]
        shorter, longer = sorted(line.seconds for line in lines)
        one, other = (_shortened(line, shorter) for line in lines)
        if longer - shorter <= MAX_APART and one.true == other.true:
            shared[path] = one, other
    units = [groups.get(path, path) for path in shared]
    if len({*units}) < 2:
        return None
    weights = draws(units)
    scores_a, scores_b = (scores_of(lines, weights) for lines in zip(*shared.values(), strict=True))
    num_left_out = len(of_a.keys() | of_b.keys()) - len(shared)
    num_units = len({*units})
    found = differences(scores_a, scores_b, num_units=num_units)
    return TimelineComparison(len(shared), num_left_out, num_units, found)


def _shortened(line: Timeline, seconds: float) -> Timeline:
    """A timeline without what is later."""
    true, predicted = (
        [part._replace(end=min(part.end, seconds)) for part in lane if part.start < seconds]
        for lane in (line.true, line.predicted)
    )
    return Timeline(true, predicted, seconds)


def describe_timelines(found: TimelineComparison) -> str:
    """Format the comparison as a table and a sentence."""
    unit = "video" if found.num_units == found.num_videos else "group"
    said = f"timelines of {found.num_videos} videos, resampled by {unit}"
    if found.num_left_out:
        said += f"; {found.num_left_out} more have none in A or B, or other labels there"
    few = few_units(found.num_units, unit)
    return "\n".join(["", *table_of(found.differences), "", said, *([few] if few else [])])
