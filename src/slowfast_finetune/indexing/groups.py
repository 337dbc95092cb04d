"""Which videos belong together: by groups.csv in the videos folder, or by a pattern on the path."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.indexing.discovery import FoundVideo, composed

GROUPS_FILE = "groups.csv"


def find_groups(
    videos: Sequence[FoundVideo], *, root: Path, pattern: str | None
) -> tuple[dict[str, str], list[str]]:
    """Group of each video's name, by groups.csv in the videos folder or by the pattern.

    Paths, groups and pattern are compared in Unicode's composed form.

    Raises:
        DataError: groups.csv cannot be read, contradicts itself or names no video, or the pattern
            matches none.
    """
    groups_file = root / GROUPS_FILE
    if groups_file.exists():
        if not groups_file.is_file():
            raise DataError(f"{groups_file}: is not a file; opening it might wait for ever")
        groups, notes = _read_groups(groups_file, {video.name for video in videos})
        source = str(groups_file)
    elif pattern is not None:
        groups, notes = _match_groups(videos, pattern), []
        source = f"data.group_pattern '{pattern}'"
    else:
        return {}, []
    without = len(videos) - len(groups)
    note = f"{len(set(groups.values()))} groups by {source}"
    return groups, [note + (f"; {without} videos in no group" if without else ""), *notes]


def _read_groups(path: Path, names: set[str]) -> tuple[dict[str, str], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"video_path", "group"} <= set(reader.fieldnames or ()):
                raise DataError(
                    f"{path}: found columns {', '.join(reader.fieldnames or ['none'])}; "
                    "expected video_path (from this folder) and group"
                )
            pairs = {
                (composed(row["video_path"]), composed(row["group"]))
                for row in reader
                if row["video_path"] and row["group"]
            }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 CSV: {error}") from error
    groups = dict(sorted(pairs))
    if len(groups) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise DataError(f"{path}: {twice!r} is listed in more than one group")
    strangers = sorted(set(groups) - {composed(name) for name in names})
    if strangers and len(strangers) == len(groups):
        raise DataError(
            f"{path}: names none of the videos; found {strangers[0]!r}, "
            f"expected paths such as {min(names)!r}"
        )
    notes = []
    if strangers:
        notes = [f"WARNING: {len(strangers)} rows of {path} name no video, e.g. {strangers[0]!r}"]
    return {name: groups[composed(name)] for name in names if composed(name) in groups}, notes


def _match_groups(videos: Sequence[FoundVideo], pattern: str) -> dict[str, str]:
    groups = {}
    for video in videos:
        match = re.search(composed(pattern), composed(video.name))
        if match:
            # The first capture group that took part names the group; without any, the match does.
            groups[video.name] = next((part for part in match.groups() if part), match.group(0))
    if not groups:
        raise DataError(
            f"data.group_pattern: {pattern!r} matches none of the {len(videos)} videos, "
            f"e.g. {videos[0].name!r}"
        )
    return groups
