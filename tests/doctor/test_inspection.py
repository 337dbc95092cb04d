"""The doctor points at every fault of data that was made to mislead, and at none of sound data."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import synthetic
from synthetic import (
    make_facts,
    make_params,
    make_rows,
    steady,
    write_entry,
    write_params,
    write_video,
)

from slowfast_finetune.clips.clip_store import ClipStore, EntryError
from slowfast_finetune.decoding.decode_settings import DecodeSettings
from slowfast_finetune.decoding.glimpses import glimpses
from slowfast_finetune.doctor.costs import EpochGuess, cache_bytes, guess_epoch, readable_seconds
from slowfast_finetune.doctor.doctor import Diagnosis
from slowfast_finetune.doctor.page import MOST_BYTES, as_page
from slowfast_finetune.doctor.wording import as_text
from slowfast_finetune.inspection import duplicates
from slowfast_finetune.inspection.counting import count_findings
from slowfast_finetune.inspection.duplicates import duplicate_findings, near_copies
from slowfast_finetune.inspection.findings import (
    Finding,
    counted,
    listed,
    rounded_percent,
    worst_first,
)
from slowfast_finetune.inspection.inspect import giveaway_findings, inspect
from slowfast_finetune.inspection.labels import Opinion, label_findings, suspects
from slowfast_finetune.inspection.looks import (
    Look,
    Refused,
    looks_from_store,
    make_look,
    spread,
)
from slowfast_finetune.inspection.naming import group_hint
from slowfast_finetune.inspection.scenes import scene_findings, seen_scenes

Frames = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 96, 72


# Looks made by hand


def room(seed: int) -> npt.NDArray[np.float64]:
    """The still background of a camera: random blocks, float64 (72, 96)."""
    blocks = np.random.default_rng(seed).uniform(60, 190, (18, 24))
    return np.kron(blocks, np.ones((4, 4))).astype(np.float64)


def acted(action: int, *, seed: int, background: npt.NDArray[np.float64] | None = None) -> Frames:
    """Five frames of a white square that does an action, uint8 (5, 72, 96, 3).

    0 goes right along the top, 1 goes down on the left, 2 goes right along the bottom, 3 goes down
    on the right; where exactly, and before what, follows from the seed.
    """
    rng = np.random.default_rng([seed, 1])
    still = room(seed) if background is None else background
    frames = np.repeat(still[None], 5, axis=0) + rng.normal(0, 2, (5, HEIGHT, WIDTH))
    for k, frame in enumerate(frames):
        x, y = [(4 + 15 * k, 2), (2, 2 + 12 * k), (4 + 15 * k, 50), (74, 2 + 12 * k)][action]
        dx, dy = rng.integers(0, 5, 2)
        frame[y + dy : y + dy + 18, x + dx : x + dx + 16] = 250
    return np.repeat(frames.clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)


def look_at(frames: Frames, *, path: str, label: int = 0, **changes: Any) -> Look:
    """A look at frames (5, H, W, 3); ``changes`` are fields of Look or of a manifest row."""
    (row,) = make_rows(1, video_path=path, label=label, content_hash=f"hash of {path}")
    class_name = changes.pop("class_name", f"class {label}")
    row = row._replace(class_name=class_name)
    made = make_look(
        row,
        list(frames),
        facts=make_facts(source_width=640, source_height=480, duration_seconds=4.0),
        num_sampled=60,
        frame_bytes=48 * 64 * 3,
    )
    return dataclasses.replace(made, **changes)


def refilmed(look: Look, **facts: Any) -> Look:
    """The same look with other facts."""
    return dataclasses.replace(look, facts=look.facts.model_copy(update=facts))


def actions(counts: Sequence[int], *, acts: Sequence[int] = (0, 1, 2, 3)) -> list[Look]:
    """Sound data: ``counts[label]`` videos, each before a background of its own, split in turn."""
    looks = []
    for label, count in enumerate(counts):
        for index in range(count):
            seed = 1000 * label + index
            looks.append(
                look_at(
                    acted(acts[label], seed=seed),
                    path=f"class {label}/{index}.mp4",
                    label=label,
                    split=("train", "train", "train", "val", "test")[index % 5],
                )
            )
    return looks


def codes(findings: Sequence[Finding]) -> dict[str, str]:
    """Level by code."""
    return {finding.code: finding.level for finding in findings}


def the(findings: Sequence[Finding], code: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.code == code]
    return finding


CLIP = make_params().clip  # 8 frames at 15 a second
SOUND = actions([15, 15, 15, 15])


# The faults


def test_sound_data_has_nothing_to_complain_of() -> None:
    assert inspect(SOUND, clip=CLIP, cache=make_params().cache) == []
    assert inspect([]) == []


@pytest.mark.slow
def test_the_class_written_in_the_resolution_is_a_problem() -> None:
    looks = [
        refilmed(look, source_width=320 + 80 * look.label, duration_seconds=3 + i % 7)
        for i, look in enumerate(SOUND)
    ]
    found = the(inspect(looks), "giveaway")
    assert found.level == "problem"
    assert found.title == "resolution alone tells the class: 100% right, guessing 25%"


@pytest.mark.slow
def test_a_fact_that_tells_only_something_is_a_warning() -> None:
    def rated(in_ten: tuple[int, int]) -> list[Look]:
        """Of ten videos of each class so many have 25 frames a second, the others 30."""
        return [
            refilmed(look, source_fps=25.0 if i % 10 < in_ten[look.label] else 30.0)
            for i, look in enumerate(actions([40, 40]))
        ]

    (nearly,) = giveaway_findings(rated((9, 1)))
    assert nearly.level == "problem"
    assert nearly.title == "frame rate alone tells the class: 90% right, guessing 50%"
    (half,) = giveaway_findings(rated((7, 3)))
    assert half.level == "warning"
    assert half.title == "frame rate alone tells the class: 70% right, guessing 50%"
    assert giveaway_findings(rated((5, 5))) == []


def test_a_camera_on_both_sides_of_the_split_is_named_with_its_partner() -> None:
    camera = room(99)
    filmed = {"train": "a.mp4", "test": "b.mp4"}
    looks = list(SOUND)
    for split, path in filmed.items():
        frames = acted(0 if split == "train" else 3, seed=5 + len(path + split), background=camera)
        looks.append(look_at(frames, path=path, split=split))
    assert seen_scenes(looks) == {"b.mp4"}
    found = the(scene_findings(looks), "seen-scenes")
    # One of 13 is more than a twentieth, but one video is no reason to worry.
    assert found.level == "note"
    assert found.title == "the scene of 1 of 13 test videos is in train too"
    assert found.video_paths == ("b.mp4", "a.mp4")
    assert "group_pattern" in found.detail
    again = look_at(acted(1, seed=77, background=camera), path="c.mp4", split="test")
    assert the(scene_findings([*looks, again]), "seen-scenes").level == "warning"
    # In val or train alone it is no fault.
    assert seen_scenes([dataclasses.replace(look, split="train") for look in looks]) == set()
    assert seen_scenes([look for look in looks if look.split == "test"]) == set()


def test_a_black_background_is_no_scene() -> None:
    dark = np.zeros((HEIGHT, WIDTH))
    looks = [
        look_at(acted(i % 4, seed=i, background=dark), path=f"{i}", split=("train", "test")[i % 2])
        for i in range(8)
    ]
    assert seen_scenes(looks) == set()


def test_rooms_that_only_share_their_light_are_two_scenes() -> None:
    light = np.linspace(20, 200, WIDTH)[None] + np.zeros((HEIGHT, 1))
    rooms = [light + (room(seed) - 125) / 4 for seed in (1, 2)]
    looks = [
        look_at(acted(0, seed=1, background=rooms[0]), path="a", split="train"),
        look_at(acted(0, seed=2, background=rooms[1]), path="b", split="test"),
    ]
    assert seen_scenes(looks) == set()
    same = look_at(acted(3, seed=3, background=rooms[0]), path="c", split="test")
    assert seen_scenes([*looks, same]) == {"c"}


def test_a_duplicate_under_two_names_is_graver_across_classes_and_splits() -> None:
    first = SOUND[0]
    same: dict[str, Any] = {"content_hash": first.content_hash}
    inside = dataclasses.replace(first, video_path="again.mp4")
    assert codes(duplicate_findings([*SOUND, inside])) == {"copies": "note"}
    other_split = dataclasses.replace(first, video_path="again.mp4", split="test", **same)
    assert codes(duplicate_findings([*SOUND, other_split])) == {"copies-across-splits": "problem"}
    other_class = dataclasses.replace(
        first, video_path="again.mp4", class_name="class 1", label=1, **same
    )
    found = the(duplicate_findings([*SOUND, other_class]), "copies-across-classes")
    assert found.level == "problem"
    assert set(found.video_paths) == {first.video_path, "again.mp4"}


def test_a_re_encoded_copy_is_found_and_no_other_video_of_its_camera() -> None:
    camera = room(7)
    original = acted(0, seed=1, background=camera)
    noise = np.random.default_rng(0).normal(0, 4, original.shape)
    darker = (original * 0.9 + 5 + noise).clip(0, 255).astype(np.uint8)
    looks = [
        look_at(original, path="original.mp4", split="train"),
        look_at(darker, path="smaller.mp4", split="test"),
        look_at(acted(0, seed=2, background=room(8)), path="other room.mp4", split="test"),
        look_at(acted(3, seed=1, background=camera), path="other action.mp4", split="test"),
    ]
    found = the(duplicate_findings(looks), "near-copies-across-splits")
    assert found.level == "problem"
    assert found.video_paths == ("original.mp4", "smaller.mp4")
    looks[1] = dataclasses.replace(looks[1], split="train", class_name="class 1", label=1)
    assert codes(duplicate_findings(looks)) == {"near-copies-across-classes": "problem"}
    looks[1] = dataclasses.replace(looks[1], class_name="class 0", label=0)
    assert codes(duplicate_findings(looks)) == {"near-copies": "note"}


def test_videos_of_a_still_camera_are_no_copies_though_their_hashes_are_close() -> None:
    camera = room(3)
    looks = []
    for path, column in (("a.mp4", 10), ("b.mp4", 70)):
        frames = np.repeat(camera[None], 5, axis=0)
        for k in range(5):  # someone far away, left or right: the hashes hardly tell
            frames[k, 12 * k : 12 * k + 12, column : column + 8] += 20
        grey = frames.clip(0, 255).astype(np.uint8)
        looks.append(look_at(np.repeat(grey[..., None], 3, axis=3), path=path))
    bits = duplicates._bits(looks[0].hashes ^ looks[1].hashes)
    assert bits.mean() <= duplicates.MAX_BITS, "the example is no example"
    assert near_copies(looks) == []
    again = dataclasses.replace(looks[0], video_path="c.mp4", content_hash="c")
    assert near_copies([*looks, again]) == [[0, 2]]


def test_black_videos_are_no_copies_of_each_other() -> None:
    black = np.zeros((5, HEIGHT, WIDTH, 3), np.uint8)
    assert near_copies([look_at(black, path=f"{i}.mp4") for i in range(4)]) == []


def test_bits_are_counted_the_same_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.array([0, 1, 0xFF, 2**63, 2**64 - 1, 0x0123456789ABCDEF], np.uint64)
    expected = [0, 1, 8, 1, 64, 32]
    assert duplicates._bits(numbers).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert duplicates._bits(numbers).tolist() == expected


def test_close_hashes_are_found_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "CHUNK", 3)
    hashes = np.random.default_rng(0).integers(0, 2**63, (10, 5)).astype(np.uint64)
    hashes[8] = hashes[1] ^ np.uint64(0b1111)  # four bits in every frame: just close enough
    hashes[9] = hashes[2] ^ np.uint64(0b11111)
    assert duplicates._close_hashes(list(hashes)) == [(1, 8)]


def test_ninety_to_ten_is_a_warning_with_the_parameter_that_helps() -> None:
    looks = [SOUND[0]] * 90 + [dataclasses.replace(SOUND[0], class_name="rare")] * 10
    found = the(count_findings(looks), "imbalance")
    assert found.level == "warning"
    assert found.title == "class 0 has 9 times the videos of rare"
    assert "90% of all videos" in found.detail
    assert "train.class_balance" in found.detail
    even = [SOUND[0]] * 40 + [dataclasses.replace(SOUND[0], class_name="rare")] * 10
    assert "imbalance" not in codes(count_findings(even))


def test_one_class_that_shows_another_is_pointed_at() -> None:
    # The folder of class 3 was filled with videos of action 1.
    looks = actions([15, 15, 15, 15], acts=(0, 1, 2, 1))
    found = the(label_findings(looks), "alike-classes")
    assert found.title == "class 1 and class 3 look alike: is one of them the other?"
    assert len(found.video_paths) == 30


def test_single_mislabelled_videos_are_pointed_at() -> None:
    wrong = {3, 20, 40}
    looks = [
        dataclasses.replace(
            look, label=(look.label + 1) % 4, class_name=f"class {(look.label + 1) % 4}"
        )
        if index in wrong
        else look
        for index, look in enumerate(SOUND)
    ]
    found = the(label_findings(looks), "mislabelled")
    assert found.level == "warning"
    assert set(found.video_paths) == {SOUND[index].video_path for index in wrong}


def test_doubts_must_be_as_sure_as_the_surest_that_is_right() -> None:
    # Mean probability of their own label, class 0: (0.9 + 0.8 + 0.7 + 0.0) / 4 = 0.6;
    # class 1: (0.8 + 0.8 + 0.8 + 0.3) / 4 = 0.675. Where it is right it leads by 0.8, 0.6, 0.4 and
    # three times 0.6; three quarters of these are at most 0.6.
    of_one = [0.1, 0.2, 0.3, 1.0, 0.8, 0.8, 0.8, 0.3]
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    probabilities = np.array([[1 - p, p] for p in of_one])
    opinion = Opinion(SOUND[:8], labels, probabilities, [0, 1])
    # The fourth is surely of class 1 (by 1.0). The last counts as class 0, but by 0.4 alone.
    assert suspects(opinion) == [(3, 1)]


def test_a_model_that_knows_nothing_says_nothing_of_labels() -> None:
    rng = np.random.default_rng(0)
    looks = [dataclasses.replace(look, label=int(rng.integers(4))) for look in SOUND]
    assert label_findings(looks) == []
    assert label_findings(SOUND[:8]) == []


# What counting shows


def refused(count: int, *, split: str = "train", class_name: str = "class 0") -> list[Refused]:
    return [Refused(f"{i}.mp4", class_name, split, "not_a_video", "no video") for i in range(count)]


def test_unreadable_files_are_a_problem_where_the_pipeline_would_stop() -> None:
    cache = make_params(cache={"max_rejected_fraction": 0.1}).cache
    few = the(count_findings(SOUND, refused=refused(6), cache=cache), "unreadable")
    assert (few.level, few.title) == ("warning", "6 of 66 videos cannot be used (9.1%)")
    many = the(count_findings(SOUND, refused=refused(7), cache=cache), "unreadable")
    assert many.level == "problem"
    assert "7 not_a_video" in many.detail
    assert "max_rejected_fraction: 0.1" in many.detail


def test_a_class_whose_only_test_videos_are_refused_is_missing_there() -> None:
    looks = [look for look in SOUND if (look.split, look.label) != ("test", 2)]
    found = the(
        count_findings(looks, refused=refused(3, split="test", class_name="class 2")),
        "missing-class",
    )
    assert (found.level, found.title) == ("problem", "test has no usable video of 1 class")
    assert found.detail.startswith("class 2.")


def test_padding_is_a_warning_where_most_of_one_class_is_short() -> None:
    # A clip has 8 frames; 7 are too few.
    short = [dataclasses.replace(look, num_sampled=7) for look in SOUND[:7]]
    found = the(count_findings([*short, *SOUND[7:]], clip=CLIP), "padded")
    assert found.level == "note"  # 7 of 15 of its class
    assert found.title == "12% of the videos are shorter than a clip of 0.53 s"
    short = [dataclasses.replace(look, num_sampled=7) for look in SOUND[:8]]
    found = the(count_findings([*short, *SOUND[8:]], clip=CLIP), "padded")
    assert found.level == "warning"
    assert len(found.video_paths) == 8
    assert "padded" not in codes(count_findings(SOUND))


def test_slow_videos_upright_videos_and_small_classes_are_told() -> None:
    looks = [
        refilmed(SOUND[0], source_fps=12.0),
        refilmed(SOUND[0], source_fps=14.985),  # 15 as NTSC has it
        refilmed(SOUND[0], source_fps=0.0),  # not stated
        refilmed(SOUND[0], source_width=480, source_height=640),
    ]
    found = count_findings(looks, clip=CLIP)
    assert codes(found) == {"few-videos": "warning", "slow": "note", "orientation": "note"}
    assert the(found, "slow").title.startswith("1 video has fewer frames")
    assert "class 0 (4)" in the(found, "few-videos").detail


def test_split_folders_beside_class_folders_are_a_problem() -> None:
    looks = [
        dataclasses.replace(look, class_name=name)
        for look, name in zip(SOUND, ["jump", "Test", "train"] * 20, strict=True)
    ]
    found = the(count_findings(looks), "split-folders")
    assert found.level == "problem"
    assert found.title == "Test, train would be learnt as classes"


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        # who, in two takes a class
        (["{c}/person_{n:03}_a", "{c}/person_{n:03}_b"], r"person_(\d+)"),
        # who, once a class, by a word that is known
        (["{c}/{c}_subject{n}"], r"subject(\d+)"),
        # UCF101: v_Archery_g01_c01
        (["{c}/v_{c}_g{n:02}_c01", "{c}/v_{c}_g{n:02}_c02"], r"g(\d+)"),
        (["{c}/CAM-{n}_x", "{c}/CAM-{n}_y"], r"CAM\-(\d+)"),
        # only numbers
        (["{c}/video_{n:03}"], None),
        (["{c}/{c}{n}"], None),
        (["{c}/{n}"], None),
    ],
)
def test_names_that_look_grouped_get_a_pattern(names: list[str], pattern: str | None) -> None:
    import re

    paths = [
        name.format(c=c, n=n) + ".mp4" for c in ("run", "sit") for n in range(6) for name in names
    ]
    looks = [
        dataclasses.replace(SOUND[0], video_path=path, class_name=path.split("/")[0])
        for path in paths
    ]
    found = group_hint(looks)
    if pattern is None:
        assert found == []
        return
    suggested = found[0].detail.split("data.group_pattern: '")[1].split("'")[0]
    assert suggested.endswith(pattern)
    # It does what is said: six groups, by the pipeline's rule of the first group that matches.
    assert len({re.search(suggested, path).group(1) for path in paths}) == 6  # type: ignore[union-attr]
    grouped = [dataclasses.replace(look, group="1") for look in looks]
    assert group_hint(grouped) == []


# Looks


def test_frames_come_from_the_middles_of_equal_parts() -> None:
    assert spread(5, 5) == [0, 1, 2, 3, 4]
    assert spread(100, 5) == [10, 30, 50, 70, 90]
    assert spread(1, 5) == [0, 0, 0, 0, 0]


SETTINGS = DecodeSettings(sample_fps=15, short_side=None, max_seconds=100, max_megapixels=36)


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [(10, [1, 3, 5, 7, 9]), (100, [10, 30, 50, 70, 90]), (700, [70, 210, 350, 490, 630])],
)
def test_glimpses_are_of_the_right_moments_read_or_jumped_to(
    tmp_path: Path, num_frames: int, expected: list[int]
) -> None:
    path = write_video(tmp_path / "v.mp4", steady(num_frames, 30))
    frames, facts = glimpses(path, count=5, settings=SETTINGS)
    assert synthetic.read_numbers(np.stack(frames)) == expected
    assert facts.duration_seconds == pytest.approx(num_frames / 30)
    assert (facts.source_width, facts.source_height, facts.decoder) == (64, 48, "pyav/h264")


def test_a_long_video_that_cannot_be_jumped_in_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "v.mp4", steady(700, 30))
    monkeypatch.setattr("slowfast_finetune.decoding.glimpses._frame_after_jump", lambda *_: None)
    frames, facts = glimpses(path, count=5, settings=SETTINGS)
    assert synthetic.read_numbers(np.stack(frames)) == [70, 210, 350, 490, 630]
    assert facts.duration_seconds == pytest.approx(700 / 30)


def test_only_what_the_cache_would_keep_is_looked_at(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", steady(700, 30))
    settings = dataclasses.replace(SETTINGS, max_seconds=5)  # 150 frames
    frames, facts = glimpses(path, count=5, settings=settings)
    assert synthetic.read_numbers(np.stack(frames)) == [15, 45, 75, 105, 135]
    assert facts.truncated
    assert facts.duration_seconds == pytest.approx(700 / 30)


def test_a_cut_off_file_is_looked_at_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "v.mp4",
        steady(100, 30),
        every_frame_alone=True,
        container_options=synthetic.FASTSTART,
    )
    synthetic.cut_before_packet(path, index=60)
    frames, facts = glimpses(path, count=5, settings=SETTINGS)
    assert synthetic.read_numbers(np.stack(frames)) == [6, 18, 30, 42, 54]
    assert facts.decodable_fraction == pytest.approx(0.6)


def test_the_store_gives_the_same_look_as_the_frames(tmp_path: Path) -> None:
    frames = np.stack([synthetic.numbered_frame(i) for i in range(20)])
    (row,) = make_rows(1, num_frames=20, num_sampled=15, source_fps=25.0, has_audio=True)
    store = ClipStore(tmp_path, CLIP)
    write_entry(store, row, frames)
    (look,) = looks_from_store([row], store)
    # Fifteen frames before padding: the middles of five threes.
    expected = look_at(frames[[1, 4, 7, 10, 13]], path=row.video_path)
    assert look.thumbnails.tolist() == expected.thumbnails.tolist()
    assert look.hashes.tolist() == expected.hashes.tolist()
    assert look.thumbnails.shape == (5, 24, 24)
    assert (look.num_sampled, look.facts.decoder, look.content_hash) == (
        15,
        "pyav/h264",
        row.content_hash,
    )
    with pytest.raises(EntryError):
        looks_from_store(make_rows(2), store)


# Costs


def test_the_size_of_the_store_is_exact_and_copies_count_once() -> None:
    # Frames of 64×48 px, raw. 60 frames; and 5, padded to 8.
    looks = [SOUND[0], dataclasses.replace(SOUND[1], num_sampled=5), SOUND[0]]
    expected = (4096 + 60 * 48 * 64 * 3) + (4096 + 8 * 48 * 64 * 3)
    assert cache_bytes(looks, CLIP) == expected


def test_an_epoch_is_guessed_from_the_last_run_of_the_same_model(tmp_path: Path) -> None:
    params = make_params()
    summary = tmp_path / "metrics" / "train.json"
    summary.parent.mkdir()
    then = {"clips_per_second": 50.0, "params": params.model_dump(mode="json")}
    summary.write_text(json.dumps({"run": [then]}))

    def guess(**sections: Any) -> EpochGuess:
        return guess_epoch(
            100, make_params(**sections), project=tmp_path, num_cores=4, has_gpu=False
        )

    assert guess().seconds == 2.0
    assert "50 clips/s" in guess().basis
    # Twice the frames: by the rule. 16 × 32² of 16 × 64² points is a quarter; four cores.
    ruled = guess(clip={"num_frames": 16})
    assert ruled.seconds == pytest.approx(100 * 0.0232 / 4 / 4)
    assert "rule of thumb" in ruled.basis
    assert guess(model={"name": "slowfast_r101"}).seconds is None
    summary.write_text("{")
    on_gpu = guess_epoch(9, params, project=tmp_path, num_cores=4, has_gpu=True)
    assert on_gpu.seconds is None


def test_seconds_are_read_easily() -> None:
    assert [readable_seconds(s) for s in (0.4, 34, 100, 900, 7200, 400_000)] == [
        "0.4 s",
        "34 s",
        "1.7 min",
        "15 min",
        "2 h",
        "5 days",
    ]


# Words and pages


def test_only_none_and_all_are_written_as_0_and_100_percent() -> None:
    assert [rounded_percent(share) for share in (0, 2 / 731, 0.116, 730 / 731, 1)] == [
        "0%",
        "<1%",
        "12%",
        ">99%",
        "100%",
    ]
    assert rounded_percent(2 / 731, decimals=1) == "0.3%"
    assert rounded_percent(1 / 9_999, decimals=1) == "<0.1%"
    assert rounded_percent(9_998 / 9_999, decimals=1) == ">99.9%"


def test_findings_are_sorted_and_names_shortened() -> None:
    found = [Finding(level, level, "", "") for level in ("note", "problem", "warning", "problem")]
    assert [f.level for f in worst_first(found)] == ["problem", "problem", "warning", "note"]
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert counted(1, "class", "classes") == "1 class"
    assert counted(1200, "class", "classes") == "1,200 classes"


def diagnosis(looks: list[Look], **changes: Any) -> Diagnosis:
    values: dict[str, Any] = {
        "source": "videos",
        "notes": [],
        "findings": inspect(looks, clip=CLIP),
        "looks": looks,
        "refused": [],
        "strips": {},
        "sheets": {},
        "cache_bytes": 1,
        "epoch": EpochGuess(None, "nothing"),
    }
    return Diagnosis(**{**values, **changes})


def test_the_page_stays_small_and_every_class_keeps_its_first_pictures() -> None:
    looks = [
        dataclasses.replace(SOUND[0], video_path=f"{name}/{i}.mp4", class_name=f"{name}")
        for name in range(100)
        for i in range(8)
    ]
    strips = {look.video_path: os.urandom(16_000) for look in looks}
    sheets: dict[str, list[str]] = {}
    for look in looks:
        sheets.setdefault(look.class_name, []).append(look.video_path)
    page = as_page(diagnosis(looks, findings=[], strips=strips, sheets=sheets), CLIP)
    assert len(page.encode()) < 10_000_000
    assert page.count("data:image/jpeg;base64,") == MOST_BYTES // 16_000
    # 437 pictures: four rounds of a hundred, and some of the fifth.
    assert page.count("frames of 3.mp4") == 100


def test_hostile_names_are_shown_and_not_run() -> None:
    name = '<script>alert("1")</script>\n\x1b[31m, \'é.mp4'
    looks = [dataclasses.replace(SOUND[0], video_path=f"a&b/{name}", class_name="a&b")]
    found = [Finding("warning", "mislabelled", f"{name} looks odd", name, (looks[0].video_path,))]
    page = as_page(diagnosis(looks, findings=found), CLIP)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a&amp;b" in page
    text = as_text(diagnosis(looks, findings=found), CLIP)
    assert "\x1b" not in text
    assert "\\x1b[31m" in text


# The command


def doctor(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "slowfast_finetune.cli", "doctor", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "CLIP_STORE": str(project / "store"), "COLUMNS": "100"},
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_params(tmp_path / "params.yaml", make_params())
    return tmp_path


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

    run = doctor(project, "my videos", "--json")
    assert (run.returncode, run.stderr) == (1, "")
    told = json.loads(run.stdout)
    assert told["has_problems"]
    assert told["num_videos"] == 26
    found = {finding["code"]: finding for finding in told["findings"]}
    assert found["giveaway"]["title"].startswith("resolution alone tells the class")
    assert found["copies-across-classes"]["video_paths"] == [
        "my videos/run, fast/0.mp4",
        'my videos/sit "é"/the same\nagain.mp4',
    ]
    near = next(code for code in found if code.startswith("near-copies"))
    assert found[near]["video_paths"] == [
        "my videos/run, fast/1.mp4",
        "my videos/run, fast/smaller.mp4",
    ]
    reasons = {video["video_path"].split("/")[-1]: video["reason"] for video in told["refused"]}
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
    assert "nothing to complain of" in run.stdout
    assert "30 videos of 3 classes in videos: 18 train, 6 val, 6 test" in run.stdout
    for stage, *arguments in (
        ("index", "--manifest", "data/manifest.csv"),
        (
            "cache",
            "--manifest",
            "data/manifest.csv",
            "--clips",
            "data/clips.csv",
            "--rejected",
            "r",
        ),
    ):
        script = Path(__file__).resolve().parents[2] / "stages" / f"{stage}.py"
        subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=project,
            check=True,
            capture_output=True,
            env={**os.environ, "CLIP_STORE": str(project / "store")},
        )
    # The videos are gone; what the store holds of them is looked at.
    for path in (project / "videos").rglob("*.mp4"):
        path.unlink()
    again = doctor(project, "--strict")
    assert (again.returncode, again.stderr) == (0, "")
    assert "in data/manifest.csv" in again.stdout


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
    assert "8 of 8 videos cannot be used (100.0%)" in run.stdout


@pytest.mark.process
def test_a_pattern_that_fits_another_folder_is_left_out(project: Path) -> None:
    write_params(project / "params.yaml", make_params(data={"group_pattern": r"person_(\d+)"}))
    for label, name in enumerate("ab"):
        for index in range(5):
            film(project / "other" / name / f"{index}.mp4", action=label, seed=9 * label + index)
    run = doctor(project, "other")
    assert "fits none of these videos and was left out" in run.stdout.replace("\n  ", " ")
    assert run.returncode == 0


@pytest.mark.process
def test_wrong_usage_is_exit_code_2(project: Path) -> None:
    assert doctor(project, "a", "b").returncode == 2


@pytest.mark.process
def test_torch_is_never_imported() -> None:
    code = (
        "import sys\n"
        "from slowfast_finetune.doctor import doctor, page, wording\n"
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
