"""Every format: samples made from its own documentation, with rows worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.indexing.label_table import LabelRow
from slowfast_finetune.labelling.importing import FORMATS, import_labels
from slowfast_finetune.labelling.source_file import Reading, SourceFile

EXTENSIONS = (".avi", ".mp4")


class Imported(NamedTuple):
    rows: list[LabelRow]
    notes: list[str]


LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"video": "/data/upload/3/1a2b3c4d-fall%20one.mp4", "fps": 25},
        "annotations": [
            {
                "result": [
                    {
                        "type": "timelinelabels",
                        "from_name": "actions",
                        "value": {"ranges": [{"start": 26, "end": 50}], "timelinelabels": ["fall"]},
                    },
                    {"type": "videorectangle", "from_name": "box", "value": {"sequence": []}},
                    {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
                    {
                        "type": "choices",  # about the part above, not the video
                        "from_name": "how",
                        "value": {"ranges": [{"start": 26, "end": 50}], "choices": ["hard"]},
                    },
                ]
            }
        ],
        "predictions": [{"result": [{"type": "choices", "value": {"choices": ["walk"]}}]}],
    },
    {
        "id": 8,
        "data": {"video": "/data/local-files/?d=site/walk.mp4"},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {"result": [{"type": "choices", "value": {"choices": ["walk"]}}]},
        ],
    },
    {
        "id": 9,
        "data": {"clip": "s3://bucket/site/sit.mp4?sig=1"},
        "annotations": [
            {
                "result": [
                    {"type": "labels", "value": {"start": 0.5, "end": 3.25, "labels": ["sit"]}}
                ]
            }
        ],
    },
    {"id": 10, "data": {"video": "empty.mp4"}, "annotations": []},
]
# All columns of BORIS 8 (boris/export_observation.py), with an independent variable, a category and
# a modifier, CRLF at line ends; two players, of which the first counts.
_BORIS_SOURCE = "player #1:/home/x/clips/a.mp4|player #2:/home/x/clips/b.mp4"
_BORIS_OBSERVATION = (
    f"o1,2026-01-02 10:00:00,by day,60.000,Media file(s),{_BORIS_SOURCE},0,"
    "60.000|60.000,25.000|25.000,sunny"
)
BORIS_TABULAR = "\r\n".join(
    [
        "Observation id,Observation date,Description,Observation duration,Observation type,Source,"
        "Time offset (s),Media duration (s),FPS,weather,Subject,Behavior,Behavioral category,"
        "Modifier #1,Behavior type,Time,Media file name,Image index,Image file path,Comment",
        *(
            f"{_BORIS_OBSERVATION},,{event},clips/a.mp4,{frame},NA,"
            for event, frame in (
                ("run,Not defined,fast,START,1.5", 38),
                ("call,Not defined,,POINT,2.0", 50),
                ("run,Not defined,fast,STOP,4.25", 106),
                ("rest,Not defined,None,START,4.25", 106),
                ("rest,Not defined,None,STOP,9.0", 225),
            )
        ),
        "",
    ]
)
_AGGREGATED_COLUMNS = (
    "Observation id", "Observation date", "Description", "Observation type", "Source",
    "Time offset (s)", "Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject",
    "Observation duration by subject by observation", "Behavior", "Behavioral category",
    "Behavior type", "Start (s)", "Stop (s)", "Duration (s)", "Media file name",
    "Image index start", "Image index stop", "Image file path start", "Image file path stop",
    "Comment start", "Comment stop",
)  # fmt: skip


def aggregated(subject: str, behaviour: str, kind: str, start: str, stop: str) -> str:
    cells = ["o1", "2026-01-02 10:00:00", "", "Media file", "player #1:/home/x/a.mp4", "0"]
    cells += ["60.000", "60.000", "25.000", subject, "2.75", behaviour, "Not defined", kind]
    cells += [start, stop, "NA", "/home/x/a.mp4", "", "", "", "", "", ""]
    return "\t".join(cells) + "\n"


BORIS_AGGREGATED = (
    "\t".join(_AGGREGATED_COLUMNS)
    + "\n"
    + aggregated("No focal subject", "run", "STATE", "1.500", "4.250")
    + aggregated("No focal subject", "call", "POINT", "2.000", "2.000")
)
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-02T10:00:00+01:00" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///home/x/a%20b.mp4" MIME_TYPE="video/mp4"
        RELATIVE_MEDIA_URL="./a%20b.mp4" TIME_ORIGIN="500"/>
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///home/x/a.wav" MIME_TYPE="audio/x-wav"/>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
    <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2340"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="5000"/>
    <TIME_SLOT TIME_SLOT_ID="ts4"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="hands">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>point</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
      <ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE>wave</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="ref" PARENT_REF="hands" TIER_ID="gloss">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>there</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>
"""
ELAN_TEXT = (
    '"#file:///home/x/a.mp4 -- offset: 0"\n'
    "hands\t\t00:00:01.000\t1.0\t00:01:02.340\t62.34\t00:01:01.340\t61.34\tpoint at\n"
    "hands\t\t01:00:00.000\t3600.0\t01:00:01.500\t3601.5\t00:00:01.500\t1.5\twave\n"
)
ELAN_COLUMNS = (
    "Begin Time - hh:mm:ss.ms\tEnd Time - hh:mm:ss.ms\tDuration - hh:mm:ss.ms\thands\n"
    "00:00:01.000\t00:00:02.000\t00:00:01.000\tpoint\n"
)
VIA_PROJECT = {
    "project": {"pname": "p"},
    "attribute": {"1": {"aname": "action", "type": 4, "options": {"3": "jump", "4": "wave"}}},
    "file": {"1": {"fid": "1", "fname": "a.mp4", "type": 4, "loc": 1, "src": ""}},
    "view": {"1": {"fid_list": ["1"]}},
    "metadata": {
        "1_a": {"vid": "1", "flg": 0, "z": [1.349, 2.741], "xy": [], "av": {"1": "3"}},
        "1_b": {"vid": "1", "flg": 0, "z": [4.633], "xy": [2, 1, 1, 5, 5], "av": {"1": "4"}},
    },
}
# Name of the file, its text, the format, the videos that are there, and the rows it gives.
WHOLE = (None, None)
SAMPLES: list[tuple[str, str, str, list[str], list[tuple[object, ...]]]] = [
    (
        "labels.csv",
        "video,label,start,end\na.mp4,jump,0:00:01,2.5\na.mp4,,3,4\n",
        "csv",
        ["x/a.mp4"],
        [("x/a.mp4", "jump", 1.0, 2.5, None, None), ("x/a.mp4", None, 3.0, 4.0, None, None)],
    ),
    (
        "k.csv",
        "label,youtube_id,time_start,time_end,split\n"
        "surfing water,-abcdefghij,38,48,validate\nyoga,ZZcdefghijk,1,11,train\n",
        "kinetics",
        # Cut by the downloader, and a whole video.
        ["surfing water/-abcdefghij_000038_000048.mp4", "ZZcdefghijk.mp4"],
        [
            ("ZZcdefghijk.mp4", "yoga", 1.0, 11.0, "train", None),
            (
                "surfing water/-abcdefghij_000038_000048.mp4",
                "surfing water",
                *WHOLE,
                "val",
                None,
            ),
        ],
    ),
    (
        "activity_net.json",
        json.dumps(
            {
                "version": "VERSION 1.3",
                "taxonomy": [],
                "database": {
                    "sJQm0-Ky2vE": {
                        "subset": "validation",
                        "duration": 60.0,
                        "annotations": [
                            {"segment": [4.5, 20.25], "label": "Archery"},
                            {"segment": [30, 42], "label": "Surfing"},
                        ],
                    },
                    "held_out": {"subset": "testing", "annotations": []},
                },
            }
        ),
        "activitynet",
        ["v_sJQm0-Ky2vE.mp4"],
        [
            ("v_sJQm0-Ky2vE.mp4", "Archery", 4.5, 20.25, "val", None),
            ("v_sJQm0-Ky2vE.mp4", "Surfing", 30.0, 42.0, "val", None),
        ],
    ),
    (
        "kinetics_train.json",
        json.dumps(
            {
                "---QUuC4vJs": {
                    "annotations": {"label": "testifying", "segment": [84.0, 94.0]},
                    "duration": 10.0,
                    "subset": "train",
                    "url": "https://www.youtube.com/watch?v=---QUuC4vJs",
                }
            }
        ),
        "activitynet",
        ["---QUuC4vJs_000084_000094.mp4"],
        [("---QUuC4vJs_000084_000094.mp4", "testifying", *WHOLE, "train", None)],
    ),
    (
        "trainlist01.txt",
        "Archery/v_Archery_g08_c01.avi 3\r\nSurfing/v_Surfing_g09_c02.avi 88\r\n",
        "ucf101",
        ["Archery/v_Archery_g08_c01.avi", "Surfing/v_Surfing_g09_c02.avi"],
        [
            ("Archery/v_Archery_g08_c01.avi", "Archery", *WHOLE, "train", "v_Archery_g08"),
            ("Surfing/v_Surfing_g09_c02.avi", "Surfing", *WHOLE, "train", "v_Surfing_g09"),
        ],
    ),
    (
        "testlist02.txt",
        "Archery/v_Archery_g01_c01.avi\n",
        "ucf101",
        ["v_Archery_g01_c01.mp4"],
        [("v_Archery_g01_c01.mp4", "Archery", *WHOLE, "test", "v_Archery_g01")],
    ),
    (
        "brush_hair_test_split1.txt",
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \nb (1).avi 2 \nc.avi 0 \n",
        "hmdb51",
        [
            "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi",
            "brush_hair/b (1).avi",
            "brush_hair/c.avi",
        ],
        [
            (
                "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi",
                "brush_hair",
                *WHOLE,
                "train",
                None,
            ),
            ("brush_hair/b (1).avi", "brush_hair", *WHOLE, "test", None),
            ("brush_hair/c.avi", None, *WHOLE, None, None),
        ],
    ),
    (
        "val.csv",
        "/data/k/my clip 1.mp4 12\n/data/k/b.mp4 3\n",
        "paths",
        ["my clip 1.mp4", "b.mp4"],
        [
            ("b.mp4", "class_3", *WHOLE, "val", None),
            ("my clip 1.mp4", "class_12", *WHOLE, "val", None),
        ],
    ),
    (
        "list.txt",
        "some/path/000.mp4,high jump\nsome/path/001.mp4,run\n",
        "paths",
        ["some/path/000.mp4", "some/path/001.mp4"],
        [
            ("some/path/000.mp4", "high jump", *WHOLE, None, None),
            ("some/path/001.mp4", "run", *WHOLE, None, None),
        ],
    ),
    (
        "project-1.json",
        json.dumps(LABEL_STUDIO),
        "label-studio",
        ["fall one.mp4", "site/walk.mp4", "site/sit.mp4"],
        [
            # Frames 26 to 50 from 1, the last included, at 25 a second: the second second.
            ("fall one.mp4", "fall", 1.0, 2.0, None, None),
            ("site/sit.mp4", "sit", 0.5, 3.25, None, None),
            ("site/walk.mp4", "walk", *WHOLE, None, None),
        ],
    ),
    (
        "events.csv",
        BORIS_TABULAR,
        "boris",
        ["clips/a.mp4"],
        [
            ("clips/a.mp4", "run", 1.5, 4.25, None, None),
            ("clips/a.mp4", "rest", 4.25, 9.0, None, None),
        ],
    ),
    (
        "events.tsv",
        BORIS_AGGREGATED,
        "boris",
        ["a.mp4"],
        [("a.mp4", "run", 1.5, 4.25, None, None)],
    ),
    # The annotations' clock starts half a second into the video.
    ("session.eaf", EAF, "elan", ["a b.mp4"], [("a b.mp4", "point", 1.5, 2.84, None, None)]),
    (
        "session.txt",
        ELAN_TEXT,
        "elan-text",
        ["a.mp4"],
        [
            ("a.mp4", "point at", 1.0, 62.34, None, None),
            ("a.mp4", "wave", 3600.0, 3601.5, None, None),
        ],
    ),
    (
        "session.txt",
        ELAN_COLUMNS,
        "elan-text",
        ["session.mp4"],
        [("session.mp4", "point", 1.0, 2.0, None, None)],
    ),
    (
        # A description of the controlled vocabulary, then names and paths of documents.
        "several.txt",
        "hands\t\t00:00:00.780\t00:00:01.340\t00:00:00.560\tpoint\tat it\tone.eaf\tC:\\x\\one.eaf\n"
        "hands\t\t00:00:02.000\t00:00:03.000\t00:00:01.000\twave\ttwo.eaf\tC:\\x\\two.eaf\n",
        "elan-text",
        ["one.mp4", "two.mp4"],
        [
            ("one.mp4", "point", 0.78, 1.34, None, None),
            ("two.mp4", "wave", 2.0, 3.0, None, None),
        ],
    ),
    (
        # Names of documents and their media in rows of their own.
        "rows.txt",
        '"#one.eaf"\n"#file:///x/a%20b.mp4 -- offset: 0"\n"#file:///x/a.wav -- offset: 0"\n'
        'hands\t00:00:01.000\t00:00:02.000\tpoint\n\n"#two.eaf"\n'
        "hands\t00:00:01.000\t00:00:02.000\twave\n",
        "elan-text",
        ["a b.mp4", "two.mp4"],
        [
            ("a b.mp4", "point", 1.0, 2.0, None, None),
            ("two.mp4", "wave", 1.0, 2.0, None, None),
        ],
    ),
    (
        # In French, a column a tier, with the columns of the documents.
        "french.txt",
        "Temps de départ - hh:mm:ss.ms\tTemps de départ - ss.msec\tTemps de fin - hh:mm:ss.ms\t"
        "Temps de fin - ss.msec\tDurée - hh:mm:ss.ms\tDurée - ss.msec\thands\tfeet\tNom\tChemin\n"
        "00:00:01.000\t1.0\t00:00:02.000\t2.0\t00:00:01.000\t1.0\tpoint\t\tone.eaf\t/x/one.eaf\n"
        "00:00:03.000\t3.0\t00:00:04.000\t4.0\t00:00:01.000\t1.0\t\tstep\tone.eaf\t/x/one.eaf\n",
        "elan-text",
        ["one.mp4"],
        [
            ("one.mp4", "point", 1.0, 2.0, None, None),
            ("one.mp4", "step", 3.0, 4.0, None, None),
        ],
    ),
    (
        "via.json",
        json.dumps(VIA_PROJECT),
        "via",
        ["a.mp4"],
        [("a.mp4", "jump", 1.349, 2.741, None, None)],
    ),
]
NAMES = [f"{name}, {known}" for name, _, known, _, _ in SAMPLES]


