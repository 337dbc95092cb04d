"""The tables about timelines that the stage of that name writes."""

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from slowfast_finetune.base.manifest_table import VideoPath
from slowfast_finetune.base.tables import SHARE, Table
from slowfast_finetune.timelines.segment_scores import Stretch, Timeline


class TimelineRow(NamedTuple):
    """One segment of a test video."""

    video_path: VideoPath
    source: Annotated[
        Literal["true", "predicted"], "whether it is labelled so, or predicted; each fill the video"
    ]
    start_seconds: Annotated[float, "where it begins", "seconds"]
    end_seconds: Annotated[float, "where it ends", "seconds"]
    class_name: Annotated[str | None, "what it shows; none: background, or none of the classes"]
    confidence: Annotated[
        float | None,
        "mean probability of the answer over a predicted segment; over the time of several, where "
        "answers of none and of background follow one another",
        SHARE,
    ] = None


class TimelineScoreRow(NamedTuple):
    """One score of one way to make timelines; empty where it cannot be computed."""

    method: Annotated[
        Literal["model", "most_frequent", "positions", "above_positions"],
        "the model, a baseline, or the model's score less that of `positions`",
    ]
    score: Annotated[
        Literal["frame_accuracy", "f1_10", "f1_25", "f1_50", "map"],
        "which score, of the list below",
    ]
    value: Annotated[float | None, "its value on the test videos that have labelled parts"]
    low: Annotated[float | None, "lower limit of its 95 % confidence interval"]
    high: Annotated[float | None, "upper limit of its 95 % confidence interval"]
    num_videos: Annotated[int, "test videos that it is measured on"]
    num_left_out: Annotated[int, "test videos with labelled parts that are gone or cannot be read"]


TIMELINES = Table("metrics/timelines.csv", TimelineRow, version=1)
TIMELINE_SCORES = Table("metrics/timeline_scores.csv", TimelineScoreRow, version=2)


def timelines_of(rows: Sequence[TimelineRow], class_names: Sequence[str]) -> dict[str, Timeline]:
    """Both timelines of each video, by its path; labels are positions in ``class_names``."""
    lines = {}
    for path, group in itertools.groupby(rows, key=lambda row: row.video_path):
        lanes: dict[str, list[Stretch]] = {"true": [], "predicted": []}
        seconds = 0.0
        for row in group:
            seconds = max(seconds, row.end_seconds)
            if row.class_name is not None:
                label, score = class_names.index(row.class_name), row.confidence
                times = row.start_seconds, row.end_seconds
                lanes[row.source].append(Stretch(label, *times, 1.0 if score is None else score))
        lines[path] = Timeline(lanes["true"], lanes["predicted"], seconds)
    return lines
