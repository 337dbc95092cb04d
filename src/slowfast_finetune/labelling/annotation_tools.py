"""Exports of programs in which people watch videos and note what happens: BORIS, ELAN, VIA."""

import re
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree import ElementTree

from slowfast_finetune.indexing.label_table import clock_seconds
from slowfast_finetune.labelling.source_file import ListedLabel, SourceFile, has_keys, reader_of

_BORIS = {"Observation id", "Behavior", "Behavior type"}
_BORIS_MEDIA = ("Media file name", "Media file", "Source")
_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d(?:\.\d+)?)")
_ELAN_TIME = re.compile(r" - (?:hh:mm:ss|ss\.msec|msec)")  # of a header of ELAN
_ELAN_MEDIA = re.compile(r"\"?#(.+?)(?: -- offset: (\d+))?\"?")


@reader_of("boris", "events of BORIS", lambda file: set(file.header) >= _BORIS)
def boris(file: SourceFile) -> Iterator[ListedLabel]:
    """Read tabular or aggregated events of BORIS, CSV or TSV.

    As boris/export_observation.py and export_events.py of BORIS 8.27 write them: aggregated events
    have ``Start (s)`` and ``Stop (s)``; tabular ones a row for the START and one for the STOP of a
    behaviour of a subject. Events of a moment (POINT) have no length. Times count from the start
    of the observation, so observations of several files one after the other, or with an offset,
    are refused. Aggregated events of older versions, without ``Source``, name such files by row.
    """
    open_events: dict[tuple[str, ...], tuple[str, float]] = {}
    videos: dict[str, str] = {}  # the video of each observation
    aggregated = {"Start (s)", "Stop (s)"} <= set(file.header)
    media = next((name for name in _BORIS_MEDIA if name in file.header), None)
    if not set(file.header) >= _BORIS or media is None or not (aggregated or "Time" in file.header):
        columns = [*sorted(_BORIS), "Start (s) and Stop (s), or Time", _BORIS_MEDIA[0]]
        raise file.error("line 1", f"expected columns {', '.join(columns)}")
    for where, row in file.table():
        video = row[media].partition("|")[0].removeprefix("player #1:")
        first = videos.setdefault(row["Observation id"], video)
        source = f"{first};{video}" if video != first else row.get("Source", "")
        if ";" in source:
            raise file.error(where, f"{source!r} are several files in one observation; cut it up")
        offset = row.get("Time offset (s)", "").strip() or "0"
        if file.seconds(offset.lstrip("-"), where):
            raise file.error(where, f"the observation has a time offset of {offset} s; expected 0")
        kind = row["Behavior type"].upper()
        if kind == "POINT":
            file.reading.passed_over["events of a moment (POINT)"] += 1
            continue
        modifiers = (cell for name, cell in row.items() if name.startswith("Modifier"))
        event = (row["Observation id"], row.get("Subject", ""), row["Behavior"], *modifiers)
        if aggregated:
            start, stop = (file.seconds(row[name], where) for name in ("Start (s)", "Stop (s)"))
        elif kind == "START":
            if event in open_events:
                raise file.error(where, f"{row['Behavior']!r} starts twice without a STOP")
            open_events[event] = where, file.seconds(row["Time"], where)
            continue
        elif kind != "STOP" or event not in open_events:
            raise file.error(where, f"found {kind} of {row['Behavior']!r}, expected its START")
        else:
            start, stop = open_events.pop(event)[1], file.seconds(row["Time"], where)
        track = row.get("Subject", "") or None
        yield ListedLabel(where, video, row["Behavior"], start, stop, track=track)
    for event, (where, _) in open_events.items():
        raise file.error(where, f"{event[2]!r} starts and never stops")