def save(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def imported(path: Path | list[Path], videos: Sequence[str], **options: object) -> Imported:
    paths = path if isinstance(path, list) else [path]
    return Imported(*import_labels(paths, videos=videos, extensions=EXTENSIONS, **options))


@pytest.mark.parametrize(("name", "text", "known", "videos", "rows"), SAMPLES, ids=NAMES)
def test_a_sample_is_read(
    name: str,
    text: str,
    known: str,
    videos: list[str],
    rows: list[tuple[object, ...]],
    tmp_path: Path,
) -> None:
    path = save(tmp_path, name, text)
    result = imported(path, [*videos, "other.mp4"])
    assert result.rows == [LabelRow(*row) for row in rows]
    assert result.notes[-1] == "1 videos of the folder are not named"
    assert imported(path, videos, format_name=known).rows == result.rows


@pytest.mark.parametrize(("name", "text", "known", "videos", "rows"), SAMPLES, ids=NAMES)
def test_a_sample_is_of_one_format(
    name: str,
    text: str,
    known: str,
    videos: list[str],
    rows: list[tuple[object, ...]],
    tmp_path: Path,
) -> None:
    file = SourceFile.load(save(tmp_path, name, text), Reading(EXTENSIONS))
    found = [one.name for one in FORMATS if one.recognise(file)]
    # Lists of UCF101 and HMDB51 are lists of paths and classes too; the first of these is taken.
    assert found[0] == known
    assert set(found[1:]) <= {"paths"}


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    task = save(tmp_path, "t.json", json.dumps(LABEL_STUDIO))
    notes = imported(task, ["fall one.mp4", "site/walk.mp4", "site/sit.mp4"]).notes
    assert "left out: 1 regions of kind videorectangle" in notes
    assert "left out: 1 tasks without an annotation" in notes
    assert "3 labels of 3 videos, 2 of them of parts" in notes
    eaf = imported(save(tmp_path, "s.eaf", EAF), ["a b.mp4"]).notes
    assert "left out: 1 annotations whose times are not set" in eaf
    assert "left out: 1 annotations without a text" in eaf
    assert "left out: 1 annotations that refer to others, without times" in eaf
    boris = imported(save(tmp_path, "b.csv", BORIS_TABULAR), ["clips/a.mp4"]).notes
    assert "left out: 1 events of a moment (POINT)" in boris
    via = imported(save(tmp_path, "v.json", json.dumps(VIA_PROJECT)), ["a.mp4"]).notes
    assert "left out: 1 marks of a moment or a region in the picture" in via


def test_two_times_of_elan_are_begin_and_end_or_begin_and_duration(tmp_path: Path) -> None:
    """Begin 1 s, and 2.5 s as the header calls it."""
    row = "00:00:01.000\t00:00:02.500\tpoint\n"
    remark = "the two times of a line are taken as begin and end"
    for header, end, is_remarked in [
        ("Begin Time - hh:mm:ss.ms\tDuration - hh:mm:ss.ms\thands\n", 3.5, False),
        ("Begin Time - hh:mm:ss.ms\tEnd Time - hh:mm:ss.ms\thands\n", 2.5, False),
        ("Anfangszeit - hh:mm:ss.ms\tDauer - hh:mm:ss.ms\thands\n", 2.5, True),
    ]:
        found = imported(save(tmp_path, "a.txt", header + row), ["a.mp4"])
        assert [(part.start, part.end) for part in found.rows] == [(1.0, end)]
        assert (remark in " ".join(found.notes)) == is_remarked


def test_several_files_give_the_split(tmp_path: Path) -> None:
    """The three files of UCF101, and the three of PySlowFast."""
    files = [
        save(tmp_path, "classInd.txt", "3 Archery\n88 Surfing\n"),
        save(tmp_path, "trainlist01.txt", "Archery/v_Archery_g08_c01.avi 3\n"),
        save(tmp_path, "testlist01.txt", "Surfing/v_Surfing_g01_c01.avi\n"),
    ]
    videos = ["Archery/v_Archery_g08_c01.avi", "Surfing/v_Surfing_g01_c01.avi"]
    assert [row.split for row in imported(files, videos).rows] == ["train", "test"]

    files = [save(tmp_path, f"{name}.csv", f"{name}.mp4 1\n") for name in ("train", "val", "test")]
    rows = imported(files, ["train.mp4", "val.mp4", "test.mp4"]).rows
    assert [row.split for row in rows] == ["test", "train", "val"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classInd.txt", "1 jump\n0 high wave\n"),
        ("label_map.txt", "high wave\njump\n"),
        ("classes.json", '{"jump": 1, "high wave": 0}'),
    ],
)
def test_names_of_classes(name: str, text: str, tmp_path: Path) -> None:
    names, lines = save(tmp_path, name, text), save(tmp_path, "l.txt", "a.mp4 1\nb.mp4 0\n")
    rows = imported(lines, ["a.mp4", "b.mp4"], classes=names).rows
    assert [row.label for row in rows] == ["jump", "high wave"]


