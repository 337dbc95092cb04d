"""The pure parts of the benchmarks: turns, ratios, tables, damage. Nothing is timed here."""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from synthetic import make_rows

from benchmarks.__main__ import sizes
from benchmarks.comparison import in_turn, slope, speed_ratio
from benchmarks.decoders import RawJob, ffmpeg_command
from benchmarks.drawn_videos import draw_video, marked, write_copies
from benchmarks.mutations import MUTATIONS, mutate
from benchmarks.report import Target, format_table
from benchmarks.stage_inputs import changed_values, new_project
from slowfast_finetune.base.params import load_params
from slowfast_finetune.decoding.sampled_frames import sampled_frames
from slowfast_finetune.decoding.sampling import DecodeSettings

PROJECT = Path(__file__).parents[2]
VIDEO = bytes(range(256)) * 4 + b"moov" + bytes(100)
OTHER = b"other" * 50


def test_contenders_take_turns_and_every_second_round_runs_backwards() -> None:
    order: list[str] = []

    def contender(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    seconds = in_turn(
        {"a": lambda: contender("a", 1.0), "b": lambda: contender("b", 2.0)}, rounds=3
    )
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert seconds == {"a": [1.0, 1.0, 1.0], "b": [2.0, 2.0, 2.0]}


def test_a_ratio_is_the_median_over_the_rounds() -> None:
    ratio = speed_ratio([1.0, 2.0, 4.0], [2.0, 2.0, 40.0])
    assert (ratio.median, ratio.lowest, ratio.highest) == (2.0, 1.0, 10.0)


def test_the_slope_is_what_one_more_costs() -> None:
    assert slope([100, 200, 300], [1.5, 2.0, 2.5]) == pytest.approx(0.005)


def test_targets_are_floors_or_ceilings() -> None:
    assert Target("ratio", 0.95, 0.96).met
    assert not Target("ratio", 0.95, 0.94).met
    assert Target("seconds", 5, 4.9, at_most=True).met
    assert str(Target("seconds", 5, 5.1, at_most=True)) == "MISSED: seconds 5.1, wanted ≤ 5"


def test_a_table_by_hand() -> None:
    assert format_table(["", "clips/s"], [["cache", "900"], ["decord", "9"]]) == (
        "|        | clips/s |\n| ------ | ------: |\n| cache  |     900 |\n| decord |       9 |"
    )


def test_the_same_seed_does_the_same_damage() -> None:
    once = [mutate(VIDEO, OTHER, seed=3, index=index) for index in range(60)]
    assert once == [mutate(VIDEO, OTHER, seed=3, index=index) for index in range(60)]
    assert once != [mutate(VIDEO, OTHER, seed=4, index=index) for index in range(60)]
    assert {name for name, _ in once} == set(MUTATIONS)


@pytest.mark.parametrize("seed", range(20))
def test_each_damage_does_what_it_says(seed: int) -> None:
    results = {
        name: damage(VIDEO, OTHER, np.random.default_rng(seed))
        for name, damage in MUTATIONS.items()
    }
    same_length = ("bits flipped", "blocks swapped", "zeros", "noise", "header fields")
    assert {len(results[name]) for name in same_length} == {len(VIDEO)}
    assert sorted(results["blocks swapped"]) == sorted(VIDEO)
    assert VIDEO.startswith(results["truncated"])
    assert len(results["truncated"]) < len(VIDEO)
    assert len(results["deleted"]) < len(VIDEO) < len(results["repeated"])
    assert results["spliced"].endswith(OTHER[-1:])
    turned = np.frombuffer(results["bits flipped"], np.uint8) ^ np.frombuffer(VIDEO, np.uint8)
    assert np.bitwise_count(turned).sum() <= 64


@pytest.mark.parametrize("size", [1, 2, 3])
def test_files_of_a_few_bytes_can_be_damaged(size: int) -> None:
    for seed in range(20):
        for damage in MUTATIONS.values():
            damage(VIDEO[:size], OTHER, np.random.default_rng(seed))


def test_copies_have_other_bytes_and_the_same_frames(tmp_path: Path) -> None:
    original = draw_video(tmp_path / "a.mp4", width=32, height=24, num_frames=4, fps=15)
    copies = write_copies(original, tmp_path / "copies", count=3, first=7)
    hashes = {hashlib.sha256(path.read_bytes()).digest() for path in (original, *copies)}
    assert len(hashes) == 4
    frames = [_frames(path) for path in (original, *copies)]
    assert len(frames[0]) == 4
    assert all(np.array_equal(frames[0], others) for others in frames[1:])


def _frames(path: Path) -> np.ndarray:
    settings = DecodeSettings(sample_fps=15, short_side=None, max_seconds=10, max_megapixels=1)
    return np.stack(list(sampled_frames(path, settings=settings)))


def test_a_mark_is_a_box_of_free_space() -> None:
    assert marked(b"", 258) == b"\0\0\0\x10free\0\0\0\0\0\0\x01\x02"


def test_ffmpeg_runs_one_thread_and_keeps_paths_whole() -> None:
    job = RawJob(
        video=Path("a folder/v.mp4"),
        target=Path("o.raw"),
        width=340,
        height=256,
        sample_fps=15.0,
        max_seconds=60,
    )
    command = ffmpeg_command(job)
    assert command[command.index("-threads") + 1] == "1"
    assert command[command.index("-i") + 1] == "a folder/v.mp4"
    assert command[command.index("-vf") + 1] == "fps=15,scale=340:256:flags=bilinear"


def test_stage_inputs_are_those_of_the_demo_preset() -> None:
    from benchmarks.stage_inputs import demo_params

    params = demo_params(clip={"short_side": 32})
    assert params.clip.short_side == 32
    assert params.data == load_params(PROJECT / "presets/demo.yaml").data


def test_no_benchmark_reads_the_parameters_of_the_checkout() -> None:
    reading = re.compile(r"PROJECT\s*/\s*\"params\.yaml\"")
    for path in (PROJECT / "benchmarks").glob("*.py"):
        assert not reading.search(path.read_text()), path.name


def test_a_rate_above_the_peak_of_the_machine_fails() -> None:
    from benchmarks.peak import ImpossibleFigureError, check_below_peak

    check_below_peak({"plain": 50e9, "ours": 200e9}, 200e9)
    with pytest.raises(ImpossibleFigureError, match="ours: 300 GFLOP/s are more than the 220"):
        check_below_peak({"plain": 50e9, "ours": 300e9}, 220e9)


@pytest.mark.process
def test_help_is_answered_without_torch() -> None:
    code = "import sys, benchmarks.__main__; print('torch' in sys.modules or 'av' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_sizes_are_given_with_spaces_or_commas() -> None:
    assert sizes("1280x720,1920x1080") == sizes("1280x720 1920x1080") == ["1280x720", "1920x1080"]
    assert sizes("") == []
    for wrong in ("1280", "1280:720", "0x5", "1280x720x3"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected sizes such as 1280x720"):
            sizes(wrong)


def test_what_an_order_lacks_comes_at_random() -> None:
    from benchmarks.labels import found_after

    # Of 100 videos 5, 10 and 20 are looked at; the order names eight, with two of the four wrong.
    order = [*"abcdefgh"]
    assert found_after(order, {"a", "g", "y", "z"}, num_videos=100) == pytest.approx(
        [1 / 4, (2 + 2 * 2 / 92) / 4, (2 + 2 * 12 / 92) / 4]
    )


def test_a_wrong_label_is_another_class_and_five_of_a_hundred_are_wrong() -> None:
    from benchmarks.labels import with_wrong_labels

    rows = [row._replace(class_name="abc"[row.label]) for row in make_rows(100)]
    changed, wrong = with_wrong_labels(rows, seed=0)
    differing = {one.case for one, other in zip(rows, changed, strict=True) if one != other}
    assert differing == wrong
    assert len(wrong) == 5
    assert all(row.class_name == "abc"[row.label] for row in changed)


@pytest.mark.extended
@pytest.mark.process
def test_damaged_files_of_a_folder_come_out_as_rows(tmp_path: Path) -> None:
    draw_video(tmp_path / "files" / "deep" / "a.mp4", width=64, height=48, num_frames=10)
    words = ["fuzz", "--count", "6", "--originals", str(tmp_path / "files"), "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=PROJECT, check=True)
    rows = list(csv.DictReader((tmp_path / "fuzz.csv").read_text("utf-8").splitlines()))
    assert [row["damage"] == "none" for row in rows] == [True] + [False] * 6
    assert rows[0]["outcome"] == "clip"


def test_a_new_project_has_what_its_stages_depend_on(tmp_path: Path) -> None:
    values = changed_values(clip={"encoding": "jpeg"})
    environment = new_project(tmp_path, values)
    assert environment["CLIP_STORE"] == str(tmp_path / "clips")
    assert yaml.safe_load((tmp_path / "params.yaml").read_text(encoding="utf-8")) == values
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    kinds = ("outs", "metrics", "plots")
    made = {
        out if isinstance(out, str) else next(iter(out))
        for stage in stages
        for kind in kinds
        for out in stage.get(kind, [])
    }
    needed = {path for stage in stages for path in stage["deps"]} - made
    assert "demo/long_videos" in needed
    assert [path for path in needed if not (tmp_path / path).exists()] == []
