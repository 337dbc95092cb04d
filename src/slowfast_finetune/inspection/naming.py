"""Pure: file names that tell of groups, though nothing was said of groups."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from slowfast_finetune.inspection.findings import Finding
from slowfast_finetune.inspection.looks import Look

# Words that name who or what was filmed even where each class has one video of it.
SOURCES = frozenset(
    """actor actors cam camera child driver g group kid p patient performer person player room
    scene session sess site sub subj subject user volunteer""".split()  # noqa: SIM905
)
NUMBERED_WORD = re.compile(r"([^\W\d_]+)([_\- ]?)(\d+)")
IN_MOST_NAMES = 0.9
VIDEOS_A_VALUE = 1.5


def group_hint(looks: Sequence[Look]) -> list[Finding]:
    """Suggest ``data.group_pattern`` where names look grouped and no video has a group."""
    if any(look.group is not None for look in looks) or len(looks) < 4:
        return []
    values: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for look in looks:
        for word, separator, number in NUMBERED_WORD.findall(PurePosixPath(look.video_path).stem):
            values[word, separator].setdefault(look.video_path, number)
    # Where several do, the one with most numbers: of g07_c02 the g, of which there are more.
    telling = [
        (len(set(number_of.values())), word, separator)
        for (word, separator), number_of in values.items()
        if _tells_groups(word, number_of, looks)
    ]
    if not telling:
        return []
    _, word, separator = max(telling)
    return [_hint(word, separator, values[word, separator])]


def _tells_groups(word: str, number_of: dict[str, str], looks: Sequence[Look]) -> bool:
    distinct = set(number_of.values())
    if len(number_of) < IN_MOST_NAMES * len(looks) or len(distinct) < 2:
        return False
    if len(number_of) < VIDEOS_A_VALUE * len(distinct):
        return False
    if word.lower() in SOURCES:
        return True
    # clip_001 in every class only counts; take_07_a and take_07_b belong together.
    in_class = {
        (look.class_name, number_of[look.video_path])
        for look in looks
        if look.video_path in number_of
    }
    return len(number_of) >= VIDEOS_A_VALUE * len(in_class)


def _hint(word: str, separator: str, number_of: dict[str, str]) -> Finding:
    # Digits or the start of the name before it: subject1 is not the p1 of stop1.
    pattern = rf"(?<![^\W\d_]){re.escape(word)}{re.escape(separator)}(\d+)"
    number, count = Counter(number_of.values()).most_common(1)[0]
    alike = tuple(path for path, found in number_of.items() if found == number)
    return Finding(
        "warning",
        "groups",
        f"the file names look grouped, {word}{separator}{number} for one, but no groups are set",
        f"{len(set(number_of.values())):,} different numbers, {count} videos of this one. If it "
        "names a person, camera or recording, its videos must not be on both sides of the split: "
        f"data.group_pattern: '{pattern}' (or a groups.csv).",
        alike,
    )
