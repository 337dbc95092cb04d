"""Files that are whole or not there, and tables that give back what was put in."""

from __future__ import annotations

import csv
import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from synthetic import HostileRow

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import atomic_path, read_table, write_table, write_text

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
    write_table(tmp_path / "t.csv", written, HostileRow)
    assert read_table(tmp_path / "t.csv", HostileRow) == written


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_gives_back_each_name_alone(tmp_path: Path, name: str) -> None:
    written = rows([name])
    write_table(tmp_path / "t.csv", written, HostileRow)
    assert read_table(tmp_path / "t.csv", HostileRow) == written


def test_other_readers_understand_the_table(tmp_path: Path) -> None:
    import pandas as pd

    write_table(tmp_path / "t.csv", rows(HOSTILE), HostileRow)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == HOSTILE
    table = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert table["name"].tolist() == HOSTILE


def test_the_bytes_of_a_table(tmp_path: Path) -> None:
    write_table(
        tmp_path / "t.csv",
        [
            HostileRow(name="a b", remark=None, number=-3, share=0.1, flag=True),
            HostileRow(name="c,d", remark="ü", number=0, share=1e-9, flag=False),
        ],
        HostileRow,
    )
    expected = 'name,remark,number,share,flag\na b,,-3,0.1,true\n"c,d",ü,0,1e-09,false\n'
    assert (tmp_path / "t.csv").read_bytes() == expected.encode()


def test_an_empty_table_is_its_heading(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", [], HostileRow)
    assert (tmp_path / "t.csv").read_text() == "name,remark,number,share,flag\n"
    assert read_table(tmp_path / "t.csv", HostileRow) == []


def test_more_columns_in_another_order_are_fine(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("flag,x,share,number,remark,name\nfalse,?,0.5,7,,a\n")
    expected = HostileRow(name="a", remark=None, number=7, share=0.5, flag=False)
    assert read_table(tmp_path / "t.csv", HostileRow) == [expected]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"name,number,share,flag\n", "column remark is missing"),
        (b"", "column name, remark, number, share, flag is missing"),
        (b"name,remark,number,share,flag\na,,1,1,true\na,,x,1,true\n", "row 2, column number"),
        (b"name,remark,number,share,flag\na,,1,1,perhaps\n", "row 1, column flag: found 'perhaps'"),
        (b"name,remark,number,share,flag\n,,1,1,true\n", "row 1, column name"),
        (b"name,remark,number,share,flag\na\n", "row 1, column number"),
        (b"name,remark,number,share,flag\n\xff,,1,1,true\n", "is not a CSV table"),
        (b"name,remark,number,share,flag\na\rb,,1,1,true\n", "t.csv"),
    ],
)
def test_a_faulty_table_is_named_with_its_place(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "t.csv", HostileRow)
    assert str(tmp_path / "t.csv") in str(caught.value)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_table_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv: cannot be read: No such file.*dvc repro"):
        read_table(tmp_path / "t.csv", HostileRow)


def write_half(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half of the ne")
        raise error


def test_a_named_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    """Nor is /dev/null, which a file in its place would take from everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "said")
    reader.join(timeout=10)
    assert read == ["said"]
    assert pipe.is_fifo()


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        write_half(path, ZeroDivisionError())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "a.txt", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_cannot_be_written_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_table(path, rows(["a"]), HostileRow)
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_table(path, rows(["a", "not UTF-8: \udcff"]), HostileRow)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_folders_are_made_and_files_are_as_readable_as_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    write_text(path, "Zeile\r\nbleibt ü\n")
    other = tmp_path / "other.txt"
    other.write_text("")
    assert path.read_bytes() == "Zeile\r\nbleibt ü\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_full_disk_names_the_file_and_other_errors_keep_their_words(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"No space left on device: .*table\.csv"),
        atomic_path(tmp_path / "table.csv"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(OSError, match=r"^the connection closed$"),
        atomic_path(tmp_path / "table.csv"),
    ):
        raise OSError("the connection closed")
    assert list(tmp_path.iterdir()) == []
