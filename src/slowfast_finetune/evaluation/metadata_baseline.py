"""Predict the class of a video from its technical properties alone. Pure.

If that is possible, a model can learn the camera or the recorder instead of the action. The
accuracy of this prediction is a baseline that a model has to exceed.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from slowfast_finetune.decoding.video_facts import VideoFacts
from slowfast_finetune.scoring.metrics import Floats, Labels

FACTS = (
    "resolution",
    "duration",
    "frame rate",
    "audio",
    "codec",
    "pixel shape",
    "dynamic range",
    "interlacing",
)
DYNAMIC_RANGES = ("sdr", "hlg", "pq")
NUM_TREES = 30
VIDEOS_PER_TREE = 5_000  # at most; more only take more time
NUM_FOLDS = 5
# With few videos the result depends on the folds by several percent, so that it is averaged.
REPEATS = 3
FEW_VIDEOS = 1_000
MIN_UNITS = 5  # groups or single videos of a class
SEED = 0

Units = npt.NDArray[np.object_]
Fold = tuple[Labels, Labels]  # positions inside and outside


class HasFacts(Protocol):
    """A row about a video, such as ClipRow or VideoSummary."""

    @property
    def label(self) -> int: ...
    @property
    def group(self) -> str | None: ...
    @property
    def content_hash(self) -> str: ...
    @property
    def facts(self) -> VideoFacts: ...


@dataclass(frozen=True)
class Giveaway:
    """How well some properties predict the class, by cross-validation."""

    facts: tuple[str, ...]  # the properties, of FACTS
    accuracy: float
    majority: float  # accuracy of always predicting the most frequent class
    balanced_accuracy: float  # mean recall of the classes
    chance: float  # balanced accuracy of guessing, 1 / classes
    standard_errors: float  # (balanced_accuracy - chance) / its standard error

    @property
    def skill(self) -> float:
        """From 0, no better than guessing, to 1, always correct."""
        return (self.balanced_accuracy - self.chance) / (1 - self.chance)


def predict_from_facts(train: Sequence[HasFacts], test: Sequence[HasFacts]) -> Labels:
    """Predict the labels of ``test`` by a random forest fitted to ``train``, int64 (N,).

    Deterministic. A single class in ``train``, which must not be empty, is always predicted.
    """
    labels = np.array([row.label for row in train], np.int64)
    codecs = sorted({row.facts.decoder for row in train})
    features = [_features(rows, FACTS, codecs) for rows in (train, test)]
    return _predict(features[0], labels, features[1], balanced=False)


def _predict(features: Floats, labels: Labels, unseen: Floats, *, balanced: bool) -> Labels:
    """Fit a random forest, in which classes can have the same weight, and predict ``unseen``."""
    from sklearn.ensemble import RandomForestClassifier

    if len(set(labels.tolist())) == 1 or not len(unseen):
        return np.full(len(unseen), labels[0], np.int64)
    forest = RandomForestClassifier(
        n_estimators=NUM_TREES,
        min_samples_leaf=3,
        max_samples=min(len(labels), VIDEOS_PER_TREE),
        class_weight="balanced" if balanced else None,
        random_state=SEED,
    )
    with warnings.catch_warnings():
        # scikit-learn warns of many classes with few videos each.
        warnings.filterwarnings("ignore", message="The number of unique classes")
        forest.fit(features, labels)
    return np.asarray(forest.predict(unseen), np.int64)


def _features(rows: Sequence[HasFacts], facts: Sequence[str], codecs: Sequence[str]) -> Floats:
    """Make the features, float64 (N, D); a codec that is not in ``codecs`` is -1."""
    lines = []
    for row in rows:
        found = row.facts
        width, height = found.source_width, found.source_height
        numbers: dict[str, list[float]] = {
            # Trees split one number at a time; area and aspect ratio save splits.
            "resolution": [width, height, width * height, width / max(height, 1)],
            "duration": [found.duration_seconds],
            "frame rate": [found.source_fps],
            "audio": [float(found.has_audio)],
            "codec": [codecs.index(found.decoder) if found.decoder in codecs else -1],
            "pixel shape": [found.pixel_aspect],
            "dynamic range": [DYNAMIC_RANGES.index(found.dynamic_range)],
            "interlacing": [float(found.interlaced)],
        }
        lines.append([number for fact in facts for number in numbers[fact]])
    return np.array(lines, np.float64)


def fold_units(rows: Sequence[HasFacts]) -> Units:
    """Name the unit that stays in one fold: the group of a video, else its bytes, object (N,)."""
    return np.array([row.group or f"content {row.content_hash}" for row in rows], object)


def giveaways(rows: Sequence[HasFacts]) -> list[Giveaway]:
    """Measure how well each property, and then all together, predicts the class.

    By cross-validation, with each group, and all copies of a video, in one fold. Classes of fewer
    than five groups or ungrouped videos are left out, and properties that are the same in all
    videos. Empty with fewer than two classes left.
    """
    units = fold_units(rows)
    labels = np.array([row.label for row in rows], np.int64)
    num_units = {label: len(set(units[labels == label])) for label in set(labels.tolist())}
    kept = [i for i, label in enumerate(labels.tolist()) if num_units[label] >= MIN_UNITS]
    rows, units, labels = [rows[i] for i in kept], units[kept], labels[kept]
    if len(set(labels.tolist())) < 2:
        return []
    count = min(NUM_FOLDS, *(num_units[label] for label in labels.tolist()))
    repeats = [
        folds(labels, units, count=count, seed=SEED + repeat)
        for repeat in range(REPEATS if len(rows) < FEW_VIDEOS else 1)
    ]
    codecs = sorted({row.facts.decoder for row in rows})
    found = []
    for facts in (*((fact,) for fact in FACTS), FACTS):
        features = _features(rows, facts, codecs)
        if len(np.unique(features, axis=0)) == 1:
            continue
        guesses = np.zeros((len(repeats), len(rows)), np.int64)
        for guessed, parts in zip(guesses, repeats, strict=True):
            for inside, outside in parts:
                guessed[outside] = _predict(
                    features[inside], labels[inside], features[outside], balanced=True
                )
        compared = [compare_with_chance(labels, guessed, units) for guessed in guesses]
        balanced_accuracy, standard_errors = np.mean(compared, axis=0).tolist()
        giveaway = Giveaway(
            facts=facts,
            accuracy=float((guesses == labels).mean()),
            majority=float(np.bincount(labels).max() / len(labels)),
            balanced_accuracy=balanced_accuracy,
            chance=1 / len(set(labels.tolist())),
            standard_errors=standard_errors,
        )
        found.append(giveaway)
    return found


def folds(labels: Labels, units: Units, *, count: int, seed: int = SEED) -> list[Fold]:
    """Split into stratified folds that keep units whole."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # scikit-learn warns of small classes; those that are too small were left out.
        warnings.simplefilter("ignore")
        found = list(splitter.split(np.zeros((len(labels), 1)), labels, units))
    return [(inside, outside) for inside, outside in found if len(outside)]


def compare_with_chance(labels: Labels, guesses: Labels, units: Units) -> tuple[float, float]:
    """Compute the balanced accuracy, and its distance from chance in standard errors.

    If guesses are independent of the class, and class c is guessed at the rate q_c, its recall has
    mean q_c and variance q_c (1 - q_c) / n_c, and the balanced accuracy has mean 1 / classes. n_c
    counts units, because videos of one group are not independent.
    """
    classes = np.unique(labels)
    num_units = np.array([len(set(units[labels == label])) for label in classes])
    rates = np.array([(guesses == label).mean() for label in classes])
    accuracy = float(np.mean([(guesses[labels == label] == label).mean() for label in classes]))
    error = math.sqrt((rates * (1 - rates) / num_units).sum()) / len(classes)
    return accuracy, (accuracy - 1 / len(classes)) / error if error > 0 else 0.0
