"""Pure: what is told of each class: how many videos, how long, how large, how fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slowfast_finetune.base.manifest_table import SPLITS
from slowfast_finetune.inspection.looks import Look, Refused


@dataclass(frozen=True)
class ClassFacts:
    """One line of the table of classes.

    Attributes:
        num_videos: usable ones; ``num_refused``: the others.
        splits: usable videos of train, val and test.
        seconds: shortest, median and longest [s].
        sizes, rates: the commonest, and how many different ones there are.
        sound: share with a sound track, 0 to 1.
        padded: share that is shorter than a clip, 0 to 1.
    """

    class_name: str
    num_videos: int
    num_refused: int
    splits: tuple[int, int, int]
    seconds: tuple[float, float, float]
    sizes: tuple[str, int]
    rates: tuple[str, int]
    sound: float
    padded: float


def class_facts(
    looks: Sequence[Look], refused: Sequence[Refused], *, num_frames: int
) -> list[ClassFacts]:
    """A line for each class, by name. ``num_frames`` is that of a clip."""
    names = sorted({look.class_name for look in looks} | {video.class_name for video in refused})
    of_class: dict[str, list[Look]] = {name: [] for name in names}
    for look in looks:
        of_class[look.class_name].append(look)
    num_refused = Counter(video.class_name for video in refused)
    return [_facts(name, of_class[name], num_refused[name], num_frames) for name in names]


def _facts(name: str, looks: Sequence[Look], num_refused: int, num_frames: int) -> ClassFacts:
    splits = Counter(look.split for look in looks)
    seconds = [look.facts.duration_seconds for look in looks] or [0.0]
    return ClassFacts(
        class_name=name,
        num_videos=len(looks),
        num_refused=num_refused,
        splits=(splits["train"], splits["val"], splits["test"]),
        seconds=(min(seconds), float(np.median(seconds)), max(seconds)),
        sizes=_commonest([look.facts.size_text for look in looks]),
        rates=_commonest([f"{look.facts.source_fps:.4g}" for look in looks]),
        sound=_share([look.facts.has_audio for look in looks]),
        padded=_share([look.num_sampled < num_frames for look in looks]),
    )


def _commonest(values: Sequence[str]) -> tuple[str, int]:
    counts = Counter(values)
    return (counts.most_common(1)[0][0], len(counts)) if counts else ("–", 0)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0


def totals(facts: Sequence[ClassFacts]) -> tuple[int, ...]:
    """Usable videos of each split, over all classes."""
    return tuple(sum(line.splits[i] for line in facts) for i in range(len(SPLITS)))