UCF101 = ["Archery/v_Archery_g08_c01.avi", "HandstandPushups/v_HandStandPushups_g08_c01.avi"]


def test_the_folder_of_a_ucf101_list_is_the_class_only_if_the_file_is_called_so(
    tmp_path: Path,
) -> None:
    names = save(tmp_path, "names.txt", "archery\nhandstand\n")
    text = f"{UCF101[0]} 0\n{UCF101[1]} 1\n"
    rows = imported(save(tmp_path, "train.txt", text), UCF101).rows
    assert [row.label for row in rows] == ["Archery", "HandstandPushups"]
    # Names that are given count, and the groups stay.
    rows = imported(save(tmp_path, "train.txt", text), UCF101, classes=names).rows
    assert [(row.label, row.group) for row in rows] == [
        ("archery", "v_Archery_g08"),
        ("handstand", "v_HandStandPushups_g08"),
    ]
    parts = save(tmp_path, "val.txt", "/data/part0/v_Archery_g08_c01.avi 0\n")
    assert [row.label for row in imported(parts, UCF101).rows] == ["class_0"]
    assert [row.label for row in imported(parts, UCF101, classes=names).rows] == ["archery"]
    with pytest.raises(DataError, match=r"train.txt is a split list of UCF101, .*--format paths"):
        imported([tmp_path / "train.txt", parts], UCF101)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (f"{UCF101[0]} 1", "class 1 is named 'x', but the folder is 'Archery'; does the list"),
        (f"{UCF101[0]} 7", "class 7 is not among the 2 with names"),
        (UCF101[1], "has no number, and no class is named 'HandstandPushups'"),
    ],
)
def test_names_of_classes_that_do_not_fit_a_ucf101_list(
    line: str, fault: str, tmp_path: Path
) -> None:
    files = [save(tmp_path, "classInd.txt", "1 x\n2 Archery\n")]
    files += [save(tmp_path, "trainlist01.txt", f"{UCF101[0]} 2\n{line}\n")]
    with pytest.raises(DataError, match=f"trainlist01.txt: line 2: {fault}"):
        imported(files, UCF101)


