"""Choose a timeline's parameters on validation videos whose labelled cases are parts."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slowfast_finetune.base.console import say
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.predicting.predictor import Predictor
from slowfast_finetune.predicting.timeline_settings import TimelineSettings
from slowfast_finetune.timelines.labelled_videos import LabelledVideo, readable, stretches_of
from slowfast_finetune.timelines.segment_scores import Timeline, f1_of_counts, segment_counts

# F1 at this overlap chooses: it punishes answers that flicker, as frame accuracy does not, and asks
# no more of boundaries than people agree on. It is the middle one of those that are measured.
OVERLAP = 0.25
THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STRIDES = (0.5, 0.25)  # of a window's length
LENGTHS = (0.0, 0.5, 1.0)  # of smoothing and of the shortest part, in windows


def choose_settings(
    videos: Sequence[LabelledVideo], *, model: Predictor, labels: dict[str, int], project: Path
) -> TimelineSettings | None:
    """The settings with the highest F1 over all videos, and what F1 that is; None without videos.

    Of equal ones the first: those that are used without a choice come first. They are the default
    ones where no video can be read, and where no settings have an F1 above 0.
    """
    if not videos:
        say("no validation video has labelled parts; timelines are made as without a choice")
        return None
    shape = model.preprocessing
    window = shape.num_frames / shape.sample_fps
    paths = [locate(video.path, project=project) for video in videos]
    thresholds = dict.fromkeys((model.threshold, *THRESHOLDS))
    scored: dict[TimelineSettings, float] = {}
    num_videos = 0
    for stride in STRIDES:
        answers = model.timeline_cells(paths, stride_seconds=stride * window)
        read = [
            (cells, edges, video.stretches(edges[-1], labels))
            for video, (cells, edges) in readable(videos, answers)
        ]
        num_videos = len(read)
        for threshold, smoothing, shortest in itertools.product(thresholds, LENGTHS, LENGTHS):
            settings = TimelineSettings(
                stride_seconds=round(stride * window, 6),
                smoothing_seconds=round(smoothing * window, 6),
                threshold=threshold,
                shortest_seconds=round(shortest * window, 6),
            )
            lines = []
            for cells, edges, true in read:
                parts = stretches_of(model.segments(cells, edges, settings), labels)
                lines.append(Timeline(true, parts, edges[-1]))
            counts = segment_counts(lines, overlap=OVERLAP).sum(axis=0)
            # NaN, where there is no segment at all, says as little as 0.
            scored[settings] = float(np.nan_to_num(f1_of_counts(counts)))
    first = next(iter(scored))
    best = max(scored, key=lambda settings: scored[settings])
    f1 = scored[best]
    evidence = {
        "num_videos": num_videos, "num_left_out": len(videos) - num_videos, "f1_25": round(f1, 6)
    }  # fmt: skip
    chosen = (best if f1 else TimelineSettings()).model_copy(update=evidence)
    without = f"F1 {scored[first]:.3f} there" if f1 else "timelines are made"
    say(f"{chosen.choice()}; {without} without a choice")
    return chosen
