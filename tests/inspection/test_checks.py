"""The checks find every fault of data made to mislead, and none in sound data."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from acted_videos import HEIGHT, WIDTH, acted, actions, codes, refilmed, room, summary_of, the
from pipeline_imports import PROJECT
from synthetic import make_params, make_rows

from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow, RejectedRow
from slowfast_finetune.evaluation.metadata_baseline import Giveaway
from slowfast_finetune.features.feature_store import (
    FeatureSettings,
    FeatureStore,
    feature_stores,
    key_of,
)
from slowfast_finetune.inspection import checks, duplicates, shared_scenes
from slowfast_finetune.inspection.checks import check_videos, giveaway_findings
from slowfast_finetune.inspection.counting import count_findings
from slowfast_finetune.inspection.duplicates import duplicate_findings, near_copies
from slowfast_finetune.inspection.findings import Finding, worst_first
from slowfast_finetune.inspection.group_names import group_hint
from slowfast_finetune.inspection.label_errors import (
    CrossPrediction,
    cross_predict,
    label_findings,
    predict_by_features,
    suspects,
)
from slowfast_finetune.inspection.shared_scenes import scene_findings, seen_scenes
from slowfast_finetune.inspection.video_summary import VideoSummary

THIN = "\u202f"
PARAMS = make_params()  # a clip has 8 frames at 15 a second
SOUND = actions([15, 15, 15, 15])


def predicts(what: str, right: int, chance: int) -> str:
    return (
        f"{what} alone predicts the class: balanced accuracy {right}{THIN}%, "
        f"guessing {chance}{THIN}%"
    )


# The faults


def test_sound_data_has_nothing_to_complain_of() -> None:
    assert check_videos(SOUND, params=PARAMS) == []
    assert check_videos([], params=PARAMS) == []


@pytest.mark.slow
def test_the_class_written_in_the_resolution_is_a_problem() -> None:
    videos = [
        refilmed(video, source_width=320 + 80 * video.label, duration_seconds=3 + i % 7)
        for i, video in enumerate(SOUND)
    ]
    found = the(check_videos(videos, params=PARAMS), "giveaway")
    assert found.level == "problem"
    assert found.title == predicts("resolution", 100, 25)


@pytest.mark.slow
def test_a_fact_that_tells_only_something_is_a_warning() -> None:
    def rated(in_ten: tuple[int, int]) -> list[VideoSummary]:
        """Of ten videos of each class so many have 25 frames a second, the others 30."""
        return [
            refilmed(video, source_fps=25.0 if i % 10 < in_ten[video.label] else 30.0)
            for i, video in enumerate(actions([40, 40]))
        ]

    (nearly,) = giveaway_findings(rated((9, 1)))
    assert nearly.level == "problem"
    assert nearly.title == predicts("frame rate", 90, 50)
    (half,) = giveaway_findings(rated((7, 3)))
    assert half.level == "warning"
    assert half.title == predicts("frame rate", 70, 50)
    assert list(giveaway_findings(rated((5, 5)))) == []


def test_all_properties_together_predict_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Giveaway(("duration", "codec"), 0.9, 0.5, 0.9, 0.5, 9.0)
    one = Giveaway(("codec",), 0.7, 0.5, 0.7, 0.5, 4.0)
    monkeypatch.setattr(checks, "giveaways", lambda _videos: [one, both])
    (found,) = giveaway_findings(SOUND)
    assert found.title == (
        f"all file properties together predict the class: balanced accuracy 90{THIN}%, "
        f"guessing 50{THIN}%"
    )
    assert f"Others: codec 70{THIN}%." in found.detail


def test_a_camera_on_both_sides_of_the_split_is_named_with_its_partner() -> None:
    camera = room(99)
    filmed = {"train": "a.mp4", "test": "b.mp4"}
    videos = list(SOUND)
    for split, path in filmed.items():
        frames = acted(0 if split == "train" else 3, seed=5 + len(path + split), background=camera)
        videos.append(summary_of(frames, path=path, split=split))
    assert set(seen_scenes(videos)) == {"b.mp4"}
    found = the(scene_findings(videos), "seen-scenes")
    # One of 13 is more than a twentieth, but one video is no reason to worry.
    assert found.level == "note"
    assert found.title == f"1 of 13 test videos (7.7{THIN}%) shows a scene that is also in train"
    assert found.scenes == {"b.mp4": "a.mp4"}
    assert "No groups are set: set data.group_pattern, or write a groups.csv" in found.detail
    grouped = [dataclasses.replace(video, group="g") for video in videos]
    detail = the(scene_findings(grouped), "seen-scenes").detail
    assert "put all videos of a camera or place into one group" in detail
    assert "groups.csv" not in detail
    again = summary_of(acted(1, seed=77, background=camera), path="c.mp4", split="test")
    assert the(scene_findings([*videos, again]), "seen-scenes").level == "warning"
    # In val or train alone it is no fault.
    assert seen_scenes([dataclasses.replace(video, split="train") for video in videos]) == {}
    assert set(seen_scenes([video for video in videos if video.split == "test"])) == set()


def test_the_nearest_scene_is_found_in_whatever_chunk_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    splits = ("train", "train", "train", "train", "test", "test")
    rooms = (1, 2, 3, 2, 2, 4)
    videos = [
        summary_of(acted(i % 4, seed=i, background=room(rooms[i])), path=f"{i}", split=splits[i])
        for i in range(6)
    ]
    whole = seen_scenes(videos)
    assert set(whole) == {"4"}
    assert whole["4"] in ("1", "3")
    monkeypatch.setattr(shared_scenes, "CHUNK", 1)
    assert seen_scenes(videos) == whole


def test_a_black_background_is_no_scene() -> None:
    dark = np.zeros((HEIGHT, WIDTH))
    videos = [
        summary_of(
            acted(i % 4, seed=i, background=dark), path=f"{i}", split=("train", "test")[i % 2]
        )
        for i in range(8)
    ]
    assert set(seen_scenes(videos)) == set()


def test_rooms_that_only_share_their_light_are_two_scenes() -> None:
    light = np.linspace(20, 200, WIDTH)[None] + np.zeros((HEIGHT, 1))
    rooms = [light + (room(seed) - 125) / 4 for seed in (1, 2)]
    videos = [
        summary_of(acted(0, seed=1, background=rooms[0]), path="a", split="train"),
        summary_of(acted(0, seed=2, background=rooms[1]), path="b", split="test"),
    ]
    assert set(seen_scenes(videos)) == set()
    same = summary_of(acted(3, seed=3, background=rooms[0]), path="c", split="test")
    assert set(seen_scenes([*videos, same])) == {"c"}


def test_black_bars_are_no_scene() -> None:
    def letterboxed(action: int, seed: int, background: npt.NDArray[np.float64]) -> Any:
        frames = acted(action, seed=seed, background=background)
        bar = HEIGHT // 7  # no whole number of a thumbnail's lines
        return [np.pad(frame[bar:-bar], ((bar, bar), (0, 0), (0, 0))) for frame in frames]

    # Little detail, as of water or sky: the bars have more.
    one, other = (125 + (room(seed) - 125) / 4 for seed in (1, 2))
    videos = [
        summary_of(letterboxed(0, 1, one), path="a", split="train"),
        summary_of(letterboxed(1, 2, other), path="b", split="test"),
    ]
    assert seen_scenes(videos) == {}
    same = summary_of(letterboxed(2, 3, one), path="c", split="test")
    assert seen_scenes([*videos, same]) == {"c": "a"}


def test_a_few_lit_pixels_are_no_scene() -> None:
    def lit(seed: int) -> VideoSummary:
        dark = np.zeros((HEIGHT, WIDTH))
        rows, columns = (slice(0, side // 4) for side in (HEIGHT, WIDTH))
        dark[rows, columns] = room(1)[rows, columns] + 20
        frames = acted(seed, seed=seed, background=dark)
        return summary_of(frames, path=f"{seed}", split=("train", "test")[seed % 2])

    assert seen_scenes([lit(seed) for seed in range(2)]) == {}


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
    videos = [
        summary_of(original, path="original.mp4", split="train"),
        summary_of(darker, path="smaller.mp4", split="test"),
        summary_of(acted(0, seed=2, background=room(8)), path="other room.mp4", split="test"),
        summary_of(acted(3, seed=1, background=camera), path="other action.mp4", split="test"),
    ]
    found = the(duplicate_findings(videos), "near-copies-across-splits")
    assert found.level == "problem"
    assert found.video_paths == ("original.mp4", "smaller.mp4")
    videos[1] = dataclasses.replace(videos[1], split="train", class_name="class 1", label=1)
    assert codes(duplicate_findings(videos)) == {"near-copies-across-classes": "problem"}
    videos[1] = dataclasses.replace(videos[1], class_name="class 0", label=0)
    assert codes(duplicate_findings(videos)) == {"near-copies": "note"}


def test_videos_of_a_still_camera_are_no_copies_though_their_hashes_are_close() -> None:
    camera = room(3)
    videos = []
    for path, column in (("a.mp4", 10), ("b.mp4", 70)):
        frames = np.repeat(camera[None], 5, axis=0)
        for k in range(5):  # someone far away, left or right: the hashes hardly tell
            frames[k, 12 * k : 12 * k + 12, column : column + 8] += 20
        grey = frames.clip(0, 255).astype(np.uint8)
        videos.append(summary_of(np.repeat(grey[..., None], 3, axis=3), path=path))
    bits = np.bitwise_count(videos[0].hashes ^ videos[1].hashes)
    assert bits.mean() <= duplicates.MAX_BITS, "the example is no example"
    assert near_copies(videos) == []
    again = dataclasses.replace(videos[0], video_path="c.mp4", content_hash="c")
    assert near_copies([*videos, again]) == [[0, 2]]


@pytest.mark.parametrize(
    ("likeness", "bits", "is_copy"),
    [(0.7, 3, False), (0.95, 3, True), (0.7, 1, True), (0.3, 1, False), (0.99, 5, False)],
)
def test_the_closer_the_hashes_the_less_alike_need_the_motions_be(
    likeness: float, bits: int, is_copy: bool
) -> None:
    """Two people who run before one camera move alike to 0.7; their hashes differ in 3 bits."""
    original = summary_of(acted(0, seed=1), path="a.mp4")
    draws = np.random.default_rng(0).normal(size=(24 * 24, 4))
    first, second = np.split(np.linalg.qr(draws)[0].T, 2)
    other = likeness * first + np.sqrt(1 - likeness**2) * second
    videos = []
    for path, moves in (("a.mp4", first), ("b.mp4", other)):
        # Two frames differ from the other three, which are the median.
        frames = np.tile(np.linspace(60, 190, 24), (5, 24, 1))
        frames[[1, 3]] += moves.reshape(2, 24, 24) * 500
        videos.append(
            dataclasses.replace(
                original,
                video_path=path,
                content_hash=path,
                hashes=np.full(5, 0 if path == "a.mp4" else 2**bits - 1, np.uint64),
                thumbnails=frames.round().clip(0, 255).astype(np.uint8),
            )
        )
    assert near_copies(videos) == ([[0, 1]] if is_copy else [])


def test_copies_of_copies_are_one_set_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [
        np.random.default_rng(seed).integers(0, 256, (5, HEIGHT, WIDTH, 3)) for seed in (0, 1)
    ]
    order = [0, 1, 0, 0, 1, 1, 0]
    videos = [
        summary_of(frames[which].astype(np.uint8), path=f"{i}.mp4") for i, which in enumerate(order)
    ]
    compared: list[int] = []
    move_alike = duplicates._move_alike

    def counting(pictures: Any, rows: Any, *others: Any) -> Any:
        compared.append(len(rows))
        return move_alike(pictures, rows, *others)

    monkeypatch.setattr(duplicates, "CHUNK", 2)
    monkeypatch.setattr(duplicates, "_move_alike", counting)
    assert near_copies(videos) == [[0, 2, 3, 6], [1, 4, 5]]
    # Only the first two are compared with others: then every pair is in one set.
    assert compared == [2, 2, 1]


def test_black_videos_are_no_copies_of_each_other() -> None:
    black = np.zeros((5, HEIGHT, WIDTH, 3), np.uint8)
    assert near_copies([summary_of(black, path=f"{i}.mp4") for i in range(4)]) == []


def test_close_hashes_are_found_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "CHUNK", 3)
    hashes = np.random.default_rng(0).integers(0, 2**63, (10, 5)).astype(np.uint64)
    hashes[8] = hashes[1] ^ np.uint64(0b1111)  # four bits in every frame: just close enough
    hashes[9] = hashes[2] ^ np.uint64(0b11111)
    apart, blocks = np.arange(10), itertools.combinations_with_replacement(range(0, 10, 3), 2)
    pairs = [zip(*duplicates._close_hashes(hashes, apart, *b), strict=True) for b in blocks]
    assert [*itertools.chain(*pairs)] == [(1, 8, 4.0)]
    together = np.array([0, 1, 2, 3, 4, 5, 6, 7, 1, 9])
    assert len(duplicates._close_hashes(hashes, together, 0, 6)[0]) == 0


def test_ninety_to_ten_is_a_warning_with_the_parameter_that_helps() -> None:
    videos = [SOUND[0]] * 90 + [dataclasses.replace(SOUND[0], class_name="rare")] * 10
    found = the(count_findings(videos, params=PARAMS), "imbalance")
    assert found.level == "warning"
    assert found.title == "class 0 has 9 times the videos of rare"
    assert f"right for 90{THIN}% of them" in found.detail
    assert "train.class_balance" in found.detail
    even = [SOUND[0]] * 40 + [dataclasses.replace(SOUND[0], class_name="rare")] * 10
    assert "imbalance" not in codes(count_findings(even, params=PARAMS))


def test_one_class_that_shows_another_is_pointed_at() -> None:
    # The folder of class 3 was filled with videos of action 1.
    videos = actions([15, 15, 15, 15], acts=(0, 1, 2, 1))
    found = the(label_findings(cross_predict(videos)), "alike-classes")
    assert found.title == "class 1 and class 3 cannot be distinguished"
    assert len(found.video_paths) == 30


def test_single_mislabelled_videos_are_pointed_at() -> None:
    wrong = {3, 20, 40}
    videos = mislabelled(wrong)
    found = the(label_findings(cross_predict(videos)), "mislabelled")
    assert found.level == "warning"
    assert set(found.video_paths) == {SOUND[index].video_path for index in wrong}


def mislabelled(wrong: set[int]) -> list[VideoSummary]:
    """SOUND, of which some have the next label."""
    return [
        dataclasses.replace(
            video, label=(video.label + 1) % 4, class_name=f"class {(video.label + 1) % 4}"
        )
        if index in wrong
        else video
        for index, video in enumerate(SOUND)
    ]


def stored(root: Path, weights: str, features: npt.NDArray[np.float64]) -> list[ClipRow]:
    """Write features of SOUND to a feature store, and its rows of clips.csv, which are given."""
    settings = FeatureSettings(
        "slowfast_shallow", weights, "0" * 16, 8, 32, "32-true", 1, 1, mirrored=False
    )
    rows = [
        row._replace(video_path=video.video_path, content_hash=video.content_hash)
        for row, video in zip(make_rows(len(SOUND)), SOUND, strict=True)
    ]
    for row, values in zip(rows, features, strict=True):
        FeatureStore.of(root, settings).write(key_of(row), values[None])
    CLIPS.write(root / "clips.csv", rows)
    return rows


def test_features_point_at_wrong_labels_that_no_picture_shows(tmp_path: Path) -> None:
    wrong = {3, 20, 40}
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(SOUND), 8))
    told = noise + 6 * np.eye(8)[[video.label for video in SOUND]]
    stored(tmp_path, "telling nothing", noise)
    stored(tmp_path, "telling all", told)
    videos = [dataclasses.replace(v, thumbnails=SOUND[0].thumbnails) for v in mislabelled(wrong)]
    predicted = predict_by_features(
        videos, tmp_path / "clips.csv", params=make_params(), root=tmp_path
    )
    found = the(label_findings(predicted), "mislabelled")
    assert set(found.video_paths) == {SOUND[index].video_path for index in wrong}
    assert "Heads on a network's features" in found.detail


def test_features_of_all_videos_are_needed_and_must_be_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = stored(tmp_path, "some", np.random.default_rng(0).normal(size=(len(SOUND), 8)))

    def predict(videos: Sequence[VideoSummary]) -> CrossPrediction | None:
        return predict_by_features(
            videos, tmp_path / "clips.csv", params=make_params(), root=tmp_path
        )

    assert predict(SOUND) is not None
    changed = [dataclasses.replace(SOUND[0], content_hash="of another file"), *SOUND[1:]]
    assert predict(changed) is None
    assert predict(SOUND[:15]) is None, "one class"
    ((store, _),) = feature_stores(tmp_path)
    store.path(key_of(rows[7])).write_bytes(b"torn")
    assert predict(SOUND) is None
    assert "judged without features: " in capsys.readouterr().err
    store.path(key_of(rows[7])).unlink()
    assert predict(SOUND) is None


def test_doubts_must_be_as_sure_as_the_surest_that_is_right() -> None:
    # Mean probability of their own label, class 0: (0.9 + 0.8 + 0.7 + 0.0) / 4 = 0.6;
    # class 1: (0.8 + 0.8 + 0.8 + 0.3) / 4 = 0.675. Where it is right it leads by 0.8, 0.6, 0.4 and
    # three times 0.6; three quarters of these are at most 0.6.
    of_one = [0.1, 0.2, 0.3, 1.0, 0.8, 0.8, 0.8, 0.3]
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    probabilities = np.array([[1 - p, p] for p in of_one])
    predicted = CrossPrediction(SOUND[:8], labels, probabilities, [0, 1])
    # The fourth is surely of class 1 (by 1.0). The last counts as class 0, but by 0.4 alone.
    assert suspects(predicted) == [(3, 1)]


def test_a_model_that_knows_nothing_says_nothing_of_labels() -> None:
    rng = np.random.default_rng(0)
    videos = [dataclasses.replace(video, label=int(rng.integers(4))) for video in SOUND]
    assert label_findings(cross_predict(videos)) == []
    assert label_findings(cross_predict(SOUND[:8])) == []


# What counting shows


def rejected(count: int, *, split: str = "train", class_name: str = "class 0") -> list[RejectedRow]:
    return [
        RejectedRow(f"{i}.mp4", class_name, split, "0" * 32, "not_a_video", "no video")
        for i in range(count)
    ]


def test_unreadable_files_are_a_problem_where_the_pipeline_would_stop() -> None:
    params = make_params(cache={"max_rejected_fraction": 0.1})
    few = the(count_findings(SOUND, rejected=rejected(6), params=params), "unreadable")
    assert (few.level, few.title) == ("warning", f"6 of 66 videos (9.1{THIN}%) cannot be used")
    many = the(count_findings(SOUND, rejected=rejected(7), params=params), "unreadable")
    assert many.level == "problem"
    assert "7 not_a_video" in many.detail
    assert "max_rejected_fraction is 0.1" in many.detail


def test_a_class_whose_only_test_videos_are_refused_is_missing_there() -> None:
    videos = [video for video in SOUND if (video.split, video.label) != ("test", 2)]
    found = the(
        count_findings(
            videos, params=PARAMS, rejected=rejected(3, split="test", class_name="class 2")
        ),
        "missing-class",
    )
    assert (found.level, found.title) == ("problem", "test has no usable video of 1 class")
    assert found.detail.startswith("class 2.")


def test_padding_is_a_warning_where_most_of_one_class_is_short() -> None:
    # A clip has 8 frames; 7 are too few.
    short = [dataclasses.replace(video, num_sampled=7) for video in SOUND[:7]]
    found = the(count_findings([*short, *SOUND[7:]], params=PARAMS), "padded")
    assert found.level == "note"  # 7 of 15 of its class
    assert found.title == f"7 of 60 videos (11.7{THIN}%) are shorter than a clip of 0.53 s"
    short = [dataclasses.replace(video, num_sampled=7) for video in SOUND[:8]]
    found = the(count_findings([*short, *SOUND[8:]], params=PARAMS), "padded")
    assert found.level == "warning"
    assert len(found.video_paths) == 8
    assert "padded" not in codes(count_findings(SOUND, params=PARAMS))


def test_slow_videos_upright_videos_and_small_classes_are_told() -> None:
    videos = [
        refilmed(SOUND[0], source_fps=12.0),
        refilmed(SOUND[0], source_fps=14.985),  # 15 as NTSC has it
        refilmed(SOUND[0], source_fps=0.0),  # not stated
        refilmed(SOUND[0], source_width=480, source_height=640),
    ]
    found = list(count_findings(videos, params=PARAMS))
    assert codes(found) == {"few-videos": "warning", "slow": "note", "orientation": "note"}
    assert the(found, "slow").title.startswith("1 video has fewer frames")
    assert "class 0 (4)" in the(found, "few-videos").detail


def test_time_without_a_label_is_told() -> None:
    def cut(index: int, path: str, start: float, end: float) -> VideoSummary:
        times = {"start_seconds": start, "end_seconds": end}
        return dataclasses.replace(SOUND[index], video_path=path, **times)

    # 10 and 3 s are labelled; 2, 15 and 0 s before and between are not: 17 of 30 s.
    videos = [cut(0, "a.mp4", 2, 8), cut(1, "a.mp4", 23, 27), cut(2, "b.mp4", 0, 3), *SOUND[3:]]
    found = the(count_findings(videos, params=PARAMS), "unlabelled")
    assert found.title == f"56.7{THIN}% of the time of 2 videos with parts has no label"
    assert "the longest stretch is a.mp4#t=8,23, 15 s." in found.detail
    # 1 s of 21 is less than a twentieth.
    videos = [cut(0, "a.mp4", 0, 10), cut(1, "a.mp4", 11, 21), *SOUND[2:]]
    assert "unlabelled" not in codes(count_findings(videos, params=PARAMS))


def test_split_folders_beside_class_folders_are_a_problem() -> None:
    videos = [
        dataclasses.replace(video, class_name=name)
        for video, name in zip(SOUND, ["jump", "Test", "train"] * 20, strict=True)
    ]
    found = the(count_findings(videos, params=PARAMS), "split-folders")
    assert found.level == "problem"
    assert found.title == "Test and train would be trained as classes"


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
    videos = [
        dataclasses.replace(SOUND[0], video_path=path, class_name=path.split("/")[0])
        for path in paths
    ]
    found = list(group_hint(videos))
    if pattern is None:
        assert found == []
        return
    suggested = found[0].detail.split("data.group_pattern: '")[1].split("'")[0]
    assert suggested.endswith(pattern)
    # It does what is said: six groups, by the pipeline's rule of the first group that matches.
    assert len({re.search(suggested, path).group(1) for path in paths}) == 6  # type: ignore[union-attr]
    grouped = [dataclasses.replace(video, group="1") for video in videos]
    assert list(group_hint(grouped)) == []


def test_the_class_with_the_largest_share_of_short_videos_is_named() -> None:
    # 3 of 15 of class 0, 2 of 5 of class 1.
    videos = [
        dataclasses.replace(video, num_sampled=7) if index in (0, 1, 2, 15, 16) else video
        for index, video in enumerate(SOUND[:20])
    ]
    found = the(count_findings(videos, params=PARAMS), "padded")
    assert f"largest in class 1: 2 of 5 videos (40{THIN}%)" in found.detail


def test_two_of_731_short_videos_are_not_none() -> None:
    """The share alone, rounded, once said 0 %."""
    videos = [dataclasses.replace(SOUND[0], num_sampled=7)] * 2 + [SOUND[0]] * 729
    found = the(count_findings(videos, params=PARAMS), "padded")
    assert found.title == f"2 of 731 videos (0.3{THIN}%) are shorter than a clip of 0.53 s"


# Texts


def test_findings_are_sorted_by_level() -> None:
    found = [Finding(level, level, "", "") for level in ("note", "problem", "warning", "problem")]
    assert [f.level for f in worst_first(found)] == ["problem", "problem", "warning", "note"]


def test_every_code_has_its_line_in_the_documentation_and_every_line_a_code() -> None:
    text = files("slowfast_finetune.inspection").joinpath("findings.yaml").read_text("utf-8")
    documented: set[str] = set()
    for name in ("doctor", "report"):
        page = (PROJECT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        table = page[page.index("| code | when") :].split("\n\n")[0]
        for line in table.splitlines()[2:]:
            documented.update(re.findall(r"`([\w-]+)`", line.split("|")[1]))
    assert set(yaml.safe_load(text)) == documented


def test_names_are_not_templates() -> None:
    videos = [dataclasses.replace(SOUND[0], class_name="{{ 7 * 7 }} {% if %}")] * 9
    found = the(count_findings(videos, params=PARAMS), "few-videos")
    assert found.detail.startswith("{{ 7 * 7 }} {% if %} (9).")
