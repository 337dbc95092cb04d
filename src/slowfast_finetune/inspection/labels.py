"""Pure: labels that what is seen in the videos speaks against.

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 70, 2021): a simple model is asked for the class of videos that it was not
fitted to. A video counts as another class j where its probability of j reaches the mean probability
of j among the videos labelled j, and its own label's does not come first.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slowfast_finetune.evaluation.metadata import (
    NUM_FOLDS,
    compare_with_luck,
    folds,
    units_of,
)
from slowfast_finetune.inspection.findings import Finding, counted, listed, rounded_percent
from slowfast_finetune.inspection.looks import THUMBNAIL_SIDE, Look

MOTION_SIDE = 6  # cells of the map of what moves
NUM_COMPONENTS = 60  # of the pictures
MOST_VIDEOS = 10_000
FEWEST_VIDEOS = 20  # in all; 5 of a class
FEWEST_OF_CLASS = 5
CLEAR_SKILL = 0.3  # share of the way from guessing to knowing
CLEAR_ERRORS = 4.0
# A doubt must be as sure as the surest quarter of what the model gets right.
SUREST = 0.75
FEWEST_SURE = 0.3
MOST_SUSPECTS = 0.2  # of the videos; a model that doubts more than these is itself to be doubted
ALIKE = 0.62  # balanced accuracy between two classes that are not told apart
APART = 0.8  # and between each of them and every other


@dataclass(frozen=True)
class Opinion:
    """What a simple model says of videos that it was not fitted to.

    Attributes:
        looks: the videos that were judged.
        labels: int64 (N,).
        probabilities: float64 (N, classes), in the order of ``classes``.
        classes: labels, rising.
    """

    looks: list[Look]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    classes: list[int]

    @property
    def guesses(self) -> npt.NDArray[np.int64]:
        """The likeliest label of each video, int64 (N,)."""
        best = self.probabilities.argmax(axis=1).tolist()
        return np.array([self.classes[column] for column in best], np.int64)


def label_findings(looks: Sequence[Look]) -> list[Finding]:
    """Videos and classes that may be mislabelled; none where the simple model knows too little."""
    opinion = form_opinion(looks)
    if opinion is None:
        return []
    return [*_alike_classes(opinion), *(_suspects(opinion) if _knows_enough(opinion) else [])]


def form_opinion(looks: Sequence[Look]) -> Opinion | None:
    """Cross-validated probabilities from the tiny pictures; None where there are too few videos."""
    counts = Counter(look.label for look in looks)
    looks = [look for look in looks if counts[look.label] >= FEWEST_OF_CLASS]
    if len(looks) > MOST_VIDEOS:
        chosen = np.random.default_rng(0).choice(len(looks), MOST_VIDEOS, replace=False)
        looks = [looks[i] for i in sorted(chosen.tolist())]
    classes = sorted({look.label for look in looks})
    if len(looks) < FEWEST_VIDEOS or len(classes) < 2:
        return None
    labels = np.array([look.label for look in looks], np.int64)
    units = units_of(looks)
    fewest = min(len(set(units[labels == label].tolist())) for label in classes)
    if fewest < 2:
        return None
    features = _features(looks)
    probabilities = np.zeros((len(looks), len(classes)))
    for inside, outside in folds(labels, units, count=min(NUM_FOLDS, fewest)):
        columns, found = _fit_and_ask(features[inside], labels[inside], features[outside])
        for column, label in enumerate(columns):
            probabilities[outside, classes.index(label)] = found[:, column]
    return Opinion(list(looks), labels, probabilities, classes)


def _fit_and_ask(
    known: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    asked: npt.NDArray[np.float64],
) -> tuple[list[int], npt.NDArray[np.float64]]:
    """Labels that the model knows, and their probabilities for each line of ``asked``."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(set(labels.tolist())) == 1:
        return [int(labels[0])], np.ones((len(asked), 1))
    model = make_pipeline(
        StandardScaler(),
        PCA(min(NUM_COMPONENTS, *known.shape), random_state=0),
        StandardScaler(),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
    )
    model.fit(known, labels)
    return model[-1].classes_.tolist(), np.asarray(model.predict_proba(asked))


def _features(looks: Sequence[Look]) -> npt.NDArray[np.float64]:
    """What a video looks like, its colours, and where it moves when; float64 (N, numbers)."""
    lines = []
    for look in looks:
        frames = look.thumbnails.astype(np.float64)
        still = np.median(frames, axis=0)
        # Against the background each frame tells where the figure is; against the last, its steps.
        away = _cells(np.abs(frames - still))
        steps = _cells(np.abs(np.diff(frames, axis=0)))
        moving = np.log1p(np.concatenate([away, steps, away.mean(axis=0, keepdims=True)]))
        lines.append(
            np.concatenate([still[::2, ::2].ravel(), look.colours.ravel(), moving.ravel()])
        )
    return np.array(lines, np.float64)


