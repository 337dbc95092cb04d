"""Lay out labelled and predicted timelines as strips, and find their largest mistakes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.manifest_table import case_name
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.decoding import sampling
from slowfast_finetune.decoding.frame_ranges import sampled_ranges
from slowfast_finetune.decoding.video_facts import DecodeReport
from slowfast_finetune.pictures.contact_sheets import Frames, evenly_spaced
from slowfast_finetune.report.charts import ticks
from slowfast_finetune.timelines.segment_scores import BACKGROUND, disagreements, frame_counts
from slowfast_finetune.timelines.timeline_tables import TimelineRow, timelines_of

NUM_FRAMES = 8  # of a mistake
SHORT_SIDE = 120  # of these frames [px]


@dataclass(frozen=True)
class Strip:
    """Both timelines of a video; ``accuracy`` is its share of right frames."""

    video_path: str
    seconds: float
    lanes: dict[str, list[TimelineRow]]  # "true" and "predicted", each filling the video
    ticks: Sequence[float]
    accuracy: float
    mistakes: Sequence[Mistake]


@dataclass(frozen=True)
class Mistake:
    """A stretch of a video that is one class, or none, and is predicted as one other throughout."""

    video_path: str
    start: float
    end: float
    true: str | None
    predicted: str | None

    @property
    def name(self) -> str:
        """The stretch as a part of its video."""
        return case_name(self.video_path, self.start, self.end)


def make_strips(rows: Sequence[TimelineRow]) -> list[Strip]:
    """Lay out all videos, those with the smallest share of right frames first."""
    names = sorted({row.class_name for row in rows if row.class_name is not None})
    name_of: dict[int, str | None] = {BACKGROUND: None, **dict(enumerate(names))}
    lines = timelines_of(rows, names)
    strips = []
    for path, group in itertools.groupby(rows, key=lambda row: row.video_path):
        lanes: dict[str, list[TimelineRow]] = {"true": [], "predicted": []}
        for row in group:
            lanes[row.source].append(row)
        seconds = lines[path].seconds
        ((right, count),) = frame_counts([lines[path]]).tolist()
        mistakes = [
            Mistake(path, part.start, part.end, name_of[actual], name_of[part.label])
            for actual, part in disagreements(lines[path])
        ]
        marks = [tick for tick in ticks(0, seconds, about=8) if tick <= seconds]
        strips.append(Strip(path, seconds, lanes, marks, right / count, mistakes))
    return sorted(strips, key=lambda strip: strip.accuracy)


def largest_mistakes(strips: Sequence[Strip], limit: int) -> list[Mistake]:
    """The longest mistakes of all videos."""
    found = [mistake for strip in strips for mistake in strip.mistakes]
    return sorted(found, key=lambda mistake: mistake.start - mistake.end)[:limit]


def hues(class_names: Sequence[str]) -> dict[str, int]:
    """A hue for each class [degrees]; steps of the golden ratio keep neighbours apart."""
    return {name: round(222.492 * number) % 360 for number, name in enumerate(class_names)}


def frame_reader(
    mistakes: Sequence[Mistake], *, project: Path
) -> tuple[list[str], Callable[[str, int], Frames]]:
    """Decode frames of mistakes from their videos: which could be had, and a reader of these."""
    frames: dict[str, Frames] = {}
    for mistake in mistakes:
        fps = sampling.exact_rate(NUM_FRAMES / (mistake.end - mistake.start))
        first = sampling.instants_before(Fraction(mistake.start), sample_fps=fps)
        settings = sampling.DecodeSettings(float(fps), SHORT_SIDE)
        wanted, shown = [sampling.FrameRange(first, first + NUM_FRAMES)], []
        try:
            for _, frame, count in sampled_ranges(
                locate(mistake.video_path, project=project),
                wanted,
                settings=settings,
                report=DecodeReport(),
            ):
                shown += [frame] * count
        except VideoError:
            continue  # the page says that there are no frames
        if shown:
            frames[mistake.name] = np.stack(shown)

    def read(name: str, count: int) -> Frames:
        return frames[name][evenly_spaced(len(frames[name]), count)]

    return [*frames], read
