"""Label Studio's JSON: tasks with the annotations and predictions of a video.

Forms (docs/source/tags/timelinelabels.md, video.md, choices.md, labels.md in
github.com/HumanSignal/label-studio)::

    [{"data": {"video": URL, "fps": 25},
      "annotations": [{"result": [
          {"type": "timelinelabels", "from_name": "actions", "to_name": "video",
           "value": {"ranges": [{"start": 3, "end": 5}], "timelinelabels": ["jump"]}},
          {"type": "choices", … "value": {"choices": ["jump"]}},
          {"type": "labels", … "value": {"start": 0.5, "end": 3.2, "labels": ["jump"]}}]}]}]

``ranges`` count frames from 1 and include the last (label_studio_ml/examples/yolo/utils in
github.com/HumanSignal/label-studio-ml-backend): 3 to 5 at 25 frames a second is 0.08 to 0.2 s.
Label Studio takes for a frame what lasts 1 / frameRate of the <Video> tag, whatever the video's
rate, and its export does not say that number; 24 is its default. ``labels`` on the sound of a
video are in seconds.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from posixpath import normpath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from slowfast_finetune.indexing.label_table import LabelRow, Span
from slowfast_finetune.labelling.source_file import ListedLabel, SourceFile, has_keys, reader_of

_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
_COUNTS_FRAMES = (
    "counts frames; give the frameRate of the <Video> tag with --fps (24 if it has none), or as "
    "'fps' in the task's 'data'"
)


@reader_of(
    "label-studio",
    "JSON of Label Studio",
    lambda file: isinstance(file.json, list) and has_keys((file.json or [None])[0], "data"),
)
def label_studio_json(file: SourceFile) -> Iterator[ListedLabel]:
    """Read the annotation of every task; predictions are no labels, and are passed over."""
    if not isinstance(file.json, list):
        raise file.error("top", "expected a list of tasks, as the export 'JSON' (not CSV) has it")
    for number, task in enumerate(file.json, 1):
        where = f"task {task.get('id', number) if isinstance(task, dict) else number}"
        if not has_keys(task, "data", "annotations") or not isinstance(task["data"], dict):
            raise file.error(where, "has no 'data' and 'annotations'; export as JSON, not JSON-MIN")
        annotation = _one_annotation(task["annotations"], file, where)
        if annotation is None:
            file.reading.passed_over["tasks without an annotation"] += 1
            continue
        names = {
            name
            for value in task["data"].values()
            if isinstance(value, str) and file.reading.is_video(name := _file_name(value))
        }
        if len(names) != 1:
            found = ", ".join(sorted(names)) or f"only {', '.join(map(repr, task['data']))}"
            raise file.error(where, f"'data' must name one video; found {found}")
        video = names.pop()
        uploaded = _UPLOADED.fullmatch(video.rsplit("/", 1)[-1])
        also = (uploaded[1],) if uploaded else ()
        fps = file.reading.fps or task["data"].get("fps")
        for count, region in enumerate(annotation["result"], 1):
            here = f"{where}, region {count}"
            for label, start, end in _labels(region, fps, file, here):
                track = str(region.get("from_name", region["type"]))
                yield ListedLabel(here, video, label, start, end, track=track, also=also)


def _one_annotation(found: Any, file: SourceFile, where: str) -> dict[str, Any] | None:
    """The annotation that counts: the only one, or the only one that is marked as ground truth."""
    if not isinstance(found, list) or not all(has_keys(one, "result") for one in found):
        raise file.error(where, "'annotations' must be a list of objects with a 'result'")
    kept: list[dict[str, Any]] = [one for one in found if not one.get("was_cancelled")]
    kept = [one for one in kept if one.get("ground_truth")] or kept
    if len(kept) > 1:
        raise file.error(where, f"has {len(kept)} annotations; mark one of them as ground truth")
    return kept[0] if kept else None


def _labels(
    region: Any, fps: object, file: SourceFile, where: str
) -> Iterator[tuple[str, float | None, float | None]]:
    """Label, start and end [s] of a region; none for regions of other kinds."""
    if not has_keys(region, "type"):
        raise file.error(where, "has no 'type'")
    kind, value = region["type"], region.get("value")
    # A choice that has times is one about a region.
    if kind not in ("timelinelabels", "choices", "labels") or (
        kind == "choices" and has_keys(value, "ranges")
    ):
        file.reading.passed_over[f"regions of kind {kind}"] += 1
        return
    if not isinstance(value, dict):
        raise file.error(where, f"{kind}: has no 'value'")
    labels = value.get(kind)
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise file.error(where, f"{kind}: found {labels!r}, expected a list of one label")
    if kind == "choices":
        yield labels[0], None, None
        return
    scale = 1.0
    if kind == "timelinelabels":
        if not isinstance(fps, int | float) or not 0 < fps < math.inf:
            raise file.error(where, _COUNTS_FRAMES)
        scale = 1 / fps
    for part in [value] if kind == "labels" else value.get("ranges") or [{}]:
        start, end = (file.seconds(part.get(name), where) for name in ("start", "end"))
        first = max(start - 1, 0.0) if kind == "timelinelabels" else start
        yield labels[0], first * scale, end * scale


def _file_name(address: str) -> str:
    """The path that an address or path ends in; of local files it is in the query: ?d=PATH."""
    if "://" not in address and not address.startswith("/data/"):
        return address
    parts = urlsplit(address)
    return parse_qs(parts.query).get("d", [unquote(parts.path)])[0]


def write_label_studio(
    rows: Sequence[LabelRow],
    *,
    folder: str,
    fps: float,
    durations: Mapping[str, float],
    predictions: Mapping[Span, tuple[str, float]],
) -> tuple[str, list[str]]:
    """Labels and predictions as tasks, and what these do not hold.

    Videos are addressed as files of a local storage (``/data/local-files/?d=FOLDER/VIDEO``), whose
    document root is the folder around the videos folder. The labelling configuration has to have
    ``<Video name="video" value="$video" frameRate="$fps"/>``, and TimelineLabels (for parts) or
    Choices (for whole videos) called ``label``.

    Args:
        rows: sorted by video and start.
        folder: the name of the videos folder.
        fps: frames a second, in which parts are written.
        durations: of videos whose last part has no end, by their names in ``rows`` [s].
        predictions: predicted class and its probability, by what they are about.
    """
    tasks = []
    for video, group in itertools.groupby(rows, key=lambda row: row.video):
        parts = list(group)
        guesses = [(row, *predictions[row.span]) for row in parts if row.span in predictions]
        path = normpath(f"{folder}/{video}")  # a video may lie beside the folder
        task: dict[str, Any] = {
            "data": {"video": f"/data/local-files/?d={quote(path)}", "fps": fps},
            "annotations": [
                {"result": [_region(row, row.label, fps, durations) for row in parts if row.label]}
            ],
        }
        if guesses:
            results = [
                {**_region(row, label, fps, durations), "score": p} for row, label, p in guesses
            ]
            score = sum(p for *_, p in guesses) / len(guesses)
            task["predictions"] = [{"result": results, "score": score}]
        tasks.append(task)
    notes = ["splits"] if any(row.split for row in rows) else []
    notes += ["groups of videos"] if any(row.group for row in rows) else []
    notes += ["times below a frame's"] if any(row.start is not None for row in rows) else []
    return json.dumps(tasks, indent=1, ensure_ascii=False) + "\n", notes


def _region(
    row: LabelRow, label: str, fps: float, durations: Mapping[str, float]
) -> dict[str, Any]:
    region = {"from_name": "label", "to_name": "video"}
    end = durations.get(row.video) if row.end is None else row.end
    if row.is_whole or end is None:
        return {**region, "type": "choices", "value": {"choices": [label]}}
    first = round((row.start or 0.0) * fps) + 1
    value = {"ranges": [{"start": first, "end": max(round(end * fps), first)}]}
    return {**region, "type": "timelinelabels", "value": {**value, "timelinelabels": [label]}}
