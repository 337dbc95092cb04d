"""Which videos belong together: by labels.csv, groups.csv, or a pattern on the path."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.indexing.discovery import FoundVideo
from slowfast_finetune.indexing.folder_walk import GROUPS_FILE
from slowfast_finetune.indexing.label_table import composed, read_cells


def find_groups(
    videos: Sequence[FoundVideo], *, root: Path, pattern: str | None
) -> tuple[dict[str, str], list[str]]:
    """Group of each video's name, by groups.csv in the videos folder or by the pattern; notes.

    A group that the table of labels gives comes before both. Paths, groups and pattern are
    compared in Unicode's composed form.

    Raises:
        DataError: groups.csv cannot be read, contradicts itself or names no video, or the pattern
            matches none.
    """
    path = root / GROUPS_FILE
    names = {video.name for video in videos}
    labelled = {video.name: video.given_group for video in videos if video.given_group}
    sources = ["the table of labels"] if labelled else []
    groups: dict[str, str] = {}
    notes: list[str] = []
    if path.exists():
        groups, notes = _read_groups(path, names)
        sources.append(str(path))
    elif pattern is not None:
        groups = _match_groups(videos, pattern)
        sources.append(f"data.group_pattern '{pattern}'")
    if not sources:
        return {}, []
    groups |= labelled
    without = len(names) - len(groups)
    note = f"{count(len(set(groups.values())), 'group')} by {' and '.join(sources)}"
    return groups, [note + (f"; {count(without, 'video')} in no group" if without else ""), *notes]


def _read_groups(path: Path, names: set[str]) -> tuple[dict[str, str], list[str]]:
    cells = read_cells(path, required=("video_path", "group"), optional=())
    video, group = map(cells.header.index, ("video_path", "group"))
    pairs = {
        (composed(line[video]), composed(line[group]))
        for line in cells.lines
        if max(video, group) < len(line) and line[video] and line[group]
    }
    groups = dict(sorted(pairs))
    if len(groups) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise DataError(f"{path}: {twice!r} is listed in more than one group")
    found = {name: groups[composed(name)] for name in names if composed(name) in groups}
    others = sorted(set(groups) - {composed(name) for name in found})
    # What labels leave out is there all the same.
    strangers = [name for name in others if not (path.parent / name).exists()]
    if strangers and not found:
        raise DataError(
            f"{path}: names none of the videos; found {strangers[0]!r}, "
            f"expected paths such as {min(names)!r}"
        )
    note = f"WARNING: no video for {count(len(strangers), 'row')} of {path}, e.g. "
    return found, [f"{note}{name!r}" for name in strangers[:1]]


def _match_groups(videos: Sequence[FoundVideo], pattern: str) -> dict[str, str]:
    matches = {video.name: re.search(composed(pattern), composed(video.name)) for video in videos}
    # The first capture group that took part names the group; without any, the match does.
    groups = {
        name: next((part for part in match.groups() if part), match.group(0))
        for name, match in matches.items()
        if match
    }
    if not groups:
        raise DataError(
            f"data.group_pattern: {pattern!r} matches none of the {len(videos)} videos, "
            f"e.g. {videos[0].name!r}"
        )
    return groups
