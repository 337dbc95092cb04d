"""Labelled timelines of videos whose cases are parts, and baselines that need no model."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import numpy as np

from slowfast_finetune.base.console import printable, say
from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.predicting.prediction import RefusedVideo
from slowfast_finetune.predicting.timeline import Segment
from slowfast_finetune.scoring.metrics import Floats
from slowfast_finetune.timelines.segment_scores import BACKGROUND, Stretch

AnswerT = TypeVar("AnswerT")
POSITIONS = 100  # into so many stretches of equal length the prior of positions divides a video


@dataclass(frozen=True)
class LabelledVideo:
    """A video and its cases, in order of time."""

    path: str  # as in the manifest
    unit: str  # of resampling: its group, or its content
    rows: Sequence[ManifestRow]

    def stretches(self, seconds: float, labels: dict[str, int]) -> list[Stretch]:
        """The cases as segments of a video that is so long.

        Args:
            labels: of the classes by name; a class that is not among them is background.
        """
        return [
            Stretch(labels[row.class_name], start, end)
            for row in self.rows
            if row.class_name in labels
            for start, end in [(row.start_seconds or 0.0, min(row.end_seconds or seconds, seconds))]
            if start < end
        ]


def stretches_of(segments: Sequence[Segment], labels: dict[str, int]) -> list[Stretch]:
    """Predicted segments without those of no class, and of a class that is background."""
    return [
        Stretch(labels[part.answer], part.start_seconds, part.end_seconds, part.confidence)
        for part in segments
        if part.answer in labels
    ]


def labelled_videos(rows: Iterable[ManifestRow], split: str) -> list[LabelledVideo]:
    """Videos of a split whose cases are parts of them, by path."""
    parts = sorted(
        (row for row in rows if row.split == split and row.start_seconds is not None),
        key=attrgetter("video_path", "start_seconds"),
    )
    found = [[*own] for _, own in itertools.groupby(parts, key=attrgetter("video_path"))]
    return [
        LabelledVideo(own[0].video_path, own[0].group or own[0].content_hash, own) for own in found
    ]


def readable(
    videos: Sequence[LabelledVideo], answers: Iterable[AnswerT | RefusedVideo]
) -> Iterator[tuple[LabelledVideo, AnswerT]]:
    """Each video with its answer, but for refused ones, which are said."""
    for video, answer in zip(videos, answers, strict=True):
        if isinstance(answer, RefusedVideo):
            say(f"{printable(video.path)}: not used: {answer.reason}: {printable(answer.detail)}")
        else:
            yield video, answer


def position_prior(
    videos: Sequence[LabelledVideo], labels: dict[str, int], *, project: Path
) -> Floats:
    """Shares of the time that labels have at relative positions (POSITIONS, classes + 1).

    Background comes last. Every second weighs the same, so that the mean over positions is the
    share of all time.
    """
    shares = np.zeros((POSITIONS, len(labels) + 1))
    edges = np.linspace(0, 1, POSITIONS + 1)
    total = 0.0
    for video in videos:
        seconds = _seconds(video, project)
        total += seconds
        for label, start, end, _ in video.stretches(seconds, labels):
            inside = np.minimum(edges[1:], end / seconds) - np.maximum(edges[:-1], start / seconds)
            shares[:, label] += np.maximum(inside, 0) * POSITIONS * seconds
    shares[:, -1] = total - shares.sum(axis=1)
    # Rounded, so that equal shares are equal and the first of them is taken.
    return np.round(shares / total, 9)


def _seconds(video: LabelledVideo, project: Path) -> float:
    """A video's length as its container states it, and at least to the end of its last part."""
    least = max(row.end_seconds or row.start_seconds or 0.0 for row in video.rows)
    from slowfast_finetune.decoding.opening import open_video

    try:
        with open_video(locate(video.path, project=project)) as container:
            return max(least, (container.duration or 0) / 1e6, 1e-3)
    except VideoError:
        return max(least, 1e-3)


def most_frequent(prior: Floats, seconds: float) -> list[Stretch]:
    """The label that has most of the time, everywhere."""
    return by_position(prior.mean(axis=0, keepdims=True), seconds)


def by_position(prior: Floats, seconds: float) -> list[Stretch]:
    """At each relative position the label that is most frequent there, but for background."""
    positions, background = len(prior), prior.shape[1] - 1
    labels = prior.argmax(axis=1)
    edges = [*np.flatnonzero(np.diff(labels, prepend=-1)).tolist(), positions]
    return [
        Stretch(
            int(labels[start]),
            start * seconds / positions,
            end * seconds / positions,
            float(prior[start:end, labels[start]].mean()),
        )
        for start, end in itertools.pairwise(edges)
        if labels[start] != background
    ]


def filled(stretches: Sequence[Stretch], seconds: float) -> list[Stretch]:
    """The segments, and background wherever there is none."""
    result: list[Stretch] = []
    for stretch in (*stretches, Stretch(BACKGROUND, seconds, seconds)):
        reached = result[-1].end if result else 0.0
        if stretch.start > reached:
            result.append(Stretch(BACKGROUND, reached, stretch.start))
        result.append(stretch)
    return result[:-1]