@reader_of("elan", "a document of ELAN", lambda file: "<ANNOTATION_DOCUMENT" in file.text[:2000])
def elan(file: SourceFile) -> Iterator[ListedLabel]:
    """Read an ELAN document, .eaf (EAF 2.x and 3.0: mpi.nl/tools/elan/EAF_Annotation_Format_3.0).

    The annotations with times of their own, of every tier; their texts are the labels. The first
    linked video is the one they belong to, as in ELAN. Media with an origin (TIME_ORIGIN) start
    that many milliseconds before the annotations' clock.
    """
    if "<!DOCTYPE" in file.text or "<!ENTITY" in file.text:
        raise file.error("top", "has a document type; ELAN writes none, and entities are not read")
    try:
        root = ElementTree.fromstring(file.text)
    except ElementTree.ParseError as error:
        raise file.error("XML", f"is not well-formed: {error}") from error
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise file.error("HEADER", f"TIME_UNITS: found {units!r}, expected milliseconds")
    media = {
        unquote(element.get("RELATIVE_MEDIA_URL") or element.get("MEDIA_URL") or ""): element
        for element in root.iter("MEDIA_DESCRIPTOR")
    }
    video = _linked_video(file, [*media])
    start_of = media[video].get("TIME_ORIGIN", 0) if video in media else 0
    origin = file.seconds(start_of, "MEDIA_DESCRIPTOR")
    times = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    for tier in root.iter("TIER"):
        dependent = len(tier.findall("ANNOTATION/REF_ANNOTATION"))
        file.reading.passed_over["annotations that refer to others, without times"] += dependent
        for annotation in tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION"):
            where = f"annotation {annotation.get('ANNOTATION_ID')}"
            label = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
            if not label:
                file.reading.passed_over["annotations without a text"] += 1
                continue
            slots = [annotation.get(name) for name in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
            if any(slot in times and times[slot] is None for slot in slots):
                # Within a subdivided annotation ELAN places these as it shows them.
                file.reading.passed_over["annotations whose times are not set"] += 1
                continue
            start, end = (
                file.seconds(times.get(slot), where, scale=0.001) + origin / 1000 for slot in slots
            )
            yield ListedLabel(where, video, label, start, end, track=tier.get("TIER_ID"))


def _linked_video(file: SourceFile, names: list[str]) -> str:
    """The first video that ELAN names; else the name of its document, else that of the file."""
    videos = [name for name in names if file.reading.is_video(name)]
    if len(videos) > 1:
        file.reading.remark(f"{file.path}: of {len(videos)} videos the first, {videos[0]!r}")
    if videos:
        return videos[0]
    documents = [name for name in names if name.endswith(".eaf")]
    name = re.split(r"[/\\]", documents[0])[-1][:-4] if documents else file.path.stem
    file.reading.remark(f"{file.path} names no video; {name!r} is looked for")
    return name


def _is_elan_text(file: SourceFile) -> bool:
    lines = [line for _, line in file.lines[:20] if "\t" in line]
    cells = lines[0].split("\t") if lines else []
    return any(_ELAN_TIME.search(cell) for cell in cells) or (
        sum(bool(_CLOCK.fullmatch(cell)) for cell in cells) > 1
    )


@reader_of("elan-text", "tab-delimited text of ELAN", _is_elan_text)
def elan_text(file: SourceFile) -> Iterator[ListedLabel]:
    """Read ELAN's "tab-delimited text", as its Transcription2TabDelimitedText.java writes it.

    Without a header: tier, participant, begin, end, duration, each in the chosen forms of time, the
    annotation, perhaps its description; hh:mm:ss.ms must be among the forms. Or one column a tier,
    below a header of ``Begin Time - hh:mm:ss.ms`` and so on, in ELAN's language. Lines with # name
    the media files of the rows below; of several documents in one file, a line or the last columns
    name the document. Without a media file the video has the name of the document, or of the file.
    """
    video, names, header = "", list[str](), list[str]()
    for number, line in file.lines:
        cells, where = [cell.strip() for cell in line.split("\t")], f"line {number}"
        if media := _ELAN_MEDIA.fullmatch(line):
            names.append(unquote(media[1]))
            if media[2] and int(media[2]):
                raise file.error(where, f"{media[1]} has an offset; import the .eaf")
            continue
        if line.endswith(".eaf") and len(cells) == 1:
            names.append(line)
            continue
        if any(_ELAN_TIME.search(cell) for cell in cells):
            header = cells
            continue
        clocks = [(at, match) for at, cell in enumerate(cells) if (match := _CLOCK.fullmatch(cell))]
        if len(clocks) < 2 or (header and len(cells) > len(header)):
            raise file.error(where, "expected begin and end in the form hh:mm:ss.ms, and a label")
        documents = [cell for cell in cells if cell.endswith(".eaf")]
        if names or documents or not video:
            video = _linked_video(file, names or documents)
            names = []
        start, end = (clock_seconds(match) for _, match in clocks[:2])
        titles = [header[at].lower() for at, _ in clocks[:2]] if header else ["", ""]
        if "end" in titles[0]:
            raise file.error(where, "gives no begin; export it with begin and end time")
        if "duration" in titles[1]:
            end += start
        elif len(clocks) == 2 and "end" not in titles[1]:
            file.reading.remark(f"{file.path}: the two times of a line are taken as begin and end")
        start, end = round(start, 3), round(end, 3)
        if header:
            tiers = [pair for pair in zip(header, cells, strict=False) if pair[1] not in documents]
            found: list[tuple[str | None, str]] = [
                (tier, cell) for tier, cell in tiers if cell and not _ELAN_TIME.search(tier)
            ]
        else:
            # Begin, end and duration have as many columns each: the first is hh:mm:ss.ms.
            forms = clocks[1][0] - clocks[0][0]
            label = clocks[:3][-1][0] + forms
            name = cells[0] if clocks[0][0] else None
            found = [(name, cell) for cell in cells[label : label + 1] if cell]
        if not found:
            file.reading.passed_over["annotations without a text"] += 1
        for tier, text in found:
            yield ListedLabel(where, video, text, start, end, track=tier)


@reader_of(
    "via",
    "a project of VIA 3",
    lambda file: has_keys(file.json, "attribute", "file", "metadata", "view"),
)
def via(file: SourceFile) -> Iterator[ListedLabel]:
    """Read temporal segments of a project of VIA 3, the JSON that it saves.

    As via-3.x.y/src/js/_via_metadata.js, _via_attribute.js and _via_view.js in
    github.com/ox-vgg/via have it. Each attribute is a track; a value is the text, or the number of
    one of the options. What belongs to a moment or a region in the picture is no label of a part.
    """
    project = file.json
    for key, entry in project["metadata"].items():
        where = f"metadata {key!r}"
        try:
            (media,) = (project["file"][fid] for fid in project["view"][entry["vid"]]["fid_list"])
            video, times, shape = str(media["fname"] or media["src"]), entry["z"], entry["xy"]
            values = [(project["attribute"][aid], value) for aid, value in entry["av"].items()]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise file.error(where, f"expected one file, times and attributes: {error}") from error
        if len(times) not in (0, 2) or shape:
            file.reading.passed_over["marks of a moment or a region in the picture"] += 1
            continue
        start, end = (file.seconds(time, where) for time in times) if times else (None, None)
        for attribute, value in values:
            options = attribute.get("options") or {}
            if {*str(value).split(",")[1:]} & {*options}:  # boxes that are ticked: "0,2"
                raise file.error(where, f"{attribute['aname']}: several options; expected one")
            if options and value is not None and str(value) not in {*options, ""}:
                known = ", ".join(options)
                raise file.error(where, f"{attribute['aname']}: option {value!r}, not of {known}")
            label = "" if value is None else str(options.get(str(value), value)).strip()
            if label:
                yield ListedLabel(where, video, label, start, end, track=attribute.get("aname"))
            else:
                file.reading.passed_over["annotations without a text"] += 1