def test_one_track_is_taken(tmp_path: Path) -> None:
    text = BORIS_AGGREGATED + aggregated("mother", "feed", "STATE", "2", "3")
    path = save(tmp_path, "b.tsv", text)
    with pytest.raises(DataError, match=r"line 4: 'feed' overlaps 'run' \(.*line 2\).*--track"):
        imported(path, ["a.mp4"])
    assert imported(path, ["a.mp4"], track="mother").rows == [
        LabelRow("a.mp4", "feed", 2.0, 3.0, None, None)
    ]
    with pytest.raises(DataError, match="found 'x', expected No focal subject, mother"):
        imported(path, ["a.mp4"], track="x")


def test_frames_need_a_rate(tmp_path: Path) -> None:
    region = {"ranges": [{"start": 11, "end": 11}], "timelinelabels": ["x"]}
    result = [{"type": "timelinelabels", "value": region}]
    tasks = [{"id": 1, "data": {"v": "a.mp4"}, "annotations": [{"result": result}]}]
    path = save(tmp_path, "t.json", json.dumps(tasks))
    with pytest.raises(DataError, match="task 1, region 1: counts frames; give the frameRate"):
        imported(path, ["a.mp4"])
    # The eleventh frame of ten a second.
    assert imported(path, ["a.mp4"], fps=10).rows == [LabelRow("a.mp4", "x", 1.0, 1.1, None, None)]


