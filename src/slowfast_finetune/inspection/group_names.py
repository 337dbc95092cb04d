"""Detect groups that file names imply, if no video has a group. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from slowfast_finetune.inspection.findings import Finding, make_finding
from slowfast_finetune.inspection.video_summary import VideoSummary

# Words that denote a person or place, even if each has only one video per class.
SOURCES = frozenset(
    """actor actors cam camera child driver g group kid p patient performer person player room
    scene session sess site sub subj subject user volunteer""".split()  # noqa: SIM905
)
NUMBERED_WORD = re.compile(r"([^\W\d_]+)([_\- ]?)(\d+)")
MIN_NAMES = 0.9  # share of the file names that must contain the word and a number
MIN_VIDEOS_PER_NUMBER = 1.5  # a number that hardly ever repeats is a counter, not a group


def group_hint(videos: Sequence[VideoSummary]) -> Iterator[Finding]:
    """Suggest ``data.group_pattern`` if file names imply groups and no video has a group."""
    cases = videos
    videos = [*{video.video_path: video for video in videos}.values()]
    if any(video.group is not None for video in videos) or len(videos) < 4:
        return
    values: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for video in videos:
        for word, separator, number in NUMBERED_WORD.findall(PurePosixPath(video.video_path).stem):
            values[word, separator].setdefault(video.video_path, number)
    # If several words match, prefer the one with most distinct numbers.
    candidates = [
        (len(set(number_of.values())), word, separator)
        for (word, separator), number_of in values.items()
        if _implies_groups(word, number_of, videos)
    ]
    if not candidates:
        return
    _, word, separator = max(candidates)
    number_of = values[word, separator]
    number, alike = Counter(number_of.values()).most_common(1)[0]
    yield make_finding(
        "groups",
        "warning",
        [video.case for video in cases if number_of.get(video.video_path) == number],
        example=f"{word}{separator}{number}",
        distinct=len(set(number_of.values())),
        alike=alike,
        # Not after a letter: the p1 of stop1 is not person 1.
        pattern=rf"(?<![^\W\d_]){re.escape(word)}{re.escape(separator)}(\d+)",
    )


def _implies_groups(word: str, number_of: dict[str, str], videos: Sequence[VideoSummary]) -> bool:
    distinct = set(number_of.values())
    if len(number_of) < MIN_NAMES * len(videos) or len(distinct) < 2:
        return False
    if len(number_of) < MIN_VIDEOS_PER_NUMBER * len(distinct):
        return False
    if word.lower() in SOURCES:
        return True
    # clip_001 in every class is a counter; take_07_a and take_07_b belong to one group.
    in_class = {
        (video.class_name, number_of[video.video_path])
        for video in videos
        if video.video_path in number_of
    }
    return len(number_of) >= MIN_VIDEOS_PER_NUMBER * len(in_class)
