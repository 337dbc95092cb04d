"""From class folders to manifest.csv."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from in_process import run_here
from synthetic import touch_videos

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.base.files import hash_file
from slowfast_finetune.base.hash_memo import hash_files
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_tables import REJECTED, RejectedRow
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, PredictionRow
from slowfast_finetune.indexing.last_tested import changed_test_set
from slowfast_finetune.indexing.manifest import Manifest, build_manifest, describe

PROJECT = Path(__file__).resolve().parents[2]


def names(class_name: str, count: int, pattern: str = "{}.mp4") -> list[str]:
    return [f"{class_name}/{pattern.format(index)}" for index in range(count)]


def build(project: Path, **data: Any) -> Manifest:
    return build_manifest(synthetic.make_params(data=data).data, project=project)


def splits(manifest: Manifest) -> dict[str, str]:
    return {row.video_path: row.split for row in manifest.rows}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """The folder ``videos`` of the project ``tmp_path``."""
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


# Rows


def test_rows_by_class_and_path(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("wave", 5), *names("jump", 5)])
    rows = build(tmp_path).rows
    assert list(ManifestRow._fields) == [
        "video_path",
        "class_name",
        "label",
        "split",
        "group",
        "content_hash",
        "start_seconds",
        "end_seconds",
        "table_row",
    ]
    assert [row.video_path for row in rows] == [
        *(f"videos/jump/{i}.mp4" for i in range(5)),
        *(f"videos/wave/{i}.mp4" for i in range(5)),
    ]
    assert [(row.class_name, row.label) for row in rows] == [("jump", 0)] * 5 + [("wave", 1)] * 5
    assert {row.group for row in rows} == {None}


def test_content_hash_is_blake2b_of_the_bytes(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 4), *names("wave", 4)])
    content = random.Random(0).randbytes(3_000_000)
    (videos / "jump" / "0.mp4").write_bytes(content)
    row = build(tmp_path).rows[0]
    assert row.content_hash == hashlib.blake2b(content, digest_size=16).hexdigest()
    assert len(row.content_hash) == 32


def test_hashes_come_in_the_order_of_the_paths(tmp_path: Path) -> None:
    touch_videos(tmp_path, [f"{i}.mp4" for i in range(40)])
    paths = [tmp_path / f"{i}.mp4" for i in range(40)]
    # Large files finish last.
    paths[0].write_bytes(b"x" * 5_000_000)
    assert hash_files(paths) == [hash_file(path) for path in paths]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.mp4: cannot be read: No such file"):
        hash_files([tmp_path / "gone.mp4"])


def test_videos_outside_the_project_keep_their_whole_path(tmp_path: Path) -> None:
    outside = touch_videos(tmp_path / "outside", [*names("jump", 4), *names("wave", 4)])
    (tmp_path / "project").mkdir()
    rows = build(tmp_path / "project", videos=str(outside)).rows
    assert rows[0].video_path == f"{outside}/jump/0.mp4"
    rows = build(tmp_path / "project", videos="../outside").rows
    assert rows[0].video_path == f"{outside}/jump/0.mp4"


def test_a_linked_videos_folder_keeps_its_path_in_the_project(tmp_path: Path) -> None:
    outside = touch_videos(tmp_path / "outside", [*names("jump", 4), *names("wave", 4)])
    project = tmp_path / "project"
    project.mkdir()
    (project / "videos").symlink_to(outside)
    assert build(project).rows[0].video_path == "videos/jump/0.mp4"


def test_every_strange_name_comes_back_from_the_table(tmp_path: Path, videos: Path) -> None:
    strange = [
        "with space.mp4",
        "comma,comma.mp4",
        'quote " quote.mp4',
        "new\nline.mp4",
        "carriage\rreturn.mp4",
        "\r.mp4",
        "both\r\n.mp4",
        "Übung 動画 🎬.mp4",
        " leading.mp4",
        "tab\t.mp4",
        "line\u2028separator.mp4",
    ]
    touch_videos(videos, [f"{c}/{name}" for c in ("a, b", "c\rd") for name in strange])
    manifest = build(tmp_path)
    MANIFEST.write(tmp_path / "manifest.csv", manifest.rows)
    rows = MANIFEST.read_rows(tmp_path / "manifest.csv")
    assert rows == manifest.rows
    assert {row.class_name for row in rows} == {"a, b", "c\rd"}
    assert all((tmp_path / row.video_path).is_file() for row in rows)
    assert len(rows) == 2 * len(strange)


def test_the_order_of_the_file_system_does_not_matter(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch_videos(videos, [*names("jump", 20), *names("wave", 20), *names("clap", 20)])
    expected = build(tmp_path)
    listed = Path.iterdir
    for seed in range(3):
        rng = random.Random(seed)
        monkeypatch.setattr(
            Path,
            "iterdir",
            lambda path, rng=rng: rng.sample(found := list(listed(path)), len(found)),
        )
        assert build(tmp_path) == expected


def test_the_place_of_the_project_does_not_matter(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there" / "deeper"
    for project in (here, there):
        touch_videos(project / "videos", [*names("jump", 20), *names("wave", 20)])
    assert build(here) == build(there)


def test_the_seed_decides_the_split(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 20), *names("wave", 20)])
    assert splits(build(tmp_path, split_seed=1)) == splits(build(tmp_path, split_seed=1))
    assert splits(build(tmp_path, split_seed=1)) != splits(build(tmp_path, split_seed=2))


def test_shares_hold_in_every_class(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 20), *names("wave", 40)])
    manifest = build(tmp_path, val_fraction=0.1, test_fraction=0.25)
    held: defaultdict[str, int] = defaultdict(int)
    for row in manifest.rows:
        held[row.class_name, row.split] += 1
    assert held == {
        ("jump", "train"): 13,
        ("jump", "val"): 2,
        ("jump", "test"): 5,
        ("wave", "train"): 26,
        ("wave", "val"): 4,
        ("wave", "test"): 10,
    }


def test_description_for_the_person(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 5), *names("long name", 10), "jump/a.txt", "x.md"])
    lines = describe(build(tmp_path)).splitlines()
    # 0.6, 0.2, 0.2 of five and ten.
    assert lines == [
        "class      train    val   test",
        "jump           3      1      1",
        "long name      6      2      2",
        "passed over: 1 outside any class folder (x.md), 1 .txt (jump/a.txt)",
    ]


# Too little


def test_one_class_is_not_enough(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, names("jump", 9))
    with pytest.raises(DataError, match=r"holds one class, 'jump'; .* at least two class folders"):
        build(tmp_path)


def test_a_class_too_small(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 9), *names("wave", 2)])
    with pytest.raises(DataError, match=r"class 'wave' has 2 videos: none is left for"):
        build(tmp_path)


@pytest.mark.parametrize("folder", ["gone", "../gone", "/gone"])
def test_a_missing_videos_folder(tmp_path: Path, folder: str) -> None:
    with pytest.raises(DataError, match=r"data\.videos: .* does not exist"):
        build(tmp_path, videos=folder)


@synthetic.needs_permissions
def test_an_unreadable_video_is_named(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 4), *names("wave", 4)])
    (videos / "jump" / "2.mp4").chmod(0)
    with pytest.raises(DataError, match=r"jump/2\.mp4: cannot be read: Permission denied"):
        build(tmp_path)


# Groups


def whole_groups(manifest: Manifest) -> bool:
    splits_of = defaultdict(set)
    for row in manifest.rows:
        if row.group is not None:
            splits_of[row.group].add(row.split)
    return all(len(found) == 1 for found in splits_of.values())


def test_groups_by_pattern_span_classes_and_no_split(tmp_path: Path, videos: Path) -> None:
    people = [f"person_{p}_take_{t}.mp4" for p in range(10) for t in range(2)]
    touch_videos(videos, [f"{c}/{name}" for c in ("jump", "wave") for name in people])
    for seed in range(5):
        manifest = build(tmp_path, group_pattern=r"person_(\d+)", split_seed=seed)
        assert {row.group for row in manifest.rows} == {str(p) for p in range(10)}
        assert whole_groups(manifest)
    assert any("10 groups by data.group_pattern" in note for note in manifest.notes)


def test_without_groups_persons_would_be_torn_apart(tmp_path: Path, videos: Path) -> None:
    """The test above would notice: the same videos without the pattern do cross splits."""
    people = [f"person_{p}_take_{t}.mp4" for p in range(10) for t in range(2)]
    touch_videos(videos, [f"{c}/{name}" for c in ("jump", "wave") for name in people])
    by_person = defaultdict(set)
    for path, split in splits(build(tmp_path)).items():
        by_person[Path(path).name.split("_")[1]].add(split)
    assert any(len(found) > 1 for found in by_person.values())


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"person_(\d+)", ["1", "2", None]),
        (r"person_\d+", ["person_1", "person_2", None]),
        # The path from the videos folder is searched, so a folder can be the group.
        (r"^jump/(day \d)/", ["day 1", "day 2", None]),
        # Of alternatives, the one that took part.
        (r"person_(1)|person_(2)", ["1", "2", None]),
    ],
)
def test_what_a_pattern_calls_a_group(
    tmp_path: Path, videos: Path, pattern: str, groups: list[str | None]
) -> None:
    touch_videos(
        videos,
        [
            "jump/day 1/person_1.mp4",
            "jump/day 2/person_2.mp4",
            "jump/nobody.mp4",
            *names("jump", 6, "x{}.mp4"),
            *names("wave", 6),
        ],
    )
    manifest = build(tmp_path, group_pattern=pattern)
    found = {row.video_path: row.group for row in manifest.rows}
    assert [
        found[f"videos/jump/{name}.mp4"] for name in ("day 1/person_1", "day 2/person_2", "nobody")
    ] == groups
    assert any("2 groups" in note and "13 videos in no group" in note for note in manifest.notes)


def test_a_pattern_that_matches_nothing(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 6), *names("wave", 6)])
    with pytest.raises(DataError, match=r"matches none of the 12 videos, e\.g\. 'jump/0\.mp4'"):
        build(tmp_path, group_pattern="subject(.)")


def write_groups(videos: Path, lines: Sequence[str], *, encoding: str = "utf-8") -> None:
    (videos / "groups.csv").write_text("\n".join(lines) + "\n", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_groups_by_file(tmp_path: Path, videos: Path, encoding: str) -> None:
    touch_videos(videos, [*names("jump", 12), *names("wave", 12)])
    listed = [f"{c}/{i}.mp4,camera {i % 6}" for c in ("jump", "wave") for i in range(12)]
    write_groups(videos, ["video_path,group", *listed], encoding=encoding)
    for seed in range(5):
        # The file wins over the pattern.
        manifest = build(tmp_path, group_pattern="never", split_seed=seed)
        assert {row.group for row in manifest.rows} == {f"camera {i}" for i in range(6)}
        assert whole_groups(manifest)
    # groups.csv is no stray file.
    assert not any("passed over" in note for note in manifest.notes)


def test_groups_by_file_for_strange_names(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, ['jump/a, "b".mp4', "jump/ü.mp4", *names("jump", 6), *names("wave", 6)])
    write_groups(videos, ["video_path,group", '"jump/a, ""b"".mp4",g', "jump/ü.mp4,g"])
    manifest = build(tmp_path)
    assert {row.video_path for row in manifest.rows if row.group == "g"} == {
        'videos/jump/a, "b".mp4',
        "videos/jump/ü.mp4",
    }
    assert whole_groups(manifest)


def test_groups_by_a_file_of_excel(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 6), *names("wave", 6)])
    write_groups(videos, ["sep=;", "Video_path;Group;", "jump/0.mp4;g;", ";;", "jump/1.mp4;g;"])
    assert [row.group for row in build(tmp_path).rows[:3]] == ["g", "g", None]


def test_videos_without_a_group_are_told_and_go_alone(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 9), *names("wave", 9)])
    write_groups(videos, ["video_path,group", "jump/0.mp4,g", "jump/1.mp4,g", "jump/2.mp4,"])
    manifest = build(tmp_path)
    assert [row.group for row in manifest.rows[:4]] == ["g", "g", None, None]
    assert any("1 group by" in note and "16 videos in no group" in note for note in manifest.notes)
    assert set(splits(manifest).values()) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"path,group\njump/0.mp4,g\n", "found columns path, group; expected video_path"),
        (b"", "found columns none; expected video_path"),
        ("video_path,group\n".encode("utf-16"), "is not UTF-8; in Excel, save it as 'CSV UTF-8'"),
        (b'video_path,group\n"a,g\n', "row 2: .*is a quote missing"),
        (b"video_path,group\nvideos/jump/0.mp4,g\n", "names none of the videos.*'jump/0.mp4'"),
    ],
)
def test_a_faulty_groups_file(tmp_path: Path, videos: Path, content: bytes, said: str) -> None:
    touch_videos(videos, [*names("jump", 6), *names("wave", 6)])
    (videos / "groups.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"groups\.csv: .*{said}"):
        build(tmp_path)


def test_rows_of_groups_csv_that_name_no_video_are_told(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 6), *names("wave", 6)])
    write_groups(videos, ["video_path,group", "jump/0.mp4,g", "jump/misspelt.mp4,g"])
    assert any("jump/misspelt.mp4" in note for note in build(tmp_path).notes)


# Copies


def copy(videos: Path, source: str, target: str) -> None:
    (videos / target).write_bytes((videos / source).read_bytes())


def test_copies_stay_in_one_split_and_are_told(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 20), *names("wave", 20)])
    for index in range(10):
        copy(videos, f"jump/{index}.mp4", f"jump/copy {index}.mp4")
    for seed in range(5):
        manifest = build(tmp_path, split_seed=seed)
        found = splits(manifest)
        for index in range(10):
            assert found[f"videos/jump/copy {index}.mp4"] == found[f"videos/jump/{index}.mp4"]
    assert any(
        "10 sets of copies of one video, each kept in one split" in note
        and "'jump/0.mp4' = 'jump/copy 0.mp4'" in note
        for note in manifest.notes
    )


def test_a_copy_in_another_class_is_a_warning(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 9), *names("wave", 9)])
    copy(videos, "jump/0.mp4", "wave/0.mp4")
    manifest = build(tmp_path)
    found = splits(manifest)
    assert found["videos/wave/0.mp4"] == found["videos/jump/0.mp4"]
    warning = "WARNING: 'jump/0.mp4' and 'wave/0.mp4' are the same video in classes jump, wave"
    assert warning in manifest.notes


def test_a_copy_joins_two_groups(tmp_path: Path, videos: Path) -> None:
    touch_videos(
        videos, [f"{c}/p{p}_{t}.mp4" for c in ("jump", "wave") for p in range(9) for t in "ab"]
    )
    copy(videos, "jump/p0_a.mp4", "jump/p1_a.mp4")
    for seed in range(5):
        manifest = build(tmp_path, group_pattern=r"p\d", split_seed=seed)
        assert len({row.split for row in manifest.rows if row.group in {"p0", "p1"}}) == 1


def test_empty_files_are_not_copies_of_each_other(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("jump", 9), *names("wave", 9)])
    for index in range(9):
        (videos / "jump" / f"{index}.mp4").write_bytes(b"")
    manifest = build(tmp_path)
    assert {row.split for row in manifest.rows if row.class_name == "jump"} == {
        "train",
        "val",
        "test",
    }
    assert not any("more than once" in note for note in manifest.notes)


# Given splits


def given(*folders: str, count: int = 2) -> list[str]:
    return [
        f"{folder}/{c}/{folder}{i}.mp4" for folder in folders for c in "ab" for i in range(count)
    ]


def test_given_splits_are_kept(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, given("train", "val", "test"))
    manifest = build(tmp_path)
    assert all(row.split == row.video_path.split("/")[1] for row in manifest.rows)
    assert [(row.class_name, row.label) for row in manifest.rows] == [("a", 0)] * 6 + [("b", 1)] * 6
    assert "folders or labels fix the split: train, val, test" in manifest.notes


def test_a_class_that_a_split_folder_lacks_is_taken_from_train_and_told(
    tmp_path: Path, videos: Path
) -> None:
    touch_videos(videos, [*given("train", count=10), *given("val")])
    for path in (videos / "val" / "b").iterdir():
        path.unlink()
    (videos / "val" / "b").rmdir()
    manifest = build(tmp_path)
    assert [row.class_name for row in manifest.rows if row.split == "val"].count("b") == 1
    assert "WARNING: the given val split lacks 'b'; taken from train" in manifest.notes


@pytest.mark.parametrize("name", ["train.csv", "val.txt", "test_list.csv"])
def test_a_list_that_speaks_of_a_split_is_not_passed_over_without_a_word(
    tmp_path: Path, videos: Path, name: str
) -> None:
    touch_videos(videos, [*names("wave", 5), *names("jump", 5)])
    (videos / name).write_text("wave/0.mp4 0\n")
    assert any(note.startswith(f"WARNING: {name}: not read") for note in build(tmp_path).notes)
    (videos / name).rename(videos / "about.txt")
    assert not any("not read" in note for note in build(tmp_path).notes)


def test_lists_beside_a_single_folder_of_videos_are_told(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, names("all", 5))
    (videos / "train.csv").write_text("all/0.mp4 0\n")
    with pytest.raises(DataError, match=r"holds one class, 'all'; .*lists of videos such as train"):
        build(tmp_path)


def test_an_address_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'https://a\.org/videos' is an address; save the videos"):
        build(tmp_path, videos="https://a.org/videos")


@pytest.mark.parametrize(
    ("kept", "missing", "expected"),
    [
        # 0.2 of the ten training videos of each class.
        (("test",), "val", {"train": 8, "val": 2, "test": 2}),
        (("val",), "test", {"train": 8, "val": 2, "test": 2}),
        ((), "val and test", {"train": 6, "val": 2, "test": 2}),
    ],
)
def test_a_missing_split_is_taken_from_train(
    tmp_path: Path, videos: Path, kept: tuple[str, ...], missing: str, expected: dict[str, int]
) -> None:
    touch_videos(videos, [*given("train", count=10), *given(*kept)])
    manifest = build(tmp_path)
    for row in manifest.rows:
        folder = row.video_path.split("/")[1]
        assert row.split == folder or (folder == "train" and row.split in missing)
    for class_name in "ab":
        rows = [row for row in manifest.rows if row.class_name == class_name]
        assert {s: sum(row.split == s for row in rows) for s in expected} == expected
    assert any(f"{missing} taken from train" in note for note in manifest.notes)


def test_a_copy_in_train_and_test_counts_for_the_test(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, given("train", "val", "test", count=3))
    copy(videos, "test/a/test0.mp4", "train/a/leak.mp4")
    copy(videos, "val/b/val0.mp4", "train/b/leak.mp4")
    manifest = build(tmp_path)
    found = splits(manifest)
    assert found["videos/train/a/leak.mp4"] == "test"
    assert found["videos/train/b/leak.mp4"] == "val"
    assert found["videos/train/a/train0.mp4"] == "train"
    warning = next(note for note in manifest.notes if note.startswith("WARNING"))
    assert "the same video lies in several of your split folders (test, train, val)" in warning


@pytest.mark.parametrize("folders", [("train", "val", "test"), ("train", "test")])
def test_a_group_across_given_splits_is_refused(
    tmp_path: Path, videos: Path, folders: tuple[str, ...]
) -> None:
    people = {"train": "12345678", "val": "9", "test": "1"}
    touch_videos(
        videos,
        [
            f"{folder}/{c}/{folder}_p{p}.mp4"
            for folder in folders
            for c in "ab"
            for p in people[folder]
        ],
    )
    with pytest.raises(DataError, match="belong together, by group p1, but lie in train and test"):
        build(tmp_path, group_pattern=r"p\d")


def test_a_copy_in_another_split_than_its_group_is_named(tmp_path: Path, videos: Path) -> None:
    """The copy moves to test, but the group of the other stays in train."""
    touch_videos(videos, [f"train/{c}/p{i}_{j}.mp4" for c in "ab" for i in range(4) for j in "xy"])
    touch_videos(videos, [f"test/{c}/p9.mp4" for c in "ab"])
    (videos / "test/a/copy.mp4").write_bytes((videos / "train/a/p1_y.mp4").read_bytes())
    said = "train/a/p1_y.mp4, test/a/copy.mp4: belong together, as copies of one video, but lie in "
    with pytest.raises(DataError, match=said + "train and test; move them"):
        build(tmp_path, group_pattern=r"p\d")


# The stage


def run_stage(name: str, project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROJECT / "stages" / f"{name}.py"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.process
def test_the_stage_writes_the_manifest(
    tmp_path: Path, videos: Path, small_params: Callable[..., Params]
) -> None:
    touch_videos(videos, [*names("jump", 5), *names("wave", 5)])
    params = small_params()
    synthetic.write_params(tmp_path / "params.yaml", params)
    done = run_stage("index", tmp_path)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
    rows = MANIFEST.read_rows(tmp_path / "data" / "manifest.csv")
    assert rows == build_manifest(params.data, project=tmp_path).rows
    assert "jump       3      1      1" in done.stdout


@pytest.mark.process
def test_the_stage_fails_in_one_line(
    tmp_path: Path, videos: Path, small_params: Callable[..., Params]
) -> None:
    synthetic.write_params(tmp_path / "params.yaml", small_params())
    done = run_stage("index", tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: data.videos: {videos} holds no class folders; make one folder per class\n"
    )
    assert not (tmp_path / "data" / "manifest.csv").exists()


@pytest.mark.process
def test_index_and_cache_start_without_torch_and_decoders() -> None:
    code = (
        "import sys, runpy\n"
        "for name in ('index', 'cache'): runpy.run_path(f'stages/{name}.py')\n"
        "print({'torch', 'av', 'decord', 'torchvision', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


# Folds


def test_folds_test_every_video_once_and_keep_persons_whole(tmp_path: Path, videos: Path) -> None:
    people = [f"person_{p}_take_{t}.mp4" for p in range(10) for t in range(2)]
    touch_videos(videos, [f"{c}/{name}" for c in ("jump", "wave") for name in people])
    tested: list[str] = []
    for fold in range(5):
        manifest = build(tmp_path, group_pattern=r"person_(\d+)", num_folds=5, fold=fold)
        assert whole_groups(manifest)
        assert f"fold {fold} of 5 (from 0) is the test split" in manifest.notes
        in_test = [path for path, split in splits(manifest).items() if split == "test"]
        assert len(in_test) == 8  # two of ten people, each with two takes of both classes
        tested += in_test
    assert sorted(tested) == sorted(splits(manifest))


def test_number_of_folds_is_nothing_while_no_fold_is_chosen(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [f"{c}/{i}.mp4" for c in ("jump", "wave") for i in range(10)])
    assert splits(build(tmp_path, num_folds=2)) == splits(build(tmp_path, num_folds=7))


def test_folds_do_not_override_a_split_of_the_folders(tmp_path: Path, videos: Path) -> None:
    names = [f"{s}/{c}/{i}.mp4" for s in ("train", "test") for c in ("a", "b") for i in range(9)]
    touch_videos(videos, names)
    with pytest.raises(DataError, match=r"data\.fold: 1 would choose the test videos, but the"):
        build(tmp_path, num_folds=3, fold=1)


def test_decomposed_groups_match_composed_names(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, [*names("caf\u00e9", 6), *names("jump", 6)])
    lines = [f"cafe\u0301/{index}.mp4,person {index // 2}" for index in range(6)]
    (videos / "groups.csv").write_text("\n".join(["video_path,group", *lines]), encoding="utf-8")
    groups = {row.video_path: row.group for row in build(tmp_path).rows}
    assert groups["videos/caf\u00e9/5.mp4"] == "person 2"


def test_a_class_missing_from_a_given_split_is_told(tmp_path: Path, videos: Path) -> None:
    touch_videos(videos, ["train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4", "test/a/4.mp4"])
    touch_videos(videos, ["test/b/5.mp4"])
    with pytest.raises(DataError, match="class 'b' has no video in val, and folders or labels fix"):
        build(tmp_path)


# The test videos of the run before


def write_predictions(folder: Path, cases: list[tuple[str, float | None, float | None]]) -> None:
    prediction = PredictionRow("", None, "a", "a", "a", 1.0, 1.0, 1)
    PREDICTIONS.write(
        folder / "metrics/predictions.csv",
        [
            prediction._replace(video_path=path, start_seconds=start, end_seconds=end)
            for path, start, end in cases
        ],
        class_names=["a"],
        class_values=np.ones((len(cases), 1)),
    )


def test_other_test_videos_than_those_of_the_last_run_are_told(tmp_path: Path) -> None:
    """Seven tests then, of which five are tests now, and five new ones, one of them refused."""
    times = [(f"{path}.mp4", None, None) for path in "abcde\r"] + [("f\r,.mp4", 1.5, None)]
    write_predictions(tmp_path, times)
    row = ManifestRow("", "x", 0, "test", None, "0" * 32)
    rows = [
        row._replace(video_path=path, start_seconds=start, end_seconds=end)
        for path, start, end in times
    ]
    train = [row._replace(video_path=f"{number}.mp4", split="train") for number in range(9)]
    assert changed_test_set([*train, *rows], project=tmp_path) == ""
    new = [row._replace(video_path=f"new {number}.mp4") for number in range(5)]
    refused = RejectedRow.of(new[0], VideoError("no_video", "no pictures"))
    REJECTED.write(tmp_path / "data/rejected.csv", [refused])
    assert changed_test_set([*train, *rows[:-2], *new], project=tmp_path) == (
        "WARNING: 4 of 10 test videos are new since metrics/predictions.csv, and 2 of its 7 are "
        "not tested now: accuracies before and after cannot be compared (`slowfast compare` tells)"
    )
    assert changed_test_set([*rows, new[0]], project=tmp_path) == ""
    assert changed_test_set([*rows[:0], *new], project=tmp_path) == "", "another fold, or set"
    for content in (b"", b"\xff", b"path\na\n", b"video_path,start_seconds\na,b\n"):
        (tmp_path / "metrics/predictions.csv").write_bytes(content)
        assert changed_test_set(new, project=tmp_path) == ""
    (tmp_path / "metrics/predictions.csv").unlink()
    assert changed_test_set(new, project=tmp_path) == ""


def test_the_stage_tells_of_other_test_videos_and_writes_the_same(
    tmp_path: Path, videos: Path
) -> None:
    touch_videos(videos, [*names("wave", 10), *names("jump", 10)])
    synthetic.write_params(tmp_path / "params.yaml", synthetic.make_params())
    assert "WARNING" not in run_here(tmp_path, "stages/index.py").stdout
    written = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    tested = [
        row for row in MANIFEST.read_rows(tmp_path / "data/manifest.csv") if row.split == "test"
    ]
    write_predictions(tmp_path, [(tested[0].video_path, None, None), ("gone.mp4", None, None)])
    told = run_here(tmp_path, "stages/index.py").stdout
    assert told.splitlines()[-1].startswith("WARNING: ")
    assert "test videos are new since metrics/predictions.csv" in told
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == written