def test_of_two_annotations_the_ground_truth_counts(tmp_path: Path) -> None:
    results = [
        {
            "ground_truth": label == "wave",
            "result": [{"type": "choices", "value": {"choices": [label]}}],
        }
        for label in ("jump", "wave")
    ]
    tasks = [{"id": 1, "data": {"video": "a.mp4"}, "annotations": results}]
    rows = imported(save(tmp_path, "t.json", json.dumps(tasks)), ["a.mp4"]).rows
    assert [row.label for row in rows] == ["wave"]


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


TASKS = json.dumps(LABEL_STUDIO)
FAULTS = [
    ("k.csv", "label,youtube_id,time_start,time_end\nx,abc,ten,20\n", "line 2: found 'ten', exp"),
    ("k.csv", "label,youtube_id,time_start,time_end\nx,abc,nan,20\n", "line 2: found 'nan'"),
    ("k.csv", "label,youtube_id,time_start,time_end\nx,a,20,10\n", "line 2: ends at 10 s, not"),
    (
        "k.csv",
        "label,youtube_id,time_start,time_end\nx,a,1\n",
        "line 2: not as many cells as",
    ),
    (
        "k.csv",
        "label,youtube_id,time_start,time_end,split\nx,a,1,2,z\n",
        "line 2: split: found 'z'",
    ),
    ("list.csv", "a.mp4 1\na.mp4 1 3\n", "line 2: found 'a.mp4 1 3', expected the path of a vi"),
    ("list.csv", "a.mp4 1\njust text\n", r"list.csv: line 2: found 'just text', expected"),
    ("lists.txt", "C/v_C_g01_c01.avi 3\n", "its name: tells no split"),
    ("trainlist01.txt", "C/v_C_g01_c01.avi 3\nD\n", "line 2: found 'D', expected CLASS/v_CLASS"),
    ("b_test_split1.txt", "a.avi 1\nb.avi 3\n", "line 2: found 'b.avi 3', expected NAME.avi and"),
    ("x.json", "{", "is not sound JSON"),
    ("x.json", '{"a": 1}', "no known format: found '{\"a\": 1}', expected one of csv"),
    ("x.json", "[" * 100_000, "is not sound JSON"),
    ("x.json", '{"a": {"annotations": [{"segment": [1, 2]}]}}', "video 'a', annotation 1: has no"),
    (
        "x.json",
        '{"a": {"annotations": [{"label": "x", "segment": [1]}]}}',
        r"found \[1\], expected",
    ),
    (
        "x.json",
        '{"a": {"annotations": [{"label": "x", "segment": [-1, 3]}]}}',
        "found -1, expected",
    ),
    (
        "t.json",
        changed(TASKS, '"data": {"video": "empty.mp4"}', '"x": 1'),
        "task 10: has no 'data'",
    ),
    ("t.json", changed(TASKS, "local-files/?d=site/walk.mp4", "x"), "task 8: 'data' must name one"),
    ("t.json", changed(TASKS, '["fall"]', '["fall", "hit"]'), r"region 1: timelinelabels: found"),
    (
        "t.json",
        changed(TASKS, '"was_cancelled": true, ', ""),
        "task 8: has 2 annotations; mark one",
    ),
    ("x.json", '{"a": {"annotations": 3}}', "after the start: is not JSON of ActivityNet or Kine"),
    ("b.csv", changed(BORIS_TABULAR, "fast,START", "fast,STOP"), "line 2: found STOP of 'run'"),
    (
        "b.csv",
        BORIS_TABULAR + f"{_BORIS_OBSERVATION},,run,Not defined,,START,9,clips/a.mp4,225,NA,\r\n",
        "line 7: 'run' starts and never st",
    ),
    ("b.csv", changed(BORIS_TABULAR, "a.mp4|", "a.mp4;b.mp4|"), "are several files in one obs"),
    (
        "b.csv",
        "Observation id,Media file,Total length,Subject,Behavior,Behavior type,Start (s),Stop (s)\n"
        "o1,a.mp4,540,,run,STATE,1,2\no1,b.mp4,540,,run,STATE,230,240\n",
        r"line 3: 'a.mp4;b.mp4' are several files in one observation",
    ),
    (
        "b.csv",
        changed(BORIS_TABULAR, ",0,60", ",60.0,60"),
        "line 2: the observation has a time offs",
    ),
    ("s.eaf", changed(EAF, "<ANNOTATION_DOC", "<!DOCTYPE x>\n<ANNOTATION_DOC"), "document type"),
    ("s.eaf", changed(EAF, "</ANNOTATION_DOCUMENT>", ""), "XML: is not well-formed"),
    ("s.eaf", changed(EAF, 'REF2="ts2"', 'REF2="x"'), "annotation a1: found None, expected a time"),
    ("s.eaf", changed(EAF, '"milliseconds"', '"PAL-frames"'), "found 'PAL-frames', expected milli"),
    ("s.txt", changed(ELAN_TEXT, "offset: 0", "offset: 40"), "line 1: .*has an offset; import the"),
    ("s.txt", ELAN_TEXT + "hands\t\t5\t6\tx\n", "line 4: expected begin and end in the form hh:mm"),
    (
        "v.json",
        json.dumps(VIA_PROJECT).replace('"av": {"1": "3"}', '"av": {"1": "3,4"}'),
        "metadata '1_a': action: several options; expected one",
    ),
    (
        "v.json",
        json.dumps(VIA_PROJECT).replace('"av": {"1": "3"}', '"av": {"1": "7"}'),
        "metadata '1_a': action: option '7', not of 3, 4",
    ),
    (
        "via.json",
        json.dumps(VIA_PROJECT).replace('"vid": "1"', '"vid": "2"'),
        "expected one file, times and",
    ),
]


