"""The doctor: costs, text, page and command."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import synthetic
from acted_videos import HEIGHT, WIDTH, acted, actions
from in_process import COMMAND, Done, run_here
from synthetic import (
    make_manifest,
    make_params,
    numbered_frame,
    steady,
    write_params,
    write_video,
)

from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import RejectedRow
from slowfast_finetune.doctor.costs import cache_bytes, estimate_epoch
from slowfast_finetune.doctor.diagnosis import Diagnosis, class_facts
from slowfast_finetune.doctor.diagnosis_text import diagnosis_text
from slowfast_finetune.doctor.doctor_page import MAX_BYTES, doctor_page
from slowfast_finetune.doctor.summarising import summarise_videos
from slowfast_finetune.inspection.checks import check_videos
from slowfast_finetune.inspection.findings import Finding
from slowfast_finetune.inspection.video_summary import VideoSummary

THIN = "\u202f"
CLIP = make_params().clip  # 8 frames at 15 a second
SOUND = actions([15, 15, 15, 15])


# Costs


def test_the_size_of_the_store_is_exact_and_copies_count_once() -> None:
    # Frames of 64×48 px, raw. 60 frames; and 5, padded to 8.
    videos = [SOUND[0], dataclasses.replace(SOUND[1], num_sampled=5), SOUND[0]]
    expected = (4096 + 60 * 48 * 64 * 3) + (4096 + 8 * 48 * 64 * 3)
    assert cache_bytes(videos, CLIP) == expected


def test_padding_takes_no_room_as_jpeg_and_parts_that_lie_close_share_theirs() -> None:
    jpeg = CLIP.model_copy(update={"encoding": "jpeg"})
    short = dataclasses.replace(SOUND[0], num_sampled=5, frame_bytes=1000.0)
    assert cache_bytes([short], jpeg) == 4096 + 5 * 1000

    def part(start: float, num_sampled: int) -> VideoSummary:
        end = start + num_sampled / 15
        return dataclasses.replace(
            short, start_seconds=start, end_seconds=end, num_sampled=num_sampled
        )

    # At 15 a second, with 2 s before and after: frames 120 to 225; then 1770 to 1890 and 1800 to
    # 1920, which overlap, as one. Parts of 45 and 60 frames need no padding of the clip's 8.
    parts = [part(10.0, 45), part(120.0, 60), part(122.0, 60)]
    assert cache_bytes(parts, jpeg) == (4096 + 105 * 1000) + (4096 + 150 * 1000)


def test_an_epoch_is_guessed_from_the_last_run_of_the_same_model(tmp_path: Path) -> None:
    params = make_params()
    summary = tmp_path / "metrics" / "train.json"
    summary.parent.mkdir()
    then = {"clips_per_second": 50.0, "params": params.model_dump(mode="json")}
    summary.write_text(json.dumps({"run": [then]}))

    def guess(**sections: Any) -> tuple[float | None, str]:
        return estimate_epoch(
            100, make_params(**sections), project=tmp_path, num_cores=4, has_gpu=False
        )

    assert guess()[0] == 2.0
    assert "50 clips/s" in guess()[1]
    # Twice the frames: by the rule. 16 × 32² of 16 × 64² points is a quarter; four cores.
    ruled = guess(clip={"num_frames": 16})
    assert ruled[0] == pytest.approx(100 * 0.0232 / 4 / 4)
    assert "rule of thumb" in ruled[1]
    assert guess(model={"name": "slowfast_r101"})[0] is None
    summary.write_text("{")
    on_gpu = estimate_epoch(9, params, project=tmp_path, num_cores=4, has_gpu=True)
    assert on_gpu[0] is None


# Text and page


def test_facts_of_classes_by_hand() -> None:
    first = SOUND[0]
    facts = first.facts.model_copy(update={"duration_seconds": 10.0, "has_audio": True})
    videos = [
        dataclasses.replace(first, split="train", num_sampled=7),
        dataclasses.replace(first, split="test"),
        dataclasses.replace(first, split="test", facts=facts),
    ]
    gone = RejectedRow("x.mp4", "another", "val", "0" * 32, "not_a_video", "no video")
    other, own = class_facts(videos, [gone], num_frames=8)
    assert (other.class_name, other.num_videos, other.num_rejected) == ("another", 0, 1)
    assert (own.num_videos, own.num_rejected, own.splits) == (3, 0, (1, 0, 2))
    assert own.seconds == (4.0, 4.0, 10.0)
    assert (own.sizes, own.sound, own.padded) == (("640×480", 1), 1 / 3, 1 / 3)


def diagnosis(videos: list[VideoSummary], **changes: Any) -> Diagnosis:
    values: dict[str, Any] = {
        "source": "videos",
        "notes": [],
        "findings": check_videos(videos, params=make_params()),
        "videos": videos,
        "rejected": [],
        "classes": class_facts(videos, [], num_frames=8),
        "strips": {},
        "sheets": {},
        "cache_bytes": 1,
        "epoch_seconds": None,
        "epoch_basis": "nothing",
    }
    return Diagnosis(**{**values, **changes})


def test_the_page_stays_small_and_every_class_keeps_its_first_pictures() -> None:
    videos = [
        dataclasses.replace(SOUND[0], video_path=f"{name}/{i}.mp4", class_name=f"{name}")
        for name in range(100)
        for i in range(8)
    ]
    strips = {video.video_path: os.urandom(16_000) for video in videos}
    sheets: dict[str, list[str]] = {}
    for video in videos:
        sheets.setdefault(video.class_name, []).append(video.video_path)
    page = doctor_page(diagnosis(videos, findings=[], strips=strips, sheets=sheets))
    assert len(page.encode()) < 10_000_000
    assert page.count("data:image/jpeg;base64,") == MAX_BYTES // 16_000
    # 437 pictures: four rounds of a hundred, and some of the fifth.
    assert page.count("frames of 3.mp4") == 100


def test_hostile_names_are_shown_and_not_run() -> None:
    name = '<script>alert("1")</script>\n\x1b[31m, \'é.mp4'
    videos = [dataclasses.replace(SOUND[0], video_path=f"a&b/{name}", class_name="a&b")]
    found = [Finding("warning", "mislabelled", f"{name} videos odd", name, (videos[0].video_path,))]
    page = doctor_page(diagnosis(videos, findings=found))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a&amp;b" in page
    text = diagnosis_text(diagnosis(videos, findings=found))
    assert "\x1b" not in text
    assert "\\x1b[31m" in text


# The command


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_params(tmp_path / "params.yaml", make_params())
    return tmp_path


def doctor(project: Path, *arguments: str) -> Done:
    return run_here(project, COMMAND, "doctor", *arguments)


def film(path: Path, *, action: int, seed: int, scale: int = 1, **options: Any) -> Path:
    """A real video of ten frames of an action, larger by ``scale``."""
    frames = acted(action, seed=seed).repeat(2, axis=0).repeat(scale, axis=1).repeat(scale, axis=2)
    return write_video(
        path,
        steady(10, 15),
        picture=lambda index: frames[index],
        width=WIDTH * scale,
        height=HEIGHT * scale,
        **options,
    )


@pytest.mark.process
def test_the_command_finds_what_was_made_to_mislead(project: Path) -> None:
    videos = project / "my videos"
    for index in range(12):
        film(videos / "run, fast" / f"{index}.mp4", action=0, seed=index)
        film(videos / 'sit "é"' / f"{index}.mp4", action=1, seed=100 + index, scale=2)
    first = videos / "run, fast" / "0.mp4"
    (videos / 'sit "é"' / "the same\nagain.mp4").write_bytes(first.read_bytes())
    film(videos / "run, fast" / "smaller.mp4", action=0, seed=1, crf=30)
    (videos / "run, fast" / "text.mp4").write_text("no video")
    (videos / "run, fast" / "empty.mp4").touch()

    run = subprocess.run(
        [sys.executable, "-m", "slowfast_finetune.cli", "doctor", "my videos", "--json"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    # On a machine that is busy, progress is told after 30 s.
    errors = [line for line in run.stderr.splitlines() if not line.startswith("examining: ")]
    assert (run.returncode, errors) == (1, [])
    told = json.loads(run.stdout)
    assert told["has_problems"]
    assert told["num_videos"] == 26
    found = {finding["code"]: finding for finding in told["findings"]}
    assert found["giveaway"]["title"].startswith("resolution alone predicts the class")
    assert found["copies-across-classes"]["video_paths"] == [
        "my videos/run, fast/0.mp4",
        'my videos/sit "é"/the same\nagain.mp4',
    ]
    near = next(code for code in found if code.startswith("near-copies"))
    assert found[near]["video_paths"] == [
        "my videos/run, fast/1.mp4",
        "my videos/run, fast/smaller.mp4",
    ]
    reasons = {video["video_path"].split("/")[-1]: video["reason"] for video in told["rejected"]}
    assert reasons == {"text.mp4": "not_a_video", "empty.mp4": "empty_file"}
    page = (project / "doctor.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") >= 16
    assert "sit &#34;é&#34;" in page
    assert not list(project.glob(".doctor.html*"))

    text = doctor(project, "my videos", "--out", "pages/d.html")
    assert text.returncode == 1
    assert "PROBLEM  the same video is in two classes" in text.stdout
    assert (project / "pages" / "d.html").is_file()


@pytest.mark.process
def test_sound_videos_end_with_exit_code_0_from_the_manifest_and_the_store(project: Path) -> None:
    for label, name in enumerate(("a", "b", "c")):
        for index in range(10):
            film(project / "videos" / name / f"{index}.mp4", action=label, seed=10 * label + index)
    run = doctor(project, "videos")
    assert (run.returncode, run.stderr) == (0, "")
    assert "no findings" in run.stdout
    assert "30 videos of 3 classes in videos: 18 train, 6 val, 6 test" in run.stdout
    for stage in ("index", "cache"):
        assert run_here(project, f"stages/{stage}.py").returncode == 0
    # The videos are gone; what the store holds of them is looked at.
    for path in (project / "videos").rglob("*.mp4"):
        path.unlink()
    again = doctor(project, "--strict")
    assert (again.returncode, again.stderr) == (0, "")
    assert "in data/manifest.csv" in again.stdout


@pytest.mark.process
def test_the_manifest_of_another_folder_is_passed_over_with_a_line(project: Path) -> None:
    for name in "ab":
        for folder in ("videos", "mine"):
            for index in range(5):
                film(
                    project / folder / name / f"{index}.mp4", action=0, seed=10 * ord(name) + index
                )
    assert run_here(project, "stages/index.py").returncode == 0
    write_params(project / "params.yaml", make_params(data={"videos": "mine"}))
    told = doctor(project)
    assert "10 videos of 2 classes in mine: " in told.stdout
    line = "data/manifest.csv lists no video of data.videos, mine, and was not used; `dvc repro` "
    assert f"{line}makes it anew" in " ".join(told.stdout.split())


@pytest.mark.process
def test_too_few_videos_for_a_split_are_looked_at_all_the_same(project: Path) -> None:
    film(project / "videos" / "a" / "1.mp4", action=0, seed=1)
    one_class = doctor(project)
    assert one_class.returncode == 1
    assert "PROBLEM  these videos cannot be split" in one_class.stdout
    assert "holds one class, 'a'" in one_class.stdout.replace("\n         ", " ")
    film(project / "videos" / "b" / "1.mp4", action=1, seed=2)
    two = doctor(project)
    assert two.returncode == 1
    assert "class 'a' has 1 video" in two.stdout.replace("\n         ", " ")


@pytest.mark.process
def test_groups_and_split_folders_count_where_the_split_fails(project: Path) -> None:
    videos = project / "videos"
    names = [f"{s}/{c}/{c}_g0{g}_{i}.mp4" for s, g in (("train", 1), ("test", 2)) for c in "ab"
             for i in range(2)]  # fmt: skip
    for seed, name in enumerate(names):
        film(videos / name, action=0, seed=seed)
    lines = [f"{name},{name[8:].split('_')[1]}" for name in names]
    (videos / "groups.csv").write_text("\n".join(["video_path,group", *lines, ""]))
    # Its group has another video in train.
    (videos / "test/a/copy.mp4").write_bytes((videos / names[0]).read_bytes())
    told = " ".join(doctor(project).stdout.split())
    assert f"{names[0]}, test/a/copy.mp4: belong together, as copies of one video" in told
    assert "They were inspected in the splits of their folders or labels." in told
    assert "2 groups by " in told
    assert "suggest groups" not in told
    (videos / "groups.csv").write_text("name\n")
    told = " ".join(doctor(project).stdout.split())
    assert "groups.csv: found columns name; expected video_path" in told


@pytest.mark.process
def test_what_index_refuses_is_a_finding_and_the_rest_is_examined(project: Path) -> None:
    for seed in range(5):
        for name in ("run", "sit"):
            film(project / "mine" / name / f"{seed}.mp4", action=0, seed=seed + ord(name[0]))
    (project / "mine" / "jump").mkdir()
    (project / "mine" / "run" / os.fsdecode(b"\xff.mp4")).touch()
    run = doctor(project, "mine")
    told = " ".join(run.stdout.split())
    assert (run.returncode, run.stderr) == (1, "")
    assert "10 videos of 2 classes in mine: 6 train, 2 val, 2 test" in told
    assert "PROBLEM the index stage refuses this folder for 2 faults" in told
    assert "jump holds no videos; looked for " in told
    assert "mine/run/\\xff.mp4: the name is not UTF-8; rename the file" in told


@pytest.mark.process
def test_what_index_says_of_the_folder_is_always_told(project: Path) -> None:
    """Without a manifest, from it, and where the split fails."""
    videos = project / "videos"
    for seed in range(5):
        for name in ("run", "Run "):
            film(videos / name / f"{seed}.mp4", action=0, seed=seed + 9 * len(name))
    (videos / "notes.txt").touch()

    def is_told() -> bool:
        told = " ".join(doctor(project).stdout.split())
        passed_over = "passed over: 1 outside any class folder (notes.txt)" in told
        return passed_over and "the classes 'Run ' and 'run' have almost the same name" in told

    assert is_told()
    assert run_here(project, "stages/index.py").returncode == 0
    assert is_told()
    (project / "data/manifest.csv").unlink()
    (videos / "groups.csv").write_text("name\n")
    assert is_told()


@pytest.mark.process
@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("missing", "does not exist"),
        ("empty", "holds no class folders"),
        ("bare", "holds no videos"),
    ],
)
def test_a_folder_without_videos_is_one_line(project: Path, folder: str, words: str) -> None:
    (project / "empty").mkdir()
    (project / "bare" / "jump").mkdir(parents=True)
    run = doctor(project, folder)
    assert run.returncode == 1
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1
    assert words in run.stderr
    assert not (project / "doctor.html").exists()


@pytest.mark.process
def test_every_file_broken_is_told_and_no_crash(project: Path) -> None:
    synthetic.touch_videos(project / "videos", [f"{c}/{i}.mp4" for c in "ab" for i in range(4)])
    run = doctor(project)
    assert run.returncode == 1
    assert f"8 of 8 videos (100{THIN}%) cannot be used" in run.stdout


@pytest.mark.process
def test_a_pattern_that_fits_another_folder_is_left_out(project: Path) -> None:
    write_params(project / "params.yaml", make_params(data={"group_pattern": r"person_(\d+)"}))
    for label, name in enumerate("ab"):
        for index in range(5):
            film(project / "other" / name / f"{index}.mp4", action=label, seed=9 * label + index)
    run = doctor(project, "other")
    assert "matches none of these videos and was ignored" in run.stdout.replace("\n  ", " ")
    assert run.returncode == 0


@pytest.mark.process
def test_wrong_usage_is_exit_code_2(project: Path) -> None:
    assert doctor(project, "a", "b").returncode == 2


@pytest.mark.process
def test_torch_is_never_imported() -> None:
    code = (
        "import sys\n"
        "from slowfast_finetune.doctor import diagnosis, diagnosis_text, doctor_page\n"
        "print('torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "False", printed.stderr


@pytest.mark.process
def test_a_video_at_the_edge_of_a_sampled_instant_is_counted_as_the_cache_does(
    project: Path,
) -> None:
    # 10 frames at 15 a second last 2/3 s, which is ten instants of 1/15 s, as in the store.
    for name in "ab":
        for index in range(3):
            film(project / "videos" / name / f"{index}.mp4", action=0, seed=10 * ord(name) + index)
    told = json.loads(doctor(project, "--json").stdout)
    assert told["cache_bytes"] == 6 * (4096 + 10 * 48 * 64 * 3)


@pytest.mark.process
def test_frames_that_are_equal_are_estimated_to_share_their_place(tmp_path: Path) -> None:
    # All have 15 frames for each second, as JPEG: one that stands still, one of 3 frames a second,
    # one that stands still after its first half, one of a single frame, one that moves always.
    params = make_params(clip={"encoding": "jpeg", "short_side": 96})
    videos = {
        "still": (steady(100, 10), lambda _: numbered_frame(5)),
        "slow": (steady(30, 3), numbered_frame),
        "half": (steady(100, 10), lambda index: numbered_frame(min(index, 50))),
        "single": (steady(1, 10), numbered_frame),
        "moving": (steady(150, 15), numbered_frame),
    }
    for name, (times, picture) in videos.items():
        write_video(tmp_path / f"a/{name}.mp4", times, picture=picture)
    manifest = make_manifest(tmp_path, [f"a/{name}.mp4" for name in videos])
    store = ClipStore(tmp_path, params.clip)
    summaries = summarise_videos(
        manifest, params=params, store=store, project=tmp_path, with_strips=(), label=""
    )
    rows, _ = cache_videos(
        manifest,
        params=params,
        store=store,
        project=tmp_path,
    )
    stored = {row.case: store.path(row.content_hash).stat().st_size for row in rows}
    estimated = {video.case: cache_bytes([video], params.clip) for video in summaries.videos}
    assert estimated == pytest.approx(stored, rel=0.25)
