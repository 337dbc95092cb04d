"""Decisions about labels: what is appended, and what index makes of it."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import synthetic
from synthetic import touch_videos

from slowfast_finetune.base.errors import DataError, InputError
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.desk import decisions
from slowfast_finetune.desk.decisions import DecisionTable
from slowfast_finetune.indexing.label_table import Span, read_labels
from slowfast_finetune.indexing.manifest import build_manifest

PARAMS = synthetic.make_params(data={"group_pattern": None}).data
HEADER = "video,label,start,end,decided_at,decided_by,before,reason"


@pytest.fixture(autouse=True)
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "decider", lambda: "Ada")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def decide(
    table: DecisionTable, video: str, label: str | None, before: str | None = "wave"
) -> None:
    span = Span(video)
    words = ("doubtful",)
    table.decide([(span, label)], before=before, words=words, expected=table.latest(span))


def split(table: DecisionTable, video: str, at: float, label: str = "wave") -> None:
    parts = [(Span(video, 0.0, at), label), (Span(video, at), label)]
    table.decide(
        parts, before=label, words=("doubtful", "split"), expected=table.latest(Span(video))
    )


def lines(path: Path) -> list[str]:
    """The rows, without the moment of each."""
    return [
        ",".join(cell for cell in line.split(",") if not cell.endswith("Z"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def standing(path: Path) -> dict[str, list[tuple[float | None, float | None, str | None]]]:
    return {
        name: [(row.start, row.end, row.label) for _, row in rows]
        for name, rows in read_labels(path).rows.items()
    }


def test_a_decision_is_a_row_and_undo_another(path: Path) -> None:
    table = DecisionTable(path)
    decide(table, "a.mp4", "jump")
    decide(table, "b,c.mp4", None)
    last = table.standing[-1]
    assert last.span.video == "b,c.mp4"
    table.undo(last)
    assert lines(path) == [
        HEADER,
        "a.mp4,jump,,,Ada,wave,doubtful",
        '"b,c.mp4",,,,Ada,wave,doubtful',
        '"b,c.mp4",wave,,,Ada,,"doubtful, undo"',
    ]
    assert standing(path) == {"a.mp4": [(None, None, "jump")], "b,c.mp4": [(None, None, "wave")]}
    first = table.standing[-1]
    assert first.span.video == "a.mp4", "what was undone cannot be undone"
    table.undo(first)
    assert table.standing == []


def test_the_moment_is_utc(path: Path) -> None:
    table = DecisionTable(path)
    decide(table, "a.mp4", "jump")
    moment = table.decisions[0].decided_at
    assert moment.endswith("Z")
    assert len(moment) == len("2026-11-27T20:13:03.696590Z")


def test_a_split_is_two_rows_and_its_undo_one(path: Path) -> None:
    table = DecisionTable(path)
    split(table, "a.mp4", 0.5)
    assert standing(path) == {"a.mp4": [(0.0, 0.5, "wave"), (0.5, None, "wave")]}
    second = Span("a.mp4", 0.5)
    table.decide([(second, "jump")], before="wave", words=("part",), expected=table.latest(second))
    assert standing(path) == {"a.mp4": [(0.0, 0.5, "wave"), (0.5, None, "jump")]}
    with pytest.raises(InputError):
        table.undo(table.decisions[0])
    table.undo(table.decisions[1])
    table.undo(table.decisions[0])
    assert standing(path) == {"a.mp4": [(None, None, "wave")]}


def test_the_table_that_is_there_gets_columns_once_and_keeps_its_cells(path: Path) -> None:
    path.write_bytes(
        "\ufeffVideo;Label;start;end;Split;mine\r\n"
        "a.mp4;wave;1,5;2;train;x;\r\n\r\nb.mp4;jump\r\n".encode()
    )
    table = DecisionTable(path)
    span = Span("a.mp4", 1.5, 2.0)
    seen = table.latest(span)
    table.decide([(span, "jump")], before="wave", words=("random",), expected=seen)
    raw = path.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfVideo;Label;start;end;Split;mine;decided_at;")
    text = raw.decode("utf-8-sig").split("\r\n")
    assert text[1:4] == ["a.mp4;wave;1,5;2;train;x;", "", "b.mp4;jump"]
    assert text[4].startswith("a.mp4;jump;1,5;2;train;;20")
    assert text[4].endswith("Z;Ada;wave;random")
    inode = path.stat().st_ino
    decide(table, "b.mp4", "wave", "jump")
    assert path.stat().st_ino == inode, "it is appended to"
    assert path.read_bytes().startswith(raw)


@pytest.mark.parametrize("header", ["sep=;\nvideo;label", 'video;label;"my\nnote"'])
def test_columns_are_added_below_what_precedes_the_rows(path: Path, header: str) -> None:
    path.write_text(f"{header}\na.mp4;wave")
    decide(DecisionTable(path), "b.mp4", "jump")
    assert path.read_text().startswith(
        f"{header};start;end;decided_at;decided_by;before;reason\na.mp4;wave\nb.mp4;jump;"
    )
    assert standing(path) == {"a.mp4": [(None, None, "wave")], "b.mp4": [(None, None, "jump")]}


def test_split_and_group_are_those_of_the_video(path: Path) -> None:
    path.write_text("video,label,split,group\na.mp4,wave,test,g1\nb.mp4,jump,train,\n")
    table = DecisionTable(path)
    decide(table, "a.mp4", "jump")
    span = Span("new.mp4")
    table.decide([(span, "jump")], before=None, words=("unlabelled",), split="train", expected=None)
    rows = read_labels(path).rows
    assert rows["a.mp4"][0][1][-2:] == ("test", "g1")
    assert rows["new.mp4"][0][1][-2:] == ("train", None)


@pytest.mark.parametrize(
    "torn", ["c.mp4,ju", 'c.mp4,"ju', "c", 'c.mp4,jump,,,2026-11-27T20:13:03.696590Z,"Ad']
)
def test_a_row_that_was_cut_off_is_passed_over(path: Path, torn: str) -> None:
    table = DecisionTable(path)
    decide(table, "a.mp4", "jump")
    with path.open("a") as file:
        file.write(torn)
    assert standing(path) == {"a.mp4": [(None, None, "jump")]}
    assert read_labels(path).unfinished == [3]
    decide(table, "b.mp4", "jump")
    assert standing(path) == {name: [(None, None, "jump")] for name in ("a.mp4", "b.mp4")}
    assert torn in path.read_text(), "nothing is taken away"
    assert read_labels(path).unfinished == [3], "though its line has an end now"


def test_a_short_row_by_hand_corrects_a_decision(path: Path) -> None:
    decide(DecisionTable(path), "a.mp4", "jump")
    with path.open("a") as file:
        file.write("a.mp4,clap\nb.mp4,wave,1,2\n")
    assert standing(path) == {"a.mp4": [(None, None, "clap")], "b.mp4": [(1.0, 2.0, "wave")]}
    assert read_labels(path).unfinished == []
    whole = path.read_text()
    for row, fault in [
        ("c.mp4,wave,2,1", "ends at 1 s, not after its start at 2 s"),
        ("c.mp4", "ends before its label"),
    ]:
        path.write_text(f"{whole}{row}\n")
        with pytest.raises(DataError, match=f"row 5: {fault}"):
            read_labels(path)


def test_a_full_disk_leaves_the_table_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = DecisionTable(path)
    decide(table, "a.mp4", "jump")
    before, write = path.read_bytes(), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, data[:9]))
        with pytest.raises(OSError, match="not all"):
            decide(table, "b.mp4", "jump")
    assert path.read_bytes() == before


@pytest.mark.parametrize("label", ["", "  ", "two\nlines", "none of these", "\x07"])
def test_names_that_no_class_can_have_are_refused(path: Path, label: str) -> None:
    with pytest.raises(InputError):
        decide(DecisionTable(path), "a.mp4", label)
    assert not path.exists()


def test_two_windows_do_not_overwrite_each_other(path: Path) -> None:
    one, other = DecisionTable(path), DecisionTable(path)
    seen = other.latest(Span("a.mp4"))
    decide(one, "a.mp4", "jump")
    with pytest.raises(InputError, match="meanwhile"):
        other.decide([(Span("a.mp4"), "wave")], before="wave", words=("doubtful",), expected=seen)
    assert len(other.decisions) == 1


def _decide_often(path: Path, name: str) -> None:
    table = DecisionTable(path)
    for number in range(40):
        decide(table, f"{name}{number}.mp4", "jump")


@pytest.mark.process
def test_processes_at_once_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=_decide_often, args=(path, name)) for name in "ab"]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert standing(path).keys() == {f"{name}{number}.mp4" for name in "ab" for number in range(40)}
    assert len(path.read_text().splitlines()) == 81


def test_a_table_that_cannot_be_read_is_refused_at_once(path: Path) -> None:
    path.write_text("video,label\na.mp4,x\na.mp4,y\n")
    with pytest.raises(DataError, match="row 3"):
        DecisionTable(path)


def test_undo_restates_the_rows_that_were_replaced(path: Path) -> None:
    path.write_text("video,label,start,end\na.mp4,wave,0,1\na.mp4,jump,1,2\n")
    table = DecisionTable(path)
    decide(table, "a.mp4", "clap")
    assert standing(path) == {"a.mp4": [(None, None, "clap")]}
    table.undo(table.standing[-1])
    assert standing(path) == {"a.mp4": [(0.0, 1.0, "wave"), (1.0, 2.0, "jump")]}
    assert table.standing == []


def test_undo_restates_a_row_once_though_it_was_kept(path: Path) -> None:
    path.write_text("video,label\na.mp4,wave\n")
    table = DecisionTable(path)
    decide(table, "a.mp4", "wave")
    decide(table, "a.mp4", "jump")
    table.undo(table.standing[-1])
    assert len(lines(path)) == 5
    assert [decision.labels for decision in table.standing] == [("wave",)]


def test_undoing_a_change_of_a_part_keeps_the_other_parts(path: Path) -> None:
    table = DecisionTable(path)
    split(table, "a.mp4", 0.7)
    first = Span("a.mp4", 0.0, 0.7)
    halves = [(Span("a.mp4", 0.0, 0.3), "wave"), (Span("a.mp4", 0.3, 0.7), "wave")]
    words = ("part", "split")
    table.decide(halves, before="wave", words=words, expected=table.latest(first))
    table.undo(table.standing[-1])
    assert standing(path) == {"a.mp4": [(0.0, 0.7, "wave"), (0.7, None, "wave")]}
    assert [decision.words for decision in table.standing] == [("doubtful", "split")]


def test_a_row_written_by_hand_is_not_overridden_unseen(path: Path) -> None:
    table = DecisionTable(path)
    decide(table, "a.mp4", "jump")
    mine, seen = table.standing[-1], table.latest(Span("b.mp4"))
    with path.open("a") as file:
        file.write("b.mp4,clap,,,,,,\na.mp4,clap,,,,,,\n")
    with pytest.raises(InputError, match="another program"):
        table.decide([(Span("b.mp4"), "wave")], before="wave", words=("random",), expected=seen)
    with pytest.raises(InputError, match="row 4 was written by hand since"):
        table.undo(mine)
    by_hand = table.latest(Span("b.mp4"))
    assert by_hand is not None
    assert (by_hand.labels, by_hand.number) == (("clap",), 3)


# What index makes of it


@pytest.fixture
def project(tmp_path: Path) -> Path:
    names = [f"{name}/{i:02}.mp4" for name in ("jump", "wave") for i in range(20)]
    touch_videos(tmp_path / "videos", names)
    return tmp_path


def index(project: Path) -> list[ManifestRow]:
    manifest = build_manifest(PARAMS, project=project)
    assert not [note for note in manifest.notes if "WARNING" in note]
    return [
        row._replace(video_path=row.video_path.removeprefix("videos/")) for row in manifest.rows
    ]


def test_index_changes_what_was_decided_and_nothing_else(project: Path) -> None:
    before = {row.video_path: row for row in index(project)}
    table = DecisionTable(project / "videos" / "labels.csv")
    decide(table, "wave/03.mp4", "wave")
    assert index(project) == [*before.values()], "what is kept changes nothing"
    changed = [name for name in before if name.startswith("wave")][::4]
    for name in changed:
        decide(table, name, "jump")
    decide(table, "jump/00.mp4", None, "jump")
    split(table, "jump/01.mp4", 0.7, "jump")
    after = index(project)
    assert {row.video_path: row.class_name for row in after} == {
        name: "jump" if name in changed else row.class_name
        for name, row in before.items()
        if name != "jump/00.mp4"
    }
    assert all(row.split == before[row.video_path].split for row in after), "as it was"
    parts = [row for row in after if row.video_path == "jump/01.mp4"]
    assert [(row.start_seconds, row.end_seconds) for row in parts] == [(0.0, 0.7), (0.7, None)]
    while table.standing:
        table.undo(table.standing[-1])
    assert index(project) == [*before.values()], "undo leaves no trace"


def test_a_label_counts_as_changed_also_where_the_desk_gave_it_first(tmp_path: Path) -> None:
    table = DecisionTable(tmp_path / "labels.csv")
    decide(table, "new.mp4", "wave", None)
    assert read_labels(table.path).changed == {}, "it had no label"
    decide(table, "new.mp4", "jump", "wave")
    assert [*read_labels(table.path).changed.values()] == ["doubtful"]
    table.undo(table.standing[-1])
    assert list(read_labels(table.path).changed) == [3], "what was undone stands no more"


def test_the_group_of_a_dropped_video_is_no_stranger(project: Path) -> None:
    listed = [row.video_path for row in index(project)]
    (project / "videos" / "groups.csv").write_text(
        "video_path,group\n" + "".join(f"{name},{name}\n" for name in listed)
    )
    decide(DecisionTable(project / "videos" / "labels.csv"), listed[0], None)
    assert len(index(project)) == len(listed) - 1, "without a warning"


def test_a_video_without_a_label_joins_train(project: Path) -> None:
    before = index(project)
    touch_videos(project, ["new/x.mp4"])
    table = DecisionTable(project / "videos" / "labels.csv")
    decide(table, "../new/x.mp4", "wave", None)
    added = [row for row in index(project) if row not in before]
    assert [(row.video_path, row.split) for row in added] == [("new/x.mp4", "train")]


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_a_new_video_that_belongs_to_a_test_video_is_left_out(project: Path, held_out: str) -> None:
    """In the group with one (a), as a copy of one (b), as a copy of one in its group (c, d)."""
    groups = {
        row.video_path: f"{row.split} group" for row in index(project) if row.class_name == "wave"
    }
    new = {f"../new/{name}.mp4": "" for name in "abcde"}
    new |= {"../new/a.mp4": f"{held_out} group", "../new/c.mp4": "pair", "../new/d.mp4": "pair"}
    (project / "videos" / "groups.csv").write_text(
        "video_path,group\n"
        + "".join(
            f"{name},{group}\n" for name, group in {**groups, **new}.items() if name[0] != "."
        )
    )
    table = project / "videos" / "labels.csv"
    touch_videos(project, [name[3:] for name in new])
    before = build_manifest(PARAMS, project=project)
    ours = next(r for r in before.rows if (r.split, r.class_name) == (held_out, "jump"))
    for name in "bc":
        (project / f"new/{name}.mp4").write_bytes((project / ours.video_path).read_bytes())
    table.write_text(
        "video,label,group,decided_at\n"
        + "".join(
            f"{n},new class,{g},2026-11-27T20:00:00Z\n" for n, g in new.items() if n[7] != "e"
        )
        + "../new/e.mp4,wave,,2026-11-27T20:00:00Z\n"
    )
    found = build_manifest(PARAMS, project=project)
    assert [row for row in found.rows if row not in before.rows] == [
        row for row in found.rows if row.video_path == "new/e.mp4" and row.split == "train"
    ]
    assert len(found.rows) == len(before.rows) + 1
    (told,) = (note for note in found.notes if "WARNING" in note)
    assert told.startswith("WARNING: 4 newly labelled videos are left out, which are copies of val")


def test_a_class_that_lacks_a_test_video_has_the_split_dealt_anew(project: Path) -> None:
    table = DecisionTable(project / "videos" / "labels.csv")
    before = index(project)
    for row in before:
        if row.class_name == "wave" and row.split == "test":
            decide(table, row.video_path, None)
    manifest = build_manifest(PARAMS, project=project)
    assert (
        "WARNING: decisions leave class 'wave' without a test video; the split is dealt anew"
        in (manifest.notes)
    )
    assert ("wave", "test") in {(row.class_name, row.split) for row in manifest.rows}


def test_a_class_that_decisions_empty_is_told(project: Path) -> None:
    table = DecisionTable(project / "videos" / "labels.csv")
    touch_videos(project / "videos", [f"fall/{i}.mp4" for i in range(3)])
    for i, label in enumerate(("wave", None, None)):
        decide(table, f"fall/{i}.mp4", label, "fall")
    manifest = build_manifest(PARAMS, project=project)
    (told,) = (note for note in manifest.notes if "WARNING" in note)
    assert told == "WARNING: decisions leave no video of class 'fall'; it is no class any more"
    assert {(row.class_name, row.label) for row in manifest.rows} == {("jump", 0), ("wave", 1)}


def test_the_background_of_a_changed_part_is_no_changed_label(tmp_path: Path) -> None:
    names = [f"{i}.mp4" for i in range(8)]
    touch_videos(tmp_path / "videos", names)
    rows = [f"{name},{part}\n" for name in names for part in ("walk,10,12", "fall,20,24")]
    path = tmp_path / "videos" / "labels.csv"
    path.write_text("video,label,start,end\n" + "".join(rows))
    params = PARAMS.model_copy(update={"background": "nothing"})
    tested = next(r for r in build_manifest(params, project=tmp_path).rows if r.split == "test")
    table, span = DecisionTable(path), Span(tested.video_path.removeprefix("videos/"), 10, 12)
    seen = table.latest(span)
    table.decide([(span, "fall")], before="walk", words=("random", "test"), expected=seen)
    assert build_manifest(params, project=tmp_path).num_changed == 1


def test_changed_test_labels_are_counted(project: Path) -> None:
    table = DecisionTable(project / "videos" / "labels.csv")
    tested = [row for row in index(project) if row.split == "test" and row.class_name == "wave"]
    trained = next(row for row in index(project) if row.split == "train")
    for row, label, before in (
        (tested[0], "jump", "wave"),
        (tested[1], "wave", "wave"),
        (tested[2], None, "wave"),
        (trained, "wave", trained.class_name),
    ):
        span, is_test = Span(row.video_path), row.split == "test"
        words = ("doubtful", *["test"] * is_test)
        table.decide([(span, label)], before=before, words=words, expected=None)
    manifest = build_manifest(PARAMS, project=project)
    assert (manifest.num_changed, manifest.num_dropped) == (1, 1)
    for _ in range(4):
        table.undo(table.standing[-1])
    manifest = build_manifest(PARAMS, project=project)
    assert (manifest.num_changed, manifest.num_dropped) == (0, 0)
