"""Compute statistics of each class: number, length, size and rate of its videos. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from slowfast_finetune.clips.clip_tables import RejectedRow
from slowfast_finetune.inspection.video_summary import VideoSummary


@dataclass(frozen=True)
class ClassFacts:
    """Statistics of one class."""

    class_name: str
    num_videos: int  # usable
    num_rejected: int
    splits: tuple[int, int, int]  # usable videos in train, val and test
    seconds: tuple[float, float, float]  # shortest, median and longest duration [s]
    sizes: tuple[str, int]  # the most frequent one, and the number of different ones
    rates: tuple[str, int]  # likewise
    sound: float  # share of videos with a sound track, 0 to 1
    padded: float  # share of videos shorter than a clip, 0 to 1


def class_facts(
    videos: Sequence[VideoSummary], rejected: Sequence[RejectedRow], *, num_frames: int
) -> list[ClassFacts]:
    """Compute the statistics of each class, by name; a clip has ``num_frames``."""
    of_class: dict[str, list[VideoSummary]] = {video.class_name: [] for video in rejected}
    for video in videos:
        of_class.setdefault(video.class_name, []).append(video)
    num_rejected = Counter(video.class_name for video in rejected)
    facts = []
    for name, own in sorted(of_class.items()):
        splits = Counter(video.split for video in own)
        seconds = [video.facts.duration_seconds for video in own] or [0.0]
        facts.append(
            ClassFacts(
                class_name=name,
                num_videos=len(own),
                num_rejected=num_rejected[name],
                splits=(splits["train"], splits["val"], splits["test"]),
                seconds=(min(seconds), statistics.median(seconds), max(seconds)),
                sizes=_most_frequent([video.facts.size_text for video in own]),
                rates=_most_frequent([f"{video.facts.source_fps:.4g}" for video in own]),
                sound=sum(video.facts.has_audio for video in own) / max(len(own), 1),
                padded=sum(video.num_sampled < num_frames for video in own) / max(len(own), 1),
            )
        )
    return facts


def _most_frequent(values: Sequence[str]) -> tuple[str, int]:
    counts = Counter(values)
    return (counts.most_common(1)[0][0], len(counts)) if counts else ("–", 0)