def _cells(pictures: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means over a coarse grid of each picture, float64 (N, 6, 6)."""
    cell = THUMBNAIL_SIDE // MOTION_SIDE
    shape = (len(pictures), MOTION_SIDE, cell, MOTION_SIDE, cell)
    return np.asarray(pictures.reshape(shape).mean(axis=(2, 4)), np.float64)


def _knows_enough(opinion: Opinion) -> bool:
    """Whether the guesses are better than chance, clearly and beyond luck."""
    chance = 1 / len(opinion.classes)
    units = units_of(opinion.looks)
    accuracy, errors = compare_with_luck(opinion.labels, opinion.guesses, units)
    return (accuracy - chance) / (1 - chance) >= CLEAR_SKILL and errors >= CLEAR_ERRORS


def suspects(opinion: Opinion) -> list[tuple[int, int]]:
    """Positions of videos that count as another class, and that label; the clearest first."""
    own = np.array([opinion.classes.index(label) for label in opinion.labels.tolist()])
    rows = np.arange(len(own))
    own_probability = opinion.probabilities[rows, own]
    thresholds = np.array([own_probability[own == column].mean() for column in np.unique(own)])
    reached = np.where(opinion.probabilities >= thresholds, opinion.probabilities, -1.0)
    other = reached.argmax(axis=1)
    margins = reached[rows, other] - own_probability
    doubted = (other != own) & (margins >= _sure_margin(opinion, own))
    found = sorted(np.flatnonzero(doubted).tolist(), key=lambda i: -margins[i])
    return [(i, opinion.classes[int(other[i])]) for i in found]


def _sure_margin(opinion: Opinion, own: npt.NDArray[np.int64]) -> float:
    """By how much the first class leads the second in what the model is right and surest of."""
    best = np.sort(opinion.probabilities, axis=1)
    right = opinion.probabilities.argmax(axis=1) == own
    leads = (best[:, -1] - best[:, -2])[right]
    return max(FEWEST_SURE, float(np.quantile(leads, SUREST))) if len(leads) else 1.0


def _suspects(opinion: Opinion) -> list[Finding]:
    found = suspects(opinion)
    if not found or len(found) > MOST_SUSPECTS * len(opinion.looks):
        return []
    names = {look.label: look.class_name for look in opinion.looks}
    moves = Counter((opinion.looks[i].class_name, names[label]) for i, label in found)
    first, label = opinion.looks[found[0][0]], found[0][1]
    shown = [f"{count} of {one} look like {other}" for (one, other), count in moves.most_common()]
    return [
        Finding(
            "warning",
            "mislabelled",
            f"At least {counted(len(found), 'video looks', 'videos look')} like another class",
            f"{listed(shown, most=4)}. First: {first.video_path} looks like {names[label]}. A "
            "simple model of shapes and movement thinks so. It may be wrong of these, and misses "
            "as many: look through the classes on the page.",
            tuple(opinion.looks[i].video_path for i, _ in found),
        )
    ]


def _alike_classes(opinion: Opinion) -> list[Finding]:
    """Pairs of classes that are not told apart although each is told from all others."""
    if len(opinion.classes) < 3:
        return []
    told = {
        frozenset(pair): _told_apart(opinion, *pair)
        for pair in itertools.combinations(range(len(opinion.classes)), 2)
    }
    names = {look.label: look.class_name for look in opinion.looks}
    findings = []
    for pair, accuracy in told.items():
        others = [found for other, found in told.items() if other != pair and other & pair]
        if accuracy <= ALIKE and min(others) >= APART:
            one, other = (names[opinion.classes[column]] for column in sorted(pair))
            members = [look.video_path for look in opinion.looks if look.class_name in (one, other)]
            findings.append(
                Finding(
                    "warning",
                    "alike-classes",
                    f"{one} and {other} look alike: is one of them the other?",
                    f"A simple model tells both from every other class "
                    f"({rounded_percent(min(others))} or "
                    f"better), but not from each other "
                    f"({rounded_percent(accuracy)}; guessing is 50 %). If "
                    "they are not very similar actions, one folder may be mislabelled.",
                    tuple(members),
                )
            )
    return findings


def _told_apart(opinion: Opinion, one: int, other: int) -> float:
    """Balanced accuracy where only these two classes, by column, could be the answer."""
    recalls = []
    for column, rival in ((one, other), (other, one)):
        own = opinion.probabilities[opinion.labels == opinion.classes[column]]
        recalls.append(float((own[:, column] > own[:, rival]).mean()))
    return sum(recalls) / 2
