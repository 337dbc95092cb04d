"""Scores of predicted segments of videos against labelled ones. Pure.

Frame accuracy and segmental F1 are those of Farha & Gall, "MS-TCN: Multi-Stage Temporal
Convolutional Network for Action Segmentation", CVPR 2019; mean average precision is that of
Caba Heilbron et al., "ActivityNet", CVPR 2015, as its evaluator computes it.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from slowfast_finetune.evaluation.resampling import resampled, units_of
from slowfast_finetune.scoring.metrics import Floats, Labels

FRAME_SECONDS = 0.1  # from one point of the time grid to the next
F1_OVERLAPS = (0.10, 0.25, 0.50)
MAP_OVERLAPS = (0.3, 0.4, 0.5, 0.6, 0.7)
# Times are rounded binary numbers: the IoU of 10 and 20 tenths of a second may come out as
# 0.4999999999999999, and is to reach 0.5.
ROUNDING = 1e-9
BACKGROUND = -1  # the label of what lies in no segment


class Stretch(NamedTuple):
    """A segment of a video: its label, its times [s], and how sure the prediction is."""

    label: int
    start: float
    end: float
    score: float = 1.0


class Timeline(NamedTuple):
    """The labelled and the predicted segments of one video, each in order and without overlap."""

    true: Sequence[Stretch]
    predicted: Sequence[Stretch]
    seconds: float  # length of the video; nothing lies later


def frame_labels(stretches: Sequence[Stretch], seconds: float) -> Labels:
    """Labels at the middles of the cells of a time grid, FRAME_SECONDS apart."""
    times = (np.arange(max(1, round(seconds / FRAME_SECONDS))) + 0.5) * FRAME_SECONDS
    labels = np.full(len(times), BACKGROUND, dtype=np.int64)
    for stretch in stretches:
        labels[(stretch.start <= times) & (times < stretch.end)] = stretch.label
    return labels


def frame_counts(timelines: Sequence[Timeline]) -> Floats:
    """Points of the time grid of each video with the right label, and all (videos, 2)."""
    counts = []
    for true, predicted, seconds in timelines:
        right = frame_labels(true, seconds) == frame_labels(predicted, seconds)
        counts.append((right.sum(), len(right)))
    return np.array(counts, dtype=np.float64).reshape(-1, 2)


def joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Segments of which neighbours that touch and have one label are one, as in labels of frames.

    Background is no segment.
    """
    result: list[Stretch] = []
    for stretch in stretches:
        if stretch.label == BACKGROUND:
            continue
        last = result[-1] if result else None
        if last and last.label == stretch.label and last.end >= stretch.start:
            result[-1] = last._replace(end=stretch.end)
        else:
            result.append(stretch)
    return result


def segment_counts(timelines: Sequence[Timeline], *, overlap: float) -> Floats:
    """Hits, predicted segments and true segments of each video (videos, 3).

    Each predicted segment in turn is compared with the true one of its label that it overlaps most;
    it is a hit if their IoU reaches ``overlap`` and no earlier one has hit the same.
    """
    counts = []
    for timeline in timelines:
        true, predicted = joined(timeline.true), joined(timeline.predicted)
        hit: set[int] = set()
        for stretch in predicted:
            shares = [_iou(stretch, other) * (other.label == stretch.label) for other in true]
            best = int(np.argmax(shares)) if shares else -1
            if shares and shares[best] >= overlap - ROUNDING:
                hit.add(best)
        counts.append((len(hit), len(predicted), len(true)))
    return np.array(counts, dtype=np.float64).reshape(-1, 3)


def f1_of_counts(counts: Floats) -> Floats:
    """F1 from sums of :func:`segment_counts` (..., 3); NaN where there is no segment at all."""
    hits, predicted, true = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * hits / (predicted + true))