@pytest.mark.parametrize(("name", "text", "said"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_is_one_line_with_its_place(
    name: str, text: str, said: str, tmp_path: Path
) -> None:
    videos = ["a.mp4", "a b.mp4", "fall one.mp4", "walk.mp4", "sit.mp4"]
    path = save(tmp_path, name, text)
    with pytest.raises(DataError, match=said) as error:
        imported(path, videos)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: cannot be read: No such file"):
        imported(tmp_path / "gone.csv", ["a.mp4"])
    (tmp_path / "latin.txt").write_bytes("a.mp4 höher\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not text in UTF-8"):
        imported(tmp_path / "latin.txt", ["a.mp4"])
    (tmp_path / "wide.txt").write_bytes(ELAN_TEXT.encode("utf-16"))
    assert len(imported(tmp_path / "wide.txt", ["a.mp4"]).rows) == 2
    lines = save(tmp_path, "l.txt", "a.mp4 7\n")
    with pytest.raises(DataError, match="line 1: class 7 is not among the 1 with names"):
        imported(lines, ["a.mp4"], classes=save(tmp_path, "c.txt", "jump\n"))
    with pytest.raises(DataError, match="expected a whole number for each name"):
        imported(lines, ["a.mp4"], classes=save(tmp_path, "twice.txt", "0 jump\n0 run\n"))


def test_splits_that_contradict(tmp_path: Path) -> None:
    one, other = (save(tmp_path, f"{name}.csv", "a.mp4 1\n") for name in ("train", "test"))
    with pytest.raises(
        DataError, match=r"test.csv: line 1: 'a.mp4' is in split test, but in train"
    ):
        imported([one, other], ["a.mp4"])
    third = save(tmp_path, "others.csv", "b.mp4 1\n")
    with pytest.raises(DataError, match=r"others.csv: line 1: has no split, but labels of other"):
        imported([one, third], ["a.mp4", "b.mp4"])


def test_a_repeated_label_counts_once(tmp_path: Path) -> None:
    result = imported(save(tmp_path, "l.txt", "a.mp4 1\na.mp4 1\n"), ["a.mp4"])
    assert len(result.rows) == 1
    assert "left out: 1 repeated labels" in result.notes
    with pytest.raises(DataError, match="line 2: 'class_2' overlaps 'class_1'"):
        imported(save(tmp_path, "l.txt", "a.mp4 1\na.mp4 2\n"), ["a.mp4"])
