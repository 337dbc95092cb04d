"""ActivityNet's JSON, and that of Kinetics in almost the same form.

ActivityNet (Evaluation/eval_detection.py in github.com/activitynet/ActivityNet)::

    {"version": "…", "taxonomy": [],
     "database": {ID: {"subset": "training", "duration": 82.7, "url": "…",
                       "annotations": [{"segment": [start, end], "label": NAME}]}}}

with times in seconds, and videos in files called v_ID. Kinetics: the videos without "database"
around them, ``annotations`` one object in place of a list, and files of the cut part alone called
ID_000084_000094.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from slowfast_finetune.base.console import count
from slowfast_finetune.indexing.label_table import LabelRow
from slowfast_finetune.labelling.source_file import ListedLabel, SourceFile, has_keys, reader_of

_SUBSETS = {"train": "training", "val": "validation", "test": "testing"}


def _database(file: SourceFile) -> Any:
    return file.json.get("database", file.json) if isinstance(file.json, dict) else None


def _is_activitynet(file: SourceFile) -> bool:
    videos = _database(file)
    return isinstance(videos, dict) and has_keys(next(iter(videos.values()), None), "annotations")


@reader_of("activitynet", "JSON of ActivityNet or Kinetics", _is_activitynet)
def activitynet_json(file: SourceFile) -> Iterator[ListedLabel]:
    """Read the annotations of every video; see the module."""
    videos = _database(file)
    if not isinstance(videos, dict):
        raise file.error("database", "expected an object with a video for each key")
    for name, video in videos.items():
        where = f"video {name!r}"
        if not has_keys(video, "annotations"):
            raise file.error(where, "has no 'annotations'")
        annotations = video["annotations"]
        if is_kinetics := isinstance(annotations, dict):
            annotations = [annotations]
        if not annotations:
            file.reading.passed_over["videos without an annotation"] += 1
        for number, annotation in enumerate(annotations, 1):
            here = f"{where}, annotation {number}"
            if not has_keys(annotation, "label") or not isinstance(annotation["label"], str):
                raise file.error(here, "has no 'label' that is a text")
            segment = annotation.get("segment", [None, None])
            if not isinstance(segment, list) or len(segment) != 2:
                raise file.error(here, f"segment: found {segment!r}, expected [start, end]")
            start, end = (None if t is None else file.seconds(t, here) for t in segment)
            duration = video.get("duration")
            if not is_kinetics and end is not None and isinstance(duration, int | float):
                # Durations are rounded, and some segments of ActivityNet end after the video.
                end = end if end < duration else None
                start = start if start or end else None
            cut = is_kinetics and start is not None and end is not None
            yield ListedLabel(
                here,
                name,
                annotation["label"],
                start,
                end,
                file.split(video["subset"], where) if video.get("subset") else None,
                also=(f"v_{name}",),
                trimmed=cut_name(name, start or 0, end or 0) if cut else None,
            )


def cut_name(video: str, start: float, end: float) -> str:
    """The name of a file that holds a part of a Kinetics video (Crawler/Kinetics/download.py)."""
    return f"{video}_{int(start):06d}_{int(end):06d}"


def write_activitynet(
    rows: Sequence[LabelRow], *, durations: Mapping[str, float]
) -> tuple[str, list[str]]:
    """Labels as ActivityNet's JSON, and what it does not hold.

    Args:
        rows: sorted by video and start.
        durations: of the videos, by their names in ``rows`` [s]. A whole video is a segment from 0
            to its duration.
    """
    database: dict[str, Any] = {}
    short = Counter(str(PurePosixPath(video).with_suffix("")) for video in {r.video for r in rows})
    for video, parts in itertools.groupby(rows, key=lambda row: row.video):
        labelled = [row for row in parts if row.label is not None]
        # Without the extension, as ActivityNet has it, where that tells the videos apart.
        name = str(PurePosixPath(video).with_suffix(""))
        entry: dict[str, Any] = {}
        if labelled and (split := labelled[0].split):
            entry["subset"] = _SUBSETS[split]
        if video in durations:
            entry["duration"] = durations[video]
        entry["annotations"] = [_annotation(row, durations.get(video)) for row in labelled]
        database[name if short[name] == 1 else video] = entry
    notes = []
    if any(row.group for row in rows):
        notes.append("groups of videos")
    if without := sum(len(a) < 2 for v in database.values() for a in v["annotations"]):
        notes.append(
            f"the ends of {count(without, 'label')}, as the videos' durations are not known"
        )
    text = json.dumps({"version": "1.3", "taxonomy": [], "database": database}, indent=1)
    return text + "\n", notes


def _annotation(row: LabelRow, duration: float | None) -> dict[str, Any]:
    end = duration if row.end is None else row.end
    segment = {} if end is None else {"segment": [row.start or 0.0, end]}
    return {**segment, "label": row.label}
