"""Tables that give back what was put in, and name the cell that does not fit."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import HOSTILE_TABLE, HostileRow

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.evaluation.result_tables import CLASSES, VIEWS, ClassRow, ViewRow

HOSTILE = [
    "plain.mp4",
    "with space.mp4",
    " leading and trailing ",
    "comma, comma.mp4",
    'quote " quote.mp4',
    '"quoted"',
    "apostrophe's.mp4",
    "new\nline.mp4",
    "carriage\rreturn.mp4",
    "\r",
    "\n",
    "both\r\n.mp4",
    'all, of "them\r\n\r at,\nonce"',
    "tab\t.mp4",
    "semicolon;.mp4",
    "back\\slash.mp4",
    "=1+1.mp4",
    "#no comment",
    "Übung 動画 🎬.mp4",
    "line\u2028paragraph\u2029next\x85.mp4",
    "\ufeffbyte order mark",
    "None",
    "null",
    "nan",
    "001",
]


def rows(names: list[str]) -> list[HostileRow]:
    return [
        HostileRow(name=name, remark=name, number=index, share=index / 7, flag=index % 2 == 0)
        for index, name in enumerate(names)
    ]


def test_a_table_gives_back_every_name(tmp_path: Path) -> None:
    written = rows(HOSTILE)
    HOSTILE_TABLE.write(tmp_path / "t.csv", written)
    assert HOSTILE_TABLE.read_rows(tmp_path / "t.csv") == written


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_gives_back_each_name_alone(tmp_path: Path, name: str) -> None:
    written = rows([name])
    HOSTILE_TABLE.write(tmp_path / "t.csv", written)
    assert HOSTILE_TABLE.read_rows(tmp_path / "t.csv") == written


def test_other_readers_understand_the_table(tmp_path: Path) -> None:
    import pandas as pd

    HOSTILE_TABLE.write(tmp_path / "t.csv", rows(HOSTILE))
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == HOSTILE
    table = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert table["name"].tolist() == HOSTILE


def test_the_bytes_of_a_table(tmp_path: Path) -> None:
    HOSTILE_TABLE.write(
        tmp_path / "t.csv",
        [
            HostileRow(name="a b", remark=None, number=-3, share=0.1, flag=True),
            HostileRow(name="c,d", remark="ü", number=0, share=1e-9, flag=False),
        ],
    )
    expected = 'name,remark,number,share,flag\na b,,-3,0.1,true\n"c,d",ü,0,1e-09,false\n'
    assert (tmp_path / "t.csv").read_bytes() == expected.encode()


def test_an_empty_table_is_its_heading(tmp_path: Path) -> None:
    HOSTILE_TABLE.write(tmp_path / "t.csv", [])
    assert (tmp_path / "t.csv").read_text() == "name,remark,number,share,flag\n"
    assert HOSTILE_TABLE.read_rows(tmp_path / "t.csv") == []


def test_more_columns_in_another_order_are_fine(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("flag,x,share,number,remark,name\nfalse,?,0.5,7,,a\n")
    expected = HostileRow(name="a", remark=None, number=7, share=0.5, flag=False)
    assert HOSTILE_TABLE.read_rows(tmp_path / "t.csv") == [expected]


HEADER = b"name,remark,number,share,flag\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"name,number,share,flag\n", "column remark is missing; written by another version"),
        (b"", "columns name, remark, number, share, flag are missing"),
        (b"name,flag,name,remark,number,share\n", "column name is there twice"),
        (
            HEADER + b"a,,1,1,true\na,,x,1,true\n",
            "row 2, column number: found 'x', expected a whole number",
        ),
        (HEADER + b"a,,1.5,1,true\n", "row 1, column number: found '1.5', expected a whole number"),
        (HEADER + b"a,,1,one,true\n", "row 1, column share: found 'one', expected a number"),
        (HEADER + b"a,,1,,true\n", "row 1, column share: found '', expected a number"),
        (HEADER + b"a,,1,1,perhaps\n", "column flag: found 'perhaps', expected true or false"),
        (HEADER + b",,1,1,true\n", "row 1, column name: found '', expected some text"),
        (HEADER + b"a\n", "row 1, column number: found ''"),
        (HEADER + b"a,,1,1,true,more\n", "is not a CSV table: Error tokenizing data"),
        (HEADER + b'"a,,1,1,true\n', "is not a CSV table: Error tokenizing data"),
        (HEADER + b"\xff,,1,1,true\n", "is not a CSV table"),
        (HEADER + b"a\rb,,1,1,true\n", "row 1, column number: found ''"),
    ],
)
def test_a_faulty_table_is_named_with_its_place(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        HOSTILE_TABLE.read_rows(tmp_path / "t.csv")
    assert str(tmp_path / "t.csv") in str(caught.value)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_table_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv: cannot be read: No such file.*dvc repro"):
        HOSTILE_TABLE.read_rows(tmp_path / "t.csv")


def test_a_row_that_cannot_be_written_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    HOSTILE_TABLE.write(path, rows(["a"]))
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        HOSTILE_TABLE.write(path, rows(["a", "not UTF-8: \udcff"]))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("cell", "fits"), [("0", True), ("1", True), ("1.01", False), ("nan", False)]
)
def test_a_share_lies_between_0_and_1(tmp_path: Path, cell: str, fits: bool) -> None:
    class_names = "class_name,precision,recall,recall_low,recall_high,f1,num_videos\n"
    (tmp_path / "t.csv").write_text(f"{class_names}NA,{cell},,,,0,1\n")
    if fits:
        (row,) = CLASSES.read_rows(tmp_path / "t.csv")
        assert row == ClassRow("NA", float(cell), None, None, None, 0.0, 1)
        return
    with pytest.raises(
        DataError, match=rf"row 1, column precision: found '{cell}', expected.*0 to 1"
    ):
        CLASSES.read(tmp_path / "t.csv")


def test_a_column_of_choices_takes_no_other(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "video_path,class_name,label,split,group,content_hash,start_seconds,end_seconds,"
        "table_row\na,007,0,training,,ff,,,\n"
    )
    with pytest.raises(
        DataError, match="column split: found 'training', expected one of train, val, test"
    ):
        MANIFEST.read(tmp_path / "t.csv")


def test_a_frame_is_typed_and_gives_its_rows_back(tmp_path: Path) -> None:
    written = rows(["NA", "007", "1e3"])
    more = HostileRow("x", None, -1, float("nan"), True)
    HOSTILE_TABLE.write(tmp_path / "t.csv", [*written, more])
    frame = HOSTILE_TABLE.read(tmp_path / "t.csv")
    assert [str(dtype) for dtype in frame.dtypes] == ["str", "str", "int64", "float64", "bool"]
    assert frame["remark"].isna().tolist() == [False, False, False, True]
    assert HOSTILE_TABLE.rows(frame)[:3] == written
    assert HOSTILE_TABLE.rows(frame)[3].remark is None
    assert math.isnan(HOSTILE_TABLE.rows(frame)[3].share)
    HOSTILE_TABLE.write(tmp_path / "t.csv", [])
    assert HOSTILE_TABLE.read_rows(tmp_path / "t.csv") == []


def test_whole_numbers_may_be_missing(tmp_path: Path) -> None:
    row = ManifestRow("a.mp4", "007", 0, "train", None, "ff")
    for written in ([row], [row, row._replace(table_row=2)]):
        MANIFEST.write(tmp_path / "t.csv", written)
        assert MANIFEST.read_rows(tmp_path / "t.csv") == written
        assert isinstance(MANIFEST.read_rows(tmp_path / "t.csv")[-1].table_row, int | None)


def test_numbers_come_back_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shares = (rng.standard_normal(2000) * 10.0 ** rng.integers(-300, 300, 2000)).tolist()
    written = [HostileRow("a", None, 0, share, False) for share in (*shares, math.inf, 5e-324)]
    HOSTILE_TABLE.write(tmp_path / "t.csv", written)
    assert HOSTILE_TABLE.read_rows(tmp_path / "t.csv") == written


def test_columns_of_classes_follow_in_order_and_as_exact_as_they_are(tmp_path: Path) -> None:
    names = ["NA", "a, b", 'a"b']
    logits = np.array([[0.1, -2.5, 1e-7], [1.0, 3.4028235e38, 0.3]], np.float32)
    view = ViewRow("v.mp4", 0, 1, 2)
    VIEWS.write(tmp_path / "t.csv", [view, view], class_names=names, class_values=logits)
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        'video_path,start,top,left,start_seconds,end_seconds,logit(NA),"logit(a, b)","logit(a""b)"',
        "v.mp4,0,1,2,,,0.1,-2.5,1e-07",
        "v.mp4,0,1,2,,,1.0,3.4028235e+38,0.3",
    ]
    frame = VIEWS.read(tmp_path / "t.csv")
    assert list(frame.columns)[6:] == [f"logit({name})" for name in names]
    assert np.array_equal(frame.to_numpy()[:, 6:].astype(np.float32), logits)


@pytest.mark.process
def test_index_and_workers_start_without_pandas() -> None:
    """It takes longer to import than all else that they do before the first video."""
    code = (
        "import sys, slowfast_finetune.indexing.manifest, slowfast_finetune.clips.caching\n"
        "import slowfast_finetune.clips.workers\n"
        "sys.exit('pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
