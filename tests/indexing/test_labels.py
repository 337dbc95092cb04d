"""labels.csv: classes, splits and groups from a table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import synthetic
from synthetic import touch_videos

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.indexing.label_table import LABELS, LabelRow, read_labels
from slowfast_finetune.indexing.manifest import Manifest, build_manifest


def read(folder: Path, text: str | bytes) -> list[tuple[int, LabelRow]]:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [numbered for rows in read_labels(path).rows.values() for numbered in rows]


def refused(folder: Path, text: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, text)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder / 'labels.csv'}: ")


def build(project: Path, table: str, **data: Any) -> Manifest:
    (project / "videos" / "labels.csv").write_text(table)
    return build_manifest(synthetic.make_params(data=data).data, project=project)


def build_refused(project: Path, table: str, **data: Any) -> str:
    with pytest.raises(DataError) as caught:
        build(project, table, **data)
    return str(caught.value).removeprefix(f"{project / 'videos' / 'labels.csv'}: ")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    touch_videos(folder, [f"{name}/{i}.mp4" for name in ("jump", "wave") for i in range(5)])
    return folder


def classes(manifest: Manifest) -> dict[str, str]:
    return {row.video_path.removeprefix("videos/"): row.class_name for row in manifest.rows}


# Corrections of class folders


def splits(manifest: Manifest) -> dict[str, str]:
    return {row.video_path.removeprefix("videos/"): row.split for row in manifest.rows}


@pytest.mark.parametrize("fold", [None, 1])
def test_a_corrected_label_changes_no_split(tmp_path: Path, videos: Path, fold: int | None) -> None:
    data = {"fold": fold, "num_folds": 2, "val_fraction": 0.2}
    before = splits(build(tmp_path, "video,label\njump/0.mp4,jump\n", **data))
    one, other, third, *_ = [name for name, split in before.items() if split == "train"]
    for rows in (f"{one},wave", f"{other},", f"{one},wave\n{third},\n{other},jump"):
        after = splits(build(tmp_path, f"video,label\n{rows}\n", **data))
        assert after == {name: split for name, split in before.items() if name in after}
        assert len(after) == 10 - sum(line.endswith(",") for line in rows.split("\n"))


def test_a_corrected_video_keeps_the_group_of_the_table(tmp_path: Path, videos: Path) -> None:
    # Ten videos of one group each, but for two classes' first ones, which are one.
    table = "video,label,group\njump/0.mp4,jump,g\nwave/0.mp4,wave,g\n"
    found = splits(build(tmp_path, table))
    assert found["jump/0.mp4"] == found["wave/0.mp4"]
    found = splits(build(tmp_path, table.replace("0.mp4,jump", "0.mp4,wave")))
    assert found["jump/0.mp4"] == found["wave/0.mp4"]


def test_folders_that_are_no_classes_deal_nothing(tmp_path: Path) -> None:
    # By day, the labels of ten videos alternate: each of both has its share in every split.
    touch_videos(tmp_path / "videos", [f"day {i % 2}/{i}.mp4" for i in range(20)])
    rows = [f"day {i % 2}/{i}.mp4,{'jump' if i % 4 < 2 else 'wave'}" for i in range(20)]
    found = build(tmp_path, "\n".join(["video,label", *rows]), test_fraction=0.2, val_fraction=0.2)
    counts = Counter((row.class_name, row.split) for row in found.rows)
    assert [counts[name, "test"] for name in ("jump", "wave")] == [2, 2]


def test_a_class_that_corrections_leave_out_may_be_too_small(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, ["other/0.mp4"])
    found = classes(build(tmp_path, "video,label\nother/0.mp4,\n"))
    assert set(found.values()) == {"jump", "wave"}


def test_corrections_and_decisions_about_other_videos_together(
    tmp_path: Path, videos: Path
) -> None:
    touch_videos(videos, [f"x{i}.mp4" for i in range(3)])
    decided = "".join(f"x{i}.mp4,wave,2026-01-0{i + 1}\n" for i in range(3))
    before = splits(build(tmp_path, f"video,label,decided_at\n{decided}"))
    assert {before[f"x{i}.mp4"] for i in range(3)} == {"train"}
    one = next(name for name, split in before.items() if split == "train" and "jump" in name)
    for when in ("", "2026-01-09"):
        rows = f"{decided}{one},wave,{when}\n"
        assert splits(build(tmp_path, f"video,label,decided_at\n{rows}")) == before


def test_a_copy_of_a_training_video_is_in_train_whatever_the_table_says(
    tmp_path: Path, videos: Path
) -> None:
    (videos / "x.mp4").write_bytes((videos / "jump/0.mp4").read_bytes())
    given = [f"{name}/{i}.mp4,{name},{'test' if i > 3 else 'val' if i > 2 else 'train'},"
             for name in ("jump", "wave") for i in range(5)]  # fmt: skip
    table = "\n".join(["video,label,split,decided_at", *given, "x.mp4,jump,test,2026-01-01"])
    assert splits(build(tmp_path, table))["x.mp4"] == "train"


def test_corrections_beside_parts_with_background(tmp_path: Path, long_videos: Path) -> None:
    touch_videos(long_videos, [f"{name}/{i}.mp4" for name in ("walk", "fall") for i in range(5)])
    table = table_of_parts() + "\nwalk/0.mp4,fall,,\n"
    found = build(tmp_path, table, background="nothing")
    assert classes(found)["walk/0.mp4"] == "fall"
    assert len(parts_of(found)["nothing"]) == 16


# Reading


def test_all_columns(tmp_path: Path) -> None:
    text = (
        "video,label,start,end,split,group\n"
        "a/b c.mp4,fall,192.5,0:03:20.25,Validation,person 1\n"
        'd.mp4,"sit, down",,,train,\n'
    )
    assert read(tmp_path, text) == [
        (2, LabelRow("a/b c.mp4", "fall", 192.5, 200.25, "val", "person 1")),
        (3, LabelRow("d.mp4", "sit, down", None, None, "train", None)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfvideo,label,start,end\r\na.mp4,x,1.5,2\r\n",  # Excel's CSV UTF-8
        b"video;label;start;end\r\na.mp4;x;1,5;2\r\n;;;\r\n",  # Excel in Germany
        b"Video\tLabel\tStart\tEnd\na.mp4\tx\t1.5\t2\n",
        b"sep=;\r\nvideo;label;start;end\r\na.mp4;x;1,5;2\r\n",
        b'"Sep=;"\nvideo;label;start;end;a,b,c,d,e\na.mp4;x;1.5;2;"one\nby; one"\n',
    ],
)
def test_what_spreadsheets_write(tmp_path: Path, text: bytes) -> None:
    assert read(tmp_path, text) == [(2, LabelRow("a.mp4", "x", 1.5, 2.0, None, None))]


def test_rows_are_numbered_as_in_a_spreadsheet(tmp_path: Path) -> None:
    text = 'video,label\n\n"a.mp4","two\nlines"\n,,\nb.mp4,\n'
    assert [(number, row.label) for number, row in read(tmp_path, text)] == [
        (3, "two\nlines"),
        (5, None),
    ]


def test_only_line_feeds_and_carriage_returns_end_a_row(tmp_path: Path) -> None:
    text = "video,label\ra.mp4,x\u2028y\x0cz\x85\r\nb.mp4,w\n"
    assert [(number, row.label) for number, row in read(tmp_path, text)] == [
        (2, "x\u2028y\x0cz"),
        (3, "w"),
    ]


def test_a_table_for_decisions_may_have_none_yet(tmp_path: Path, videos: Path) -> None:
    assert refused(tmp_path, "video,label\n") == "lists no videos"
    assert classes(build(tmp_path, "video,label,decided_at\n"))["jump/0.mp4"] == "jump"
    everything = "".join(f"{name}/{i}.mp4,\n" for name in ("jump", "wave") for i in range(5))
    assert build_refused(tmp_path, f"video,label\n{everything}").endswith(
        "no video that has a label"
    )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("", "", (None, None)),
        ("0", "", (None, None)),
        ("5", "", (5.0, None)),
        ("", "5", (0.0, 5.0)),
        ("1:00:00", "3601.0004", (3600.0, 3601.0)),
        ("0:00:01.5", "2", (1.5, 2.0)),
    ],
)
def test_times(
    tmp_path: Path, start: str, end: str, expected: tuple[float | None, float | None]
) -> None:
    ((_, row),) = read(tmp_path, f"video,label,start,end\na.mp4,x,{start},{end}\n")
    assert (row.start, row.end) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (",x,,,,", "names no video"),
        ("a.mp4,x,3:12,,,", "start: '3:12' may be hours or minutes; expected seconds (192.5) or"),
        ("a.mp4,x,3:12:00 AM,,,", "start: found '3:12:00 AM', expected seconds"),
        ("a.mp4,x,1900-01-00 03:12,,,", "start: found '1900-01-00 03:12', expected seconds"),
        ('a.mp4,x,"1,5",,,', "start: found '1,5', expected seconds"),
        ("a.mp4,x,-1,,,", "start: found '-1', expected seconds"),
        ("a.mp4,x,,nan,,", "end: found 'nan', expected seconds"),
        ("a.mp4,x,1:61:00,,,", "start: found '1:61:00', expected seconds"),
        (f"a.mp4,x,{'9' * 400}:00:00,,,", f"start: found '{'9' * 400}:00:00', expected seconds"),
        ("a.mp4,x,5,5,,", "ends at 5 s, not after its start at 5 s"),
        ("a.mp4,x,5,4.5,,", "ends at 4.5 s, not after its start at 5 s"),
        ("a.mp4,x,,,tset,", "split: found 'tset', expected train, val, test or nothing"),
        ("a.mp4,none of these,,,,", "'none of these' is the answer for videos of no class"),
        ("a.mp4,x,,,,,y", "7 cells, but the header has 6"),
        ("a.mp4,x,0.01,0.2,,", "no time in this table reaches 1 s; Excel keeps times as parts of"),
    ],
)
def test_a_cell_that_does_not_fit(tmp_path: Path, cells: str, expected: str) -> None:
    found = refused(tmp_path, f"video,label,start,end,split,group\n\n{cells}\n")
    assert found.startswith(f"row 3: {expected}")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["a,x,,", "a,x,,"], "row 3: repeats row 2, on the same video and times"),
        (["a,x,1,2", "b,x,,", "a,y,1,2"], "row 4: has another label than row 2"),
        (["a,,,", "a,y,,"], "row 3: has another label than row 2"),
        (["a,x,1,3", "a,y,2.999,4"], "row 3: overlaps row 2; parts of one video must not"),
        (["a,x,8,9", "a,y,1,8.5"], "row 3: overlaps row 2"),
        (["a,x,,", "a,y,1,2"], "row 3: overlaps row 2"),
        (["a,x,5,", "a,y,7,8"], "row 3: overlaps row 2"),
    ],
)
def test_rows_that_contradict_each_other(tmp_path: Path, rows: list[str], expected: str) -> None:
    found = refused(tmp_path, "\n".join(["video,label,start,end", *rows]))
    assert found.startswith(expected)


def test_what_is_left_out_may_be_deleted_but_not_what_has_a_label(
    tmp_path: Path, videos: Path
) -> None:
    header = "video,label,decided_at,before,reason\n"
    plain = "one.mp4,wave,,,\n"
    drop = "one.mp4,,2026-11-27T20:00:00Z,wave,doubtful\n"
    built = build(tmp_path, header + plain + drop)
    assert len(classes(built)) == 10
    assert any(
        note.endswith("labels.csv: leaves out 1 video not there, e.g. 'one.mp4'")
        for note in built.notes
    )
    keep = drop.replace("4,,", "4,wave,")
    expected = f"row 3: there is no video 'one.mp4' in {videos}; if it is gone, empty its label"
    assert build_refused(tmp_path, header + plain + keep) == expected


def test_a_row_by_hand_corrects_a_decision_before_it(tmp_path: Path, videos: Path) -> None:
    header = "video,label,start,end,decided_at,before,reason\n"
    first, decided = "a,x,,,,,\n", "a,y,,,2026-11-27T20:00:00Z,x,doubtful\n"
    for by_hand, standing in (
        ("a,z,,,,,\n", [(4, "z")]),
        ("a,x,,,,,\n", [(4, "x")]),
        ("a,,,,,,\n", [(4, None)]),
        ("a,z,,5,,,\na,w,5,,,,\n", [(4, "z"), (5, "w")]),
    ):
        found = read(tmp_path, header + first + decided + by_hand)
        assert [(number, row.label) for number, row in found] == standing
        table = read_labels(tmp_path / "labels.csv")
        assert [(number, row.label) for number, row in table.undecided["a"]] == [(2, "x")]
        changed = {number: "doubtful" for number, label in standing if label != "x"}
        assert {n: why for n, why in table.changed.items() if n > 3} == changed
    for by_hand, fault in (
        ("a,z,,,,,\na,w,,,,,\n", "row 5: has another label than row 4, on the same video"),
        ("a,z,,5,,,\na,w,4,,,,\n", "row 5: overlaps row 4"),
    ):
        assert refused(tmp_path, header + first + decided + by_hand).startswith(fault)


def test_parts_may_touch(tmp_path: Path) -> None:
    text = "video,label,start,end\na,x,2,3\na,y,1,2\na,x,0,1\n"
    assert [number for number, _ in read(tmp_path, text)] == [4, 3, 2]


@pytest.mark.parametrize("column", ["split", "group"])
def test_parts_of_a_video_belong_together(tmp_path: Path, column: str) -> None:
    text = f"video,label,start,end,{column}\na,x,3,4,test\na,y,1,2,train\n"
    expected = f"row 3: {column}: found train, but row 2 has test; all parts of a video belong"
    assert refused(tmp_path, text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "found columns none; expected video and label, and if wanted start, end, split"),
        ("file,class\na,b\n", "found columns file, class; expected video and label"),
        ("video,label\n", "lists no videos"),
        ("video,label,Label\na,x,y\n", "column label is there twice"),
        ("video,label\ngr\xfcn,x\n".encode("cp1252"), "is not UTF-8; in Excel, save it as"),
        ('video,label\na.mp4,x\n"a"b,x\n', "row 3: ',' expected after '\"'; is a quote missing?"),
        ('video,label\na.mp4,x\n"b.mp4,x\n', "row 3: unexpected end of data; is a quote missing?"),
        (
            'video,label\na.mp4,"x\nb.mp4,y"\n',
            "row 2: the cell 'x\\nb.mp4,y' holds a line break and then ','; is a quote missing?",
        ),
    ],
)
def test_what_is_no_table_of_labels(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert refused(tmp_path, text).startswith(expected)


def test_rows_are_written_as_they_are_read(tmp_path: Path) -> None:
    rows = [
        LabelRow("a b.mp4", "x,y", 0.5, 1.25, "test", None),
        LabelRow("a b.mp4", None, 2.0, None, "test", None),
        LabelRow("c.mp4", "z", None, None, "train", "g"),
    ]
    LABELS.write(tmp_path / "labels.csv", rows)
    found = read_labels(tmp_path / "labels.csv")
    assert [row for numbered in found.rows.values() for _, row in numbered] == rows


# With the videos


def test_a_table_corrects_labels_of_folders(tmp_path: Path, videos: Path) -> None:
    built = build(tmp_path, "video,label\njump/0.mp4,wave\nwave/1.mp4,\n./jump\\4.mp4,jump\n")
    expected = {f"{name}/{i}.mp4": name for name in ("jump", "wave") for i in range(5)}
    expected["jump/0.mp4"] = "wave"
    del expected["wave/1.mp4"]
    assert classes(built) == expected
    assert [row.class_name for row in built.rows] == sorted(expected.values())
    assert any(
        note.endswith(
            "labels.csv: 2 labels of 3 videos; left out: 1 row without a label; 7 videos not "
            "named there with the folder's class: 4 'wave', 3 'jump'"
        )
        for note in built.notes
    )


def test_videos_of_a_table_need_no_class_folder(tmp_path: Path) -> None:
    names = [f"{i}.mp4" for i in range(4)] + [f"deep/er/{i}.mp4" for i in range(4)]
    touch_videos(tmp_path / "videos", [*names, "other.txt"])
    table = "video,label,note\n" + "".join(f"{n},{'ab'['/' in n]},\n" for n in names)
    built = build(tmp_path, table)
    assert classes(built) == {name: "ab"["/" in name] for name in names}
    assert {row.split for row in built.rows} == {"train", "val", "test"}
    assert "passed over: 1 outside any class folder (other.txt)" in built.notes
    assert any(note.endswith("columns not read: 'note'") for note in built.notes)


def test_the_table_that_params_name(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "mine.csv").write_text("video,label\njump/0.mp4,wave\n")
    built = build(tmp_path, "this one is not read", labels="mine.csv")
    assert classes(built)["jump/0.mp4"] == "wave"
    with pytest.raises(DataError, match=r"other.csv: does not exist \(data.labels\)"):
        build(tmp_path, "", labels="other.csv")


def test_a_table_need_not_name_what_folders_split(tmp_path: Path) -> None:
    folders = [f"{s}/{c}/{i}.mp4" for s in ("train", "test") for c in "xy" for i in range(3)]
    touch_videos(tmp_path / "videos", folders)
    built = build(tmp_path, "video,label\ntest/x/0.mp4,y\ntrain/y/0.mp4,x\n")
    rows = {row.video_path.removeprefix("videos/"): row for row in built.rows}
    assert (rows["test/x/0.mp4"].class_name, rows["test/x/0.mp4"].split) == ("y", "test")
    assert {row.split for name, row in rows.items() if name.startswith("test")} == {"test"}
    assert rows["train/y/0.mp4"].class_name == "x"


def test_a_split_in_the_table_is_kept(tmp_path: Path) -> None:
    names = [f"{c}{i}.mp4" for c in "xy" for i in range(6)]
    touch_videos(tmp_path / "videos", names)
    split = {name: "test" if name[1] in "45" else "training" for name in names}
    table = "video,label,split\n" + "".join(f"{n},{n[0]},{split[n]}\n" for n in names)
    built = build(tmp_path, table)
    rows = {row.video_path.removeprefix("videos/"): row.split for row in built.rows}
    assert [n for n in names if rows[n] == "test"] == ["x4.mp4", "x5.mp4", "y4.mp4", "y5.mp4"]
    # val is missing and is taken from train, as with folders.
    assert sum(rows[name] == "val" for name in names) == 2
    assert build_refused(tmp_path, table, fold=0).startswith("data.fold: 0 would choose the test")


def test_groups_of_the_table(tmp_path: Path, videos: Path) -> None:
    (videos / "groups.csv").write_text("video_path,group\njump/0.mp4,g\njump/1.mp4,g\n")
    table = "video,label,group\njump/0.mp4,jump,mine\nwave/3.mp4,wave,mine\n"
    rows = {row.video_path: row for row in build(tmp_path, table).rows}
    groups = {path: row.group for path, row in rows.items() if row.group}
    assert groups == {
        "videos/jump/0.mp4": "mine",
        "videos/jump/1.mp4": "g",
        "videos/wave/3.mp4": "mine",
    }
    assert rows["videos/jump/0.mp4"].split == rows["videos/wave/3.mp4"].split


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("video,label\njump/0.mp4,x\n0.mp4,x\n", "row 3: there is no video '0.mp4' in "),
        ("video,label\nJump/0.mp4,x\n", "row 2: there is no video 'Jump/0.mp4' in "),
        ("video,label\njump/n.txt,x\n", "row 2: 'jump/n.txt' is passed over: see data.extensions"),
        ("video,label\n../a.mp4,x\n", "row 2: there is no video '../a.mp4' in "),
        (
            "video,label,split\njump/0.mp4,jump,\njump/1.mp4,jump,test\n",
            "row 3: gives a split, but there is none for 9 videos, e.g. 'jump/2.mp4'; give one to",
        ),
        (
            "video,label,split,group\njump/0.mp4,jump,train,g\njump/1.mp4,jump,test,g\n"
            + "".join(f"jump/{i}.mp4,jump,train,\n" for i in range(2, 5))
            + "".join(f"wave/{i}.mp4,wave,train,\n" for i in range(5)),
            "jump/0.mp4, jump/1.mp4: belong together, by group g, but lie in train and test; move",
        ),
        (
            "video,label\n" + "".join(f"jump/{i}.mp4,wave\n" for i in range(5)),
            "data.videos: ",
        ),
    ],
)
def test_a_table_that_does_not_fit_the_videos(
    tmp_path: Path, videos: Path, table: str, expected: str
) -> None:
    (videos / "jump" / "n.txt").touch()
    assert build_refused(tmp_path, table).startswith(expected)


def test_a_name_that_is_nearly_right(tmp_path: Path, videos: Path) -> None:
    assert build_refused(tmp_path, "video,label\njump/0.MP4,x\n").endswith(
        "; did you mean 'jump/0.mp4'?"
    )


def test_an_absolute_path_is_told(tmp_path: Path, videos: Path) -> None:
    name = videos / "jump" / "0.mp4"
    told = build_refused(tmp_path, f"video,label\n{name},x\n")
    assert told.endswith(f"'{name}' is an absolute path; write it relative to {videos}")


def test_labels_in_either_unicode_form(tmp_path: Path) -> None:
    touch_videos(tmp_path / "videos", [f"u\u0308/{i}.mp4" for i in range(3)])
    table = "video,label\n" + "".join(f"\xfc/{i}.mp4,{'ab'[i > 0]}\n" for i in range(3))
    with pytest.raises(DataError, match="class 'a' has 1 video"):
        build(tmp_path, table)


# Parts


def parts_of(manifest: Manifest) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in manifest.rows:
        found.setdefault(row.class_name, []).append(row.case.removeprefix("videos/"))
    return found


def table_of_parts(*changes: tuple[str, str]) -> str:
    """Eight videos with a walk from 10 to 12 s and a fall from 20 to 24 s."""
    rows = [f"{i}.mp4,{label}" for i in range(8) for label in ("walk,10,12", "fall,20,24")]
    text = "\n".join(["video,label,start,end", *rows])
    for before, after in changes:
        text = text.replace(before, after)
    return text


@pytest.fixture
def long_videos(tmp_path: Path) -> Path:
    return touch_videos(tmp_path / "videos", [f"{i}.mp4" for i in range(8)])


def test_parts_are_cases(tmp_path: Path, long_videos: Path) -> None:
    manifest = build(tmp_path, table_of_parts())
    assert parts_of(manifest)["walk"] == [f"{i}.mp4#t=10,12" for i in range(8)]
    assert parts_of(manifest)["fall"] == [f"{i}.mp4#t=20,24" for i in range(8)]
    assert [(row.start_seconds, row.end_seconds) for row in manifest.rows[:2]] == [(20, 24)] * 2
    # The header is row 1; each video has a row for its walk and one for its fall.
    assert [row.table_row for row in manifest.rows[:3]] == [3, 5, 7]


@pytest.mark.parametrize("fold", [None, 0, 1, 2])
def test_parts_of_a_video_are_in_one_split(
    tmp_path: Path, long_videos: Path, fold: int | None
) -> None:
    # Videos without bytes have no content that would tie their parts together.
    for path in long_videos.glob("*.mp4"):
        path.write_bytes(b"")
    manifest = build(tmp_path, table_of_parts(), fold=fold)
    splits_of: dict[str, set[str]] = {}
    for row in manifest.rows:
        splits_of.setdefault(row.video_path, set()).add(row.split)
    assert all(len(found) == 1 for found in splits_of.values())
    assert set().union(*splits_of.values()) == {"train", "val", "test"}


def test_the_split_does_not_depend_on_boundaries(tmp_path: Path, long_videos: Path) -> None:
    before = build(tmp_path, table_of_parts())
    after = build(tmp_path, table_of_parts(("3.mp4,walk,10,12", "3.mp4,walk,9.5,14")))
    split = {row.video_path: row.split for row in before.rows}
    assert {row.video_path: row.split for row in after.rows} == split


def test_background_lies_between_the_parts(tmp_path: Path, long_videos: Path) -> None:
    manifest = build(tmp_path, table_of_parts(), background="nothing")
    # In the middle of 0 to 10 and of 12 to 20 s, as long as the part that follows.
    expected = [f"{i}.mp4#t={times}" for i in range(8) for times in ("4,6", "14,18")]
    assert parts_of(manifest)["nothing"] == expected
    split_of = {row.video_path: row.split for row in manifest.rows if row.class_name == "walk"}
    assert all(row.split == split_of[row.video_path] for row in manifest.rows)
    note = "16 parts of the class 'nothing' from between those of 8 videos"
    assert note in manifest.notes
    assert {row.table_row for row in manifest.rows if row.class_name == "nothing"} == {None}


def test_background_where_there_is_little_room(tmp_path: Path, long_videos: Path) -> None:
    unsure = ("0.mp4,walk,10,12", "0.mp4,,0,9\n0.mp4,walk,10,12\n0.mp4,,12.5,19")
    manifest = build(tmp_path, table_of_parts(unsure), background="nothing", background_ratio=1.5)
    found = parts_of(manifest)["nothing"]
    assert not [case for case in found if case.startswith("0.mp4")]
    # Three for two parts: one gap has two, evenly spread. Of 0.mp4 no gap is as long as a part.
    two_gaps = [
        ["1.mp4#t=2,4", "1.mp4#t=6,8", "1.mp4#t=14,18"],
        ["1.mp4#t=4,6", "1.mp4#t=12,16", "1.mp4#t=16,20"],
    ]
    assert [case for case in found if case.startswith("1.mp4")] in two_gaps
    assert any(note.endswith("; there is no room for 3 more") for note in manifest.notes)


def test_a_boundary_moves_the_background_beside_it_as_little_as_itself(
    tmp_path: Path, long_videos: Path
) -> None:
    before = build(tmp_path, table_of_parts(), background="nothing")
    moved = ("3.mp4,walk,10,12", "3.mp4,walk,9.5,14.5")
    after = build(tmp_path, table_of_parts(moved), background="nothing")
    # Gaps of 9.5 s, for a part of 5 s, and from 14.5 to 20 s.
    expected = {
        "3.mp4#t=4,6": "3.mp4#t=2.25,7.25",
        "3.mp4#t=14,18": "3.mp4#t=15.25,19.25",
    }
    cases = [expected.get(case, case) for case in parts_of(before)["nothing"]]
    assert parts_of(after)["nothing"] == cases
    split = {row.video_path: row.split for row in before.rows}
    assert {row.video_path: row.split for row in after.rows} == split


def test_a_video_without_lengths_has_no_background(tmp_path: Path, long_videos: Path) -> None:
    open_ended = ("0.mp4,walk,10,12\n0.mp4,fall,20,24", "0.mp4,walk,10,")
    found = build(tmp_path, table_of_parts(open_ended), background="nothing")
    assert len(parts_of(found)["nothing"]) == 14
    nothing = build(tmp_path, table_of_parts(), background="nothing", background_ratio=0.2)
    assert "nothing" not in parts_of(nothing)


def test_background_needs_parts(tmp_path: Path, videos: Path) -> None:
    found = build_refused(tmp_path, "video,label\njump/0.mp4,wave\n", background="nothing")
    assert found.startswith("data.background: 'nothing' is what lies between labelled parts")
