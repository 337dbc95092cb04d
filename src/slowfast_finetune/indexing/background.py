"""A class for what lies between the labelled parts of videos."""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.manifest_table import NONE_OF_THESE
from slowfast_finetune.indexing.discovery import FoundVideo, in_order
from slowfast_finetune.indexing.label_table import TIME_DIGITS, LabelRow

Stretch = tuple[float, float]  # from and until [s]


def add_background(
    videos: Sequence[FoundVideo],
    rows: Mapping[str, Sequence[tuple[int, LabelRow]]],
    *,
    class_name: str,
    ratio: float,
) -> tuple[list[FoundVideo], str]:
    """Add parts of a class for what lies before and between the labelled parts of each video.

    Gives the videos in order, and what to say of the parts; ``rows`` are those of a LabelTable.

    A video gets ``ratio`` times as many as it has labelled parts, and as long as these, so that the
    length does not tell the class; fewer where there is no room. What follows the last labelled
    part is not used: the table does not say where the video ends.

    Raises:
        DataError: there are no labelled parts.
    """
    parts = grouped((v for v in videos if v.start is not None), key=lambda part: part.name)
    if not parts:
        raise DataError(
            f"data.background: {class_name!r} is what lies between labelled parts of videos, and "
            "no table of labels has parts (docs/labels.md)"
        )
    if class_name == NONE_OF_THESE:
        raise DataError(f"data.background: {class_name!r} is given to videos of no class")
    found: list[FoundVideo] = []
    wanted = 0
    for name, own in sorted(parts.items()):
        own.sort(key=lambda part: part.start or 0.0)
        lengths = [part.end - (part.start or 0.0) for part in own if part.end is not None]
        number = round(ratio * len(own)) if lengths else 0
        wanted += number
        # Parts without a label are left out of the background too.
        gaps = _gaps([(row.start or 0.0, row.end) for _, row in rows[name]])
        found += [
            replace(own[0], class_name=class_name, start=start, end=end, table_row=None)
            for start, end in _placed(lengths, gaps, number=number, name=name)
        ]
    lacking = f"; there is no room for {wanted - len(found)} more" if wanted > len(found) else ""
    made = f"{count(len(found), 'part')} of the class {class_name!r} from between those of "
    return in_order([*videos, *found]), f"{made}{count(len(parts), 'video')}{lacking}"


def _gaps(labelled: Sequence[tuple[float, float | None]]) -> list[Stretch]:
    """What lies before and between parts that are sorted and do not overlap."""
    gaps = []
    end: float | None = 0.0
    for start, next_end in labelled:
        if end is not None and start > end:
            gaps.append((end, start))
        end = next_end
    return gaps


def _placed(
    lengths: Sequence[float], gaps: Sequence[Stretch], *, number: int, name: str
) -> list[Stretch]:
    """Put up to ``number`` stretches into the gaps, evenly, so that they keep off labelled parts.

    The lengths [s] go to the gaps in turn; where one is too long, the longest that fits. Every gap
    takes one stretch before any takes two, as far as there is room, and gaps that cannot all have
    one take it in an order drawn from ``name``. So a boundary that moves a little moves the
    stretches beside it a little, and no others.
    """
    if not number:
        return []
    ascending = sorted(lengths)
    kept = []  # gaps with room, and the length that each takes
    for index, (first, last) in enumerate(gaps):
        length = lengths[index % len(lengths)]
        if length > last - first and (fitting := bisect_right(ascending, last - first)):
            length = ascending[fitting - 1]
        if length <= last - first:
            kept.append((first, last, length))
    open_gaps = sorted(range(len(kept)), key=lambda index: _draw(f"{name} {index}"))
    taken = [0] * len(kept)
    while open_gaps and number > 0:
        open_gaps = [
            index
            for index in open_gaps
            for first, last, length in [kept[index]]
            if (taken[index] + 1) * length <= last - first
        ]
        for index in open_gaps[:number]:
            taken[index] += 1
        number -= len(open_gaps)
    placed = []
    for (first, last, length), times in zip(kept, taken, strict=True):
        space = (last - first - times * length) / (times + 1)
        for at in range(times):
            start = round(first + space + at * (space + length), TIME_DIGITS)
            placed.append((start, min(round(start + length, TIME_DIGITS), last)))
    return placed


def _draw(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
