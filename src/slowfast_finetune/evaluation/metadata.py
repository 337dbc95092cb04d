"""Pure: how well a video's technical facts alone tell its class, without looking at a pixel.

Where they do, a model can learn the camera or the recorder in place of the action, and its accuracy
says nothing of actions. What the facts reach is what a model has to beat.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from slowfast_finetune.decoding.video_facts import VideoFacts

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
# Each tree sees no more videos than this: a hundred thousand tell no more about a resolution.
VIDEOS_PER_TREE = 5_000
NUM_FOLDS = 5
# How the folds fall moves the result of a small set by several percent: the mean is steadier.
REPEATS = 3
FEW_VIDEOS = 1_000
FEWEST_UNITS = 5  # groups or single videos of a class, for anything to be learnt of it
SEED = 0


class HasFacts(Protocol):
    """What a row must say of its video; ClipRow and Look both do."""

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
    """How well some facts told the class of videos they were not fitted to.

    Attributes:
        facts: which.
        accuracy: share of videos.
        majority: what always naming the commonest class reaches.
        balanced_accuracy: mean of the recall of each class.
        chance: what guessing reaches in balanced accuracy, 1 / classes.
        standard_errors: by how many ``balanced_accuracy`` lies above ``chance``.
    """

    facts: tuple[str, ...]
    accuracy: float
    majority: float
    balanced_accuracy: float
    chance: float
    standard_errors: float

    @property
    def skill(self) -> float:
        """0 where the facts tell nothing, 1 where they tell everything."""
        return (self.balanced_accuracy - self.chance) / (1 - self.chance)


def predict_from_facts(
    train: Sequence[HasFacts],
    test: Sequence[HasFacts],
    *,
    facts: Sequence[str] = FACTS,
    balanced: bool = False,
) -> npt.NDArray[np.int64]:
    """Labels of ``test`` as a random forest guesses them from the facts of ``train``, int64 (N,).

    Depends on the arguments alone. With a single class in ``train`` that is the answer.

    Args:
        facts: of FACTS, those that it may use.
        balanced: let every class weigh the same, however many videos it has.

    Raises:
        ValueError: ``train`` is empty, or a fact is none of FACTS.
    """
    if not train:
        raise ValueError("there are no videos to learn from")
    unknown = [fact for fact in facts if fact not in FACTS]
    if unknown:
        raise ValueError(f"found fact {unknown[0]!r}, expected some of {', '.join(FACTS)}")
    labels = np.array([row.label for row in train], np.int64)
    if len(set(labels.tolist())) == 1 or not test or not facts:
        commonest = int(np.bincount(labels).argmax())
        return np.full(len(test), commonest, np.int64)
    from sklearn.ensemble import RandomForestClassifier

    codecs = {name: code for code, name in enumerate(sorted({row.facts.decoder for row in train}))}
    forest = RandomForestClassifier(
        n_estimators=NUM_TREES,
        min_samples_leaf=3,
        max_samples=min(len(train), VIDEOS_PER_TREE),
        class_weight="balanced" if balanced else None,
        random_state=SEED,
    )
    with warnings.catch_warnings():
        # It warns where there are many classes for so few videos.
        warnings.filterwarnings("ignore", message="The number of unique classes")
        forest.fit(_features(train, facts, codecs), labels)
    return np.asarray(forest.predict(_features(test, facts, codecs)), np.int64)


def _features(
    rows: Sequence[HasFacts], facts: Sequence[str], codecs: Mapping[str, int]
) -> npt.NDArray[np.float64]:
    """One line per video, float64 (N, numbers); a codec that was never seen is -1."""
    lines = []
    for row in rows:
        found = row.facts
        width, height = found.source_width, found.source_height
        numbers: dict[str, list[float]] = {
            # A tree cuts one number at a time: shape and area spare it a staircase of cuts.
            "resolution": [width, height, width * height, width / max(height, 1)],
            "duration": [found.duration_seconds],
            "frame rate": [found.source_fps],
            "audio": [float(found.has_audio)],
            "codec": [codecs.get(found.decoder, -1)],
            "pixel shape": [found.pixel_aspect],
            "dynamic range": [DYNAMIC_RANGES.index(found.dynamic_range)],
            "interlacing": [float(found.interlaced)],
        }
        lines.append([number for fact in facts for number in numbers[fact]])
    return np.array(lines, np.float64)


def units_of(rows: Sequence[HasFacts]) -> npt.NDArray[np.object_]:
    """What must not be torn apart: the group of each video, else its bytes, object (N,)."""
    return np.array([row.group or f"content {row.content_hash}" for row in rows], object)


def giveaways(rows: Sequence[HasFacts]) -> list[Giveaway]:
    """How well each fact alone, and then all together, tells the class; cross-validated.

    Videos of one group, or with the same bytes, are never on both sides of a fold. Classes of
    fewer than five groups or ungrouped videos are left out. Empty with fewer than two classes
    left.
    """
    units = units_of(rows)
    labels = np.array([row.label for row in rows], np.int64)
    num_units = {label: len(set(units[labels == label])) for label in set(labels.tolist())}
    kept = [i for i, label in enumerate(labels.tolist()) if num_units[label] >= FEWEST_UNITS]
    rows, units, labels = [rows[i] for i in kept], units[kept], labels[kept]
    if len(set(labels.tolist())) < 2:
        return []
    count = min(NUM_FOLDS, *(num_units[label] for label in labels.tolist()))
    repeats = [
        folds(labels, units, count=count, seed=SEED + repeat)
        for repeat in range(REPEATS if len(rows) < FEW_VIDEOS else 1)
    ]
    choices: list[tuple[str, ...]] = [*((fact,) for fact in FACTS), FACTS]
    found = []
    for facts in choices:
        if len(np.unique(_features(rows, facts, _codecs(rows)), axis=0)) == 1:
            continue  # alike in all videos: no need to ask a forest
        guesses = [_cross_guesses(rows, parts, facts) for parts in repeats]
        found.append(_judge(facts, labels, guesses, units))
    return found


def _cross_guesses(
    rows: Sequence[HasFacts],
    parts: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    facts: Sequence[str],
) -> npt.NDArray[np.int64]:
    """The label of each video as guessed from the videos of the other folds, int64 (N,)."""
    guesses = np.zeros(len(rows), np.int64)
    for inside, outside in parts:
        guesses[outside] = predict_from_facts(
            [rows[i] for i in inside.tolist()],
            [rows[i] for i in outside.tolist()],
            facts=facts,
            balanced=True,
        )
    return guesses


def _codecs(rows: Sequence[HasFacts]) -> dict[str, int]:
    return {name: code for code, name in enumerate(sorted({row.facts.decoder for row in rows}))}


def folds(
    labels: npt.NDArray[np.int64], units: npt.NDArray[np.object_], *, count: int, seed: int = SEED
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Inside and outside of each fold, as positions; units stay whole."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # It warns of small classes; those that are too small were left out.
        warnings.simplefilter("ignore")
        folds = list(splitter.split(np.zeros((len(labels), 1)), labels, units))
    return [(inside, outside) for inside, outside in folds if len(outside)]


def _judge(
    facts: tuple[str, ...],
    labels: npt.NDArray[np.int64],
    repeats: Sequence[npt.NDArray[np.int64]],
    units: npt.NDArray[np.object_],
) -> Giveaway:
    """Compare guesses with labels; means over the repeats."""
    compared = [compare_with_luck(labels, guesses, units) for guesses in repeats]
    return Giveaway(
        facts=facts,
        accuracy=float(np.mean([(guesses == labels).mean() for guesses in repeats])),
        majority=float(np.bincount(labels).max() / len(labels)),
        balanced_accuracy=float(np.mean([accuracy for accuracy, _ in compared])),
        chance=1 / len(set(labels.tolist())),
        standard_errors=float(np.mean([errors for _, errors in compared])),
    )


def compare_with_luck(
    labels: npt.NDArray[np.int64],
    guesses: npt.NDArray[np.int64],
    units: npt.NDArray[np.object_],
) -> tuple[float, float]:
    """Balanced accuracy, and how many standard errors it is from guesses that know nothing.

    Guesses that are independent of the class name class c at the rate q_c whatever the video is.
    Its recall then has mean q_c and variance q_c (1 - q_c) / n_c, and the mean over classes lies
    round 1 / classes. n_c counts units: videos of one group stand or fall together.
    """
    classes = sorted(set(labels.tolist()))
    recalls, variance = [], 0.0
    for label in classes:
        of_class = labels == label
        recalls.append(float((guesses[of_class] == label).mean()))
        rate = float((guesses == label).mean())
        variance += rate * (1 - rate) / len(set(units[of_class]))
    accuracy = sum(recalls) / len(classes)
    error = math.sqrt(variance) / len(classes)
    return accuracy, (accuracy - 1 / len(classes)) / error if error > 0 else 0.0