def mean_average_precision(timelines: Sequence[Timeline], weights: Floats) -> Floats:
    """Average over MAP_OVERLAPS of the mean interpolated AP of the classes (resamples,).

    In falling order of score, each predicted segment takes the true one of its label and video that
    it overlaps most among those that are free and whose IoU reaches the threshold; without one it
    is a false positive. Only classes with true segments count.

    Args:
        weights: how often each video is drawn (resamples, videos). Drawing a video twice gives what
            two equal videos with other names give.
    """
    per_class = []
    for label in sorted({part.label for line in timelines for part in line.true} - {BACKGROUND}):
        predicted = sorted(
            (-part.score, video, number, part)
            for video, line in enumerate(timelines)
            for number, part in enumerate(line.predicted)
            if part.label == label
        )
        true = [[part for part in line.true if part.label == label] for line in timelines]
        num_true = weights @ np.array([len(parts) for parts in true], dtype=np.float64)
        videos = [video for _, video, *_ in predicted]
        precisions = [
            _interpolated(_hits(true, predicted, overlap), weights[:, videos], num_true)
            for overlap in MAP_OVERLAPS
        ]
        per_class.append(np.mean(precisions, axis=0))
    if not per_class:
        return np.full(len(weights), np.nan)
    values = np.stack(per_class)
    known = ~np.isnan(values)  # a resample may hold no segment of a class
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=0) / known.sum(axis=0))


def _hits(
    true: Sequence[Sequence[Stretch]],
    predicted: Sequence[tuple[float, int, int, Stretch]],
    overlap: float,
) -> Floats:
    """1 for each predicted segment that takes a true one, else 0, in falling order of score."""
    hits = np.zeros(len(predicted))
    free = [[*reversed(parts)] for parts in true]  # of equal ones the last is taken
    for row, (_, video, _, part) in enumerate(predicted):
        best = max(free[video], key=partial(_iou, part), default=None)
        if best is not None and _iou(part, best) >= overlap - ROUNDING:
            free[video].remove(best)
            hits[row] = 1
    return hits


def _interpolated(hits: Floats, weights: Floats, num_true: Floats) -> Floats:
    """Interpolated average precision (resamples,) of ranked predictions; NaN without true ones.

    Precision at a recall is the largest at that or a larger recall. Equal copies of a prediction
    need no steps of their own: within copies of a hit precision only rises.
    """
    right = weights * hits
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.cumsum(right, axis=1) / np.cumsum(weights, axis=1)
        best = np.maximum.accumulate(np.nan_to_num(precision)[:, ::-1], axis=1)[:, ::-1]
        return np.asarray((right * best).sum(axis=1) / num_true)


def _iou(one: Stretch, other: Stretch) -> float:
    shared = max(0.0, min(one.end, other.end) - max(one.start, other.start))
    return shared / (one.end - one.start + other.end - other.start - shared)


def draws(units: Sequence[str]) -> Floats:
    """How often each video is drawn (1 + resamples, videos): once, then by resampling units.

    The same draws for all timelines of these videos, so that scores can be subtracted.
    """
    numbers = units_of(units)
    num_units = int(numbers.max()) + 1
    return np.vstack([np.ones(num_units), resampled(np.eye(num_units))])[:, numbers]


def scores_of(timelines: Sequence[Timeline], weights: Floats) -> dict[str, Floats]:
    """Each score (resamples,) of videos that are drawn so often (resamples, videos)."""
    right, frames = (weights @ frame_counts(timelines)).T
    scores = {"frame_accuracy": right / frames}
    for overlap in F1_OVERLAPS:
        counts = weights @ segment_counts(timelines, overlap=overlap)
        scores[f"f1_{round(100 * overlap)}"] = f1_of_counts(counts)
    return scores | {"map": mean_average_precision(timelines, weights)}


def disagreements(timeline: Timeline) -> list[tuple[int, Stretch]]:
    """Stretches with one wrong answer throughout: the true label, and what is predicted there."""
    true, predicted, seconds = timeline
    labels = np.stack([frame_labels(part, seconds) for part in (true, predicted)])
    cuts = np.flatnonzero(np.any(np.diff(labels, axis=1) != 0, axis=0)) + 1
    return [
        (true_label, Stretch(label, start * FRAME_SECONDS, min(end * FRAME_SECONDS, seconds)))
        for start, end in itertools.pairwise([0, *cuts.tolist(), labels.shape[1]])
        for true_label, label in [labels[:, start].tolist()]
        if true_label != label
    ]
