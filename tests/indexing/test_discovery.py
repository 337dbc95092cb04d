"""Which files of a folder count as videos, of which class, in which order."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import synthetic
from synthetic import touch_videos

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.indexing.discovery import Discovery, find_videos
from slowfast_finetune.indexing.manifest import every_video


def find(root: Path, *extensions: str) -> Discovery:
    return find_videos(root, extensions=extensions or (".mp4",))


def names(discovery: Discovery) -> list[str]:
    return [video.name for video in discovery.videos]


def test_a_class_is_a_folder_and_classes_are_sorted(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["wave/2.mp4", "wave/1.mp4", "Jump/x.mp4", "clap/b.mp4", "clap/a.mp4"])
    discovery = find(tmp_path)
    # By code point: capitals first, on every machine.
    assert discovery.class_names == ["Jump", "clap", "wave"]
    assert names(discovery) == [
        "Jump/x.mp4",
        "clap/a.mp4",
        "clap/b.mp4",
        "wave/1.mp4",
        "wave/2.mp4",
    ]
    assert [video.class_name for video in discovery.videos] == [
        "Jump",
        "clap",
        "clap",
        "wave",
        "wave",
    ]
    assert {video.given_split for video in discovery.videos} == {None}
    assert all(video.path == tmp_path / video.name for video in discovery.videos)


def test_videos_at_any_depth_belong_to_the_class_on_top(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["jump/day 1/cam/a.mp4", "jump/b.mp4", "wave/jump/c.mp4"])
    discovery = find(tmp_path)
    assert names(discovery) == ["jump/b.mp4", "jump/day 1/cam/a.mp4", "wave/jump/c.mp4"]
    assert discovery.class_names == ["jump", "wave"]


def test_the_order_of_the_file_system_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch_videos(
        tmp_path, [f"class {c}/{d}/{v}.mp4" for c in "bca" for d in "yx" for v in (2, 10, 1)]
    )
    expected = find(tmp_path)
    listed = Path.iterdir
    for seed in range(5):
        rng = random.Random(seed)
        monkeypatch.setattr(
            Path,
            "iterdir",
            lambda path, rng=rng: rng.sample(found := list(listed(path)), len(found)),
        )
        assert find(tmp_path) == expected


def test_extensions_in_upper_and_lower_case(tmp_path: Path) -> None:
    touch_videos(
        tmp_path,
        ["jump/a.MP4", "jump/b.Mp4", "jump/c.mp4", "jump/d.mov", "jump/e.mp4.part", "jump/f.mp4v"],
    )
    assert names(find(tmp_path)) == ["jump/a.MP4", "jump/b.Mp4", "jump/c.mp4"]
    assert names(find(tmp_path, ".mov", ".mp4v")) == ["jump/d.mov", "jump/f.mp4v"]


def test_other_files_are_counted(tmp_path: Path) -> None:
    touch_videos(
        tmp_path,
        ["jump/a.mp4", "jump/notes.TXT", "jump/b.txt", "jump/LICENSE", "jump/c.avi", "README.md"],
    )
    discovery = find(tmp_path)
    assert names(discovery) == ["jump/a.mp4"]
    assert discovery.ignored == {
        ".txt": 2,
        ".avi": 1,
        "no extension": 1,
        "outside any class folder": 1,
    }
    assert discovery.notes == [
        "passed over: 2 .txt (jump/b.txt, …), 1 outside any class folder (README.md), "
        "1 no extension (jump/LICENSE), 1 .avi (jump/c.avi)"
    ]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch_videos(
        tmp_path,
        ["jump/a.mp4", "jump/._a.mp4", "jump/.hidden/b.mp4", ".git/c.mp4", ".DS_Store", ".x.mp4"],
    )
    discovery = find(tmp_path)
    assert names(discovery) == ["jump/a.mp4"]
    assert discovery.ignored.total() == 0


STRANGE = [
    "with space",
    "comma,comma",
    'quote " quote',
    "apostrophe's",
    "new\nline",
    "carriage\rreturn",
    "Übung 動画 🎬",
    " leading and trailing ",
    "tab\t",
    "100% [x] {y} $HOME ~ * ?",
    "back\\slash",
    "line\u2028separator",
    "dots.and.mp4.more",
    "-dash",
]


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names(tmp_path: Path, name: str) -> None:
    touch_videos(tmp_path, [f"{name}/{name}.mp4", "other/a.mp4"])
    discovery = find(tmp_path)
    assert sorted(names(discovery)) == sorted([f"{name}/{name}.mp4", "other/a.mp4"])
    assert set(discovery.class_names) == {name, "other"}


@pytest.mark.parametrize("place", [b"jump/\xff.mp4", b"\xff\xfe/a.mp4", b"jump/\xff/a.mp4"])
def test_a_name_that_is_not_utf8_is_refused_and_shown(tmp_path: Path, place: bytes) -> None:
    touch_videos(tmp_path, ["jump/a.mp4", os.fsdecode(place)])
    with pytest.raises(DataError, match=r"\\xff.*not UTF-8") as caught:
        find(tmp_path)
    str(caught.value).encode("utf-8")  # can be printed


# Given splits


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "val", "test"), ("train", "val", "test")),
        (("Training", "VALIDATION", "Testing"), ("train", "val", "test")),
        (("train", "valid", "test"), ("train", "val", "test")),
        (("train", "dev", "test"), ("train", "val", "test")),
    ],
)
def test_split_folders_fix_the_split(
    tmp_path: Path, folders: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    touch_videos(tmp_path, [f"{folder}/{c}/{folder}.mp4" for folder in folders for c in ("b", "a")])
    discovery = find(tmp_path)
    assert discovery.class_names == ["a", "b"]
    given = {(video.name, video.given_split) for video in discovery.videos}
    assert given == {
        (f"{folder}/{c}/{folder}.mp4", split)
        for folder, split in zip(folders, expected, strict=True)
        for c in ("a", "b")
    }


@pytest.mark.parametrize("folders", [("train",), ("train", "val"), ("train", "test")])
def test_some_split_folders_are_enough(tmp_path: Path, folders: tuple[str, ...]) -> None:
    touch_videos(tmp_path, [f"{folder}/jump/{folder}.mp4" for folder in folders])
    assert {video.given_split for video in find(tmp_path).videos} == set(folders)


def test_without_train_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["val/jump/a.mp4", "test/jump/b.mp4"])
    with pytest.raises(DataError, match="split into test, val, but there is no train folder"):
        find(tmp_path)


def test_a_single_class_called_test_is_a_class_with_a_warning(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["test/a.mp4", "drive/c.mp4"])
    discovery = find(tmp_path)
    assert discovery.class_names == ["drive", "test"]
    assert {video.given_split for video in discovery.videos} == {None}
    assert "test is taken for a class" in discovery.warnings[0]


@pytest.mark.parametrize(
    "names",
    [
        ["test/a.mp4", "train/b.mp4", "drive/c.mp4"],
        ["train_set/run/a.mp4", "test_set/run/b.mp4"],
        ["train/run/a.mp4", "val_set/run/b.mp4"],
        ["test/run/a.mp4", "run/b.mp4", "walk/c.mp4"],
        ["ucf101_train/run/a.mp4", "ucf101_val/run/b.mp4"],
        ["01_train/run/a.mp4", "02_test/run/b.mp4"],
        ["my train data/run/a.mp4", "my test data/run/b.mp4"],
        ["tr/run/a.mp4", "va/run/b.mp4", "te/run/c.mp4"],
    ],
)
def test_folders_that_may_be_a_split_or_classes_are_refused(
    tmp_path: Path, names: list[str]
) -> None:
    touch_videos(tmp_path, names)
    with pytest.raises(DataError, match=r"stand for a split.*name the parts of a split train, val"):
        find(tmp_path)


def test_names_that_differ_in_more_than_a_word_for_a_split_are_classes(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["train station/a.mp4", "test tube/b.mp4", "test drive/c.mp4"])
    assert find(tmp_path).class_names == ["test drive", "test tube", "train station"]


def test_a_split_one_folder_below_says_which_folder_to_give(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["videos/train/run/a.mp4", "videos/test/run/b.mp4"])
    with pytest.raises(DataError, match=rf"is not kept; set data.videos: {tmp_path}/videos, or"):
        find(tmp_path)


def test_a_split_below_the_classes_is_refused(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["run/train/a.mp4", "run/test/b.mp4", "walk/train/c.mp4"])
    with pytest.raises(DataError, match="run holds test, train: a split below the classes"):
        find(tmp_path)


def test_what_systems_leave_on_disks_is_passed_over_and_counted(tmp_path: Path) -> None:
    touch_videos(
        tmp_path,
        ["run/a.mp4", "run/@eaDir/a/SYNO.mp4", "__MACOSX/x.mp4", "$RECYCLE.BIN/b.mp4", "run/c.mp4"],
    )
    (tmp_path / "lost+found").mkdir()
    discovery = find_videos(tmp_path, extensions=[".mp4"], exclude=["c.*"])
    assert names(discovery) == ["run/a.mp4"]
    assert discovery.ignored == {
        "@eaDir": 1,
        "__MACOSX": 1,
        "$RECYCLE.BIN": 1,
        "lost+found": 1,
        "by data.exclude": 1,
    }


def test_composed_and_decomposed_names_are_one_class(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["caf\u00e9/a.mp4", "cafe\u0301/b.mp4"])
    discovery = find(tmp_path)
    assert discovery.class_names == ["caf\u00e9"]
    assert names(discovery) == ["caf\u00e9/a.mp4", "caf\u00e9/b.mp4"]
    assert "one class" in discovery.warnings[0]


def test_broken_links_and_pipes_are_passed_over(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["run/a.mp4"])
    (tmp_path / "run" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "run" / "pipe.mp4")
    discovery = find(tmp_path)
    assert names(discovery) == ["run/a.mp4"]
    assert discovery.ignored == {"broken link": 2, "special file": 1}


def test_a_class_may_be_empty_in_one_split_but_not_in_all(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["train/jump/a.mp4", "train/wave/b.mp4", "test/jump/c.mp4"])
    (tmp_path / "test" / "wave").mkdir()
    assert len(find(tmp_path).videos) == 3
    (tmp_path / "test" / "clap").mkdir()
    with pytest.raises(DataError, match="clap holds no videos"):
        find(tmp_path)


def test_spellings_of_a_class_in_different_splits_are_refused(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["train/run/a.mp4", "train/b/b.mp4", "val/Run/c.mp4", "val/b/d.mp4"])
    with pytest.raises(DataError, match="'Run' and 'run' are two classes, in different splits"):
        find(tmp_path)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["train/run/a.mp4", "val/run/b.mp4", "dev/run/c.mp4"])
    with pytest.raises(DataError, match="dev and val both stand for val"):
        find(tmp_path)


def test_the_clip_store_in_the_videos_folder_is_no_class(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["run/a.mp4", "clips/ab/x.mp4", "dvc/cache/y.mp4"])
    found = find_videos(
        tmp_path, extensions=[".mp4"], not_videos=[tmp_path / "clips", tmp_path / "dvc" / "cache"]
    )
    assert found.class_names == ["run"]


def test_lists_and_a_folder_too_high_up_are_told(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["UCF-101/a/1.mp4", "UCF-101/b/1.mp4", "lists/train.txt"])
    with pytest.raises(DataError, match=r"set data.videos to that.*lists of videos such as lists"):
        find(tmp_path)


# Nothing usable


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.videos: .*gone does not exist"):
        find(tmp_path / "gone")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"data\.videos: .*a\.mp4 is not a folder"):
        find(tmp_path / "a.mp4")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no class folders"):
        find(tmp_path)


def test_videos_without_class_folders(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["a.mp4", "b.mp4"])
    with pytest.raises(DataError, match="holds no class folders"):
        find(tmp_path)


def test_an_empty_class_says_what_was_looked_for(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["jump/a.mp4"])
    (tmp_path / "wave").mkdir()
    with pytest.raises(DataError, match=r"wave holds no videos; looked for \.mp4 .*found nothing"):
        find(tmp_path)


def test_the_first_of_several_empty_classes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "bdca":
        (tmp_path / name).mkdir()
    listed = Path.iterdir
    for reverse in (False, True):
        monkeypatch.setattr(
            Path, "iterdir", lambda path, way=reverse: sorted(listed(path), reverse=way)
        )
        with pytest.raises(DataError, match="/a holds no videos"):
            find(tmp_path)


def test_a_class_of_other_files_says_what_was_found(tmp_path: Path) -> None:
    touch_videos(tmp_path, ["jump/a.mp4", "wave/a.avi", "wave/b.AVI", "wave/c.txt"])
    with pytest.raises(DataError, match=r"wave holds no videos.*found 2 \.avi, 1 \.txt"):
        find(tmp_path)


@synthetic.needs_permissions
@pytest.mark.parametrize("place", [".", "jump", "jump/deep"])
def test_an_unreadable_folder_is_named(tmp_path: Path, place: str) -> None:
    root = touch_videos(tmp_path / "videos", ["jump/a.mp4", "jump/deep/b.mp4"])
    (root / place).chmod(0)
    try:
        with pytest.raises(DataError, match="cannot be listed: Permission denied"):
            find(root)
    finally:
        (root / place).chmod(0o755)


# Links


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    touch_videos(tmp_path / "elsewhere", ["a.mp4", "deep/b.mp4"])
    root = touch_videos(tmp_path / "videos", ["wave/c.mp4"])
    (root / "jump").symlink_to(tmp_path / "elsewhere")
    (root / "wave" / "linked.mp4").symlink_to(tmp_path / "elsewhere" / "a.mp4")
    (tmp_path / "link").symlink_to(root)
    assert names(find(tmp_path / "link")) == [
        "jump/a.mp4",
        "jump/deep/b.mp4",
        "wave/c.mp4",
        "wave/linked.mp4",
    ]


@pytest.mark.parametrize("target", [".", "..", "../deep", "self"])
def test_a_loop_inside_a_class_ends(tmp_path: Path, target: str) -> None:
    root = touch_videos(tmp_path / "videos", ["jump/a.mp4", "jump/deep/b.mp4", "wave/c.mp4"])
    (root / "jump" / "deep" / "self").symlink_to(target)
    assert names(find(root)) == ["jump/a.mp4", "jump/deep/b.mp4", "wave/c.mp4"]


def test_a_link_from_a_class_to_the_videos_folder_brings_no_other_class(tmp_path: Path) -> None:
    root = touch_videos(tmp_path / "videos", ["jump/a.mp4", "wave/c.mp4"])
    (root / "jump" / "back").symlink_to(root)
    found = {(video.name, video.class_name) for video in find(root).videos}
    assert found == {("jump/a.mp4", "jump"), ("wave/c.mp4", "wave")}


def test_class_named_as_the_answer_to_no_class_is_refused(tmp_path: Path) -> None:
    for name in ("jump", "none of these"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").touch()
    with pytest.raises(DataError, match="has the name that is given to videos of no class"):
        find_videos(tmp_path, extensions=[".mp4"])


def test_every_video_is_one_that_a_table_may_name(tmp_path: Path) -> None:
    touch_videos(
        tmp_path, ["top.mp4", "e\u0301/deep/1.MP4", "notes.txt", "raw/2.mp4", ".dvc/3.mp4"]
    )
    data = {"videos": str(tmp_path), "extensions": [".mp4"], "exclude": ["raw"]}
    found = every_video(synthetic.make_params(data=data).data, project=tmp_path)
    assert found == (tmp_path, ["top.mp4", "\u00e9/deep/1.MP4"])
    with pytest.raises(DataError, match="nowhere: is no folder"):
        every_video(synthetic.make_params(data={"videos": "nowhere"}).data, project=tmp_path)
