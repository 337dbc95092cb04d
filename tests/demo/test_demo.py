"""The demo data set: laws of the poses, and the files that come out."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from slowfast_finetune.base.errors import InputError
from slowfast_finetune.demo import filming as filming_module
from slowfast_finetune.demo.drawing import random_person
from slowfast_finetune.demo.filming import (
    CYCLE_SECONDS,
    FRAME_RATES,
    SIZES,
    film,
    film_video,
    named_generator,
    perform,
    random_phases,
    write_video,
)
from slowfast_finetune.demo.generator import CLASS_NAMES, generate_demo
from slowfast_finetune.demo.poses import (
    ANKLE_HEIGHT,
    Body,
    Floats,
    Joint,
    Manner,
    joint_positions,
)

ACTIONS = [name for name in CLASS_NAMES if name != "standing_up"]
# The bones by which every joint hangs on the pelvis: (from, to), each side alike.
BONES = [(0, 1), (1, 2)] + [
    (Joint[start if start in ("NECK", "PELVIS") else f"{side}_{start}"], Joint[f"{side}_{end}"])
    for side in ("LEFT", "RIGHT")
    for start, end in (
        ("NECK", "SHOULDER"),
        ("SHOULDER", "ELBOW"),
        ("ELBOW", "WRIST"),
        ("PELVIS", "HIP"),
        ("HIP", "KNEE"),
        ("KNEE", "ANKLE"),
        ("ANKLE", "TOE"),
    )
]
FULL_TURN = [step / 24 for step in range(25)]
MANNERS = [
    Manner(),
    Manner(effort=1.08, arms_forward=True, waving_arms="both", stride=0.30),
    Manner(effort=0.85, waving_arms="left", stride=0.40),
]
LONG_LEGS = Body(thigh=0.26, shin=0.245, torso=0.255, half_hips=0.07, upper_arm=0.15)


def pose(action: str, phase: float, manner: Manner = MANNERS[0]) -> Floats:
    return joint_positions(action, phase=phase, body=Body(), manner=manner)


# Poses


def test_sitting_down_ends_seated_and_holds_still() -> None:
    body = Body()
    before, standing = pose("sitting_down", -1.0), pose("sitting_down", 0.0)
    seated, after = pose("sitting_down", 1.0), pose("sitting_down", 2.0)
    assert_array_equal(before, standing)
    assert_array_equal(seated, after)
    straight, level = ANKLE_HEIGHT + body.thigh + body.shin, ANKLE_HEIGHT + body.shin
    assert standing[Joint.PELVIS, 1] == pytest.approx(straight, abs=0.01)
    assert seated[Joint.PELVIS, 1] == pytest.approx(level, abs=0.02)
    assert seated[Joint.PELVIS, 2] == pytest.approx(-body.thigh, abs=0.02)  # behind the feet


def test_jumping_jacks_close_and_open() -> None:
    closed, opened = pose("jumping_jacks", 0.0), pose("jumping_jacks", 0.5)
    hands, feet = [Joint.LEFT_WRIST, Joint.RIGHT_WRIST], [Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE]
    assert (closed[hands, 1] < closed[Joint.PELVIS, 1] + 0.05).all()
    assert (opened[hands, 1] > opened[Joint.HEAD, 1] + 0.1).all()
    assert closed[feet[0], 0] - closed[feet[1], 0] < 0.15
    assert opened[feet[0], 0] - opened[feet[1], 0] > 0.4


def test_a_hand_waves_above_the_shoulder_and_the_other_hangs() -> None:
    poses = np.stack([pose("waving", phase, Manner(waving_arms="left")) for phase in FULL_TURN])
    waving, hanging = poses[:, Joint.LEFT_WRIST], poses[:, Joint.RIGHT_WRIST]
    assert (waving[:, 1] > poses[:, Joint.LEFT_SHOULDER, 1] + 0.1).all()
    assert np.ptp(waving[:, 0]) > 0.15
    assert (hanging[:, 1] < poses[:, Joint.PELVIS, 1] + 0.05).all()


@pytest.mark.parametrize("manner", MANNERS)
def test_a_squatter_goes_low_and_keeps_balance(manner: Manner) -> None:
    low = pose("squatting", 0.5, manner)
    assert low[Joint.PELVIS, 1] < ANKLE_HEIGHT + Body().shin + 0.05
    middle = low[[Joint.PELVIS, Joint.NECK], 2].mean()
    assert low[Joint.LEFT_ANKLE, 2] - 0.04 < middle < low[Joint.LEFT_TOE, 2]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("body", [Body(), LONG_LEGS])
def test_bones_keep_their_lengths(action: str, body: Body) -> None:
    collar, limbs = np.hypot(body.half_shoulders, 0.02), [body.upper_arm, body.forearm]
    foot = np.linalg.norm((0.02, 0.027, 0.11))
    side = [collar, *limbs, body.half_hips, body.thigh, body.shin, foot]
    expected = [body.torso, 0.125, *side, *side]
    starts, ends = np.transpose(BONES)
    for manner in MANNERS:
        for phase in FULL_TURN:
            joints = joint_positions(action, phase=phase, body=body, manner=manner)
            lengths = np.linalg.norm(joints[ends] - joints[starts], axis=1)
            assert_allclose(lengths, expected, atol=1e-9)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("body", [Body(), LONG_LEGS])
def test_joints_stay_within_bounds(action: str, body: Body) -> None:
    poses = np.stack(
        [
            joint_positions(action, phase=phase, body=body, manner=manner)
            for phase in FULL_TURN
            for manner in MANNERS
        ]
    )
    assert poses.shape == (75, 17, 3)
    assert -0.005 < poses[..., 1].min() < 0.05  # on the floor, not in it
    assert 0.8 < poses[..., 1].max() < 1.2
    aside = poses[..., [0, 2]] - poses[:, :1, [0, 2]]
    assert np.abs(aside).max() < 0.6


@pytest.mark.parametrize("action", ["sitting_down", "squatting", "waving"])
def test_feet_stay_on_the_floor(action: str) -> None:
    first = pose(action, 0.0)[[Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE]]
    assert_allclose(first[:, 1], ANKLE_HEIGHT, atol=1e-3)
    for phase in FULL_TURN:
        feet = pose(action, phase)[[Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE]]
        assert_allclose(feet, first, atol=1e-3)


@pytest.mark.parametrize("action", ["sitting_down", "squatting", "walking"])
def test_knees_bend_forwards(action: str) -> None:
    for phase in FULL_TURN:
        joints = pose(action, phase)
        for hip in (Joint.LEFT_HIP, Joint.RIGHT_HIP):
            hip_joint, knee, ankle = joints[hip : hip + 3]
            part = (hip_joint[1] - knee[1]) / (hip_joint[1] - ankle[1])
            assert knee[2] > hip_joint[2] + part * (ankle[2] - hip_joint[2])


@pytest.mark.parametrize("stride", [0.30, 0.36, 0.40])
def test_a_walker_does_not_slide(stride: float) -> None:
    manner = Manner(stride=stride)
    # The left foot is on the floor for the first 0.6 of its cycle; flat in the middle of it.
    phases = [0.12, 0.20, 0.28, 0.36]
    poses = np.stack([pose("walking", phase, manner) for phase in phases])
    assert_allclose(poses[:, Joint.LEFT_ANKLE, 2], poses[0, Joint.LEFT_ANKLE, 2], atol=2e-3)
    assert poses[-1, Joint.PELVIS, 2] - poses[0, Joint.PELVIS, 2] > 0.1


# Performances


def phases_of(action: str, number: int) -> tuple[Fraction, Floats]:
    rng = named_generator(7, str(number))
    frame_rate = FRAME_RATES[number % len(FRAME_RATES)]
    return frame_rate, random_phases(action, frame_rate=frame_rate, rng=rng)


@pytest.mark.parametrize("number", range(5))
def test_a_whole_standing_up_is_a_sitting_down_reversed(number: int) -> None:
    (down_rate, down), (up_rate, up) = (
        perform(name, body=Body(), rng=named_generator(7, str(number)))
        for name in ("sitting_down", "standing_up")
    )
    assert up_rate == down_rate
    assert_array_equal(up, down[::-1])
    assert down[0, Joint.PELVIS, 1] > down[-1, Joint.PELVIS, 1] + 0.1  # stands at first


def test_holds_before_and_after_are_drawn_alike() -> None:
    holds = []
    for number in range(400):
        phases = phases_of("sitting_down", number)[1]
        holds.append((np.mean(phases == 0.0), np.mean(phases == 1.0)))
    before, after = np.mean(holds, axis=0)
    assert before == pytest.approx(0.05, abs=0.02)
    assert after == pytest.approx(before, abs=0.007)


def test_videos_are_as_long_as_they_should_be() -> None:
    everyone = [phases_of(name, number) for number in range(60) for name in ACTIONS]
    seconds = [len(phases) / frame_rate for frame_rate, phases in everyone]
    assert 0.55 < min(seconds) < 0.9
    assert 2.8 < max(seconds) < 3.3
    # Some are shorter than a clip of 16 frames at 10 frames per second, most are not.
    assert 0.05 < np.mean([length < Fraction(16, 10) for length in seconds]) < 0.3


def test_all_frame_rates_occur() -> None:
    performances = [
        perform("waving", body=Body(), rng=named_generator(7, str(n))) for n in range(60)
    ]
    found_rates = {frame_rate for frame_rate, _ in performances}
    assert found_rates == {12, 15, 24, 25, Fraction(30_000, 1001), 50}


@pytest.mark.parametrize("action", CYCLE_SECONDS)
def test_even_the_shortest_video_shows_nearly_a_whole_cycle(action: str) -> None:
    for number in range(60):
        phases = phases_of(action, number)[1]
        assert phases[-1] - phases[0] > 0.8
        assert min(np.diff(phases)) > 0


# Pictures


def frames_of(joints: Floats) -> NDArray[np.int16]:
    """Frames by a random camera and person, the same for all joints: int16 (F, H, W, 3)."""
    person = random_person(named_generator(7, "person"))
    rng = named_generator(7, "camera")
    return np.stack(list(film(joints, person=person, size=(160, 120), rng=rng))).astype(np.int16)


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_the_figure_moves(class_name: str) -> None:
    joints = perform(class_name, body=Body(), rng=named_generator(7, "3"))[1]
    unmoved = frames_of(np.repeat(joints[:1], len(joints), axis=0))
    changed = (np.abs(frames_of(joints) - unmoved).max(axis=-1) > 40).mean(axis=(1, 2))
    assert 0.01 < changed.max() < 0.4  # a limb at least, but not the room


# Files


def decode(path: Path) -> tuple[Fraction, list[Fraction], NDArray[np.uint8]]:
    """Frame rate, time in seconds of each frame and frames of a video."""
    times, pixels = [], []
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate is not None
        for frame in container.decode(stream):
            assert frame.pts is not None
            assert frame.time_base is not None
            times.append(frame.pts * frame.time_base)
            pixels.append(frame.to_ndarray(format="rgb24").astype(np.uint8))
        return Fraction(stream.average_rate), times, np.stack(pixels)


def moving_bar(*, num_frames: int) -> list[NDArray[np.uint8]]:
    frames = []
    for index in range(num_frames):
        frame = np.full((120, 160, 3), 40, dtype=np.uint8)
        frame[:, 8 * index % 160 : 8 * index % 160 + 8] = 220
        frames.append(frame)
    return frames


@pytest.mark.parametrize("frame_rate", FRAME_RATES)
def test_frames_come_back_at_their_times(tmp_path: Path, frame_rate: Fraction) -> None:
    path = tmp_path / "with a space.mp4"
    frames = moving_bar(num_frames=20)
    write_video(path, frames, frame_rate=frame_rate, size=(160, 120), crf=20)
    found_rate, times, pixels = decode(path)
    assert found_rate == frame_rate
    assert times == [index / frame_rate for index in range(20)]
    assert np.abs(pixels.astype(int) - np.stack(frames)).mean() < 4


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    # With mbtree, x264 let unwritten memory into files of some sizes, 176x144 among them.
    rng = np.random.default_rng(0)
    rough = np.kron(rng.integers(0, 255, (18, 22, 3)), np.ones((8, 8, 1)))
    frames = [
        (np.roll(rough, 2 * index, axis=1) + rng.integers(-8, 9, rough.shape)).clip(0, 255)
        for index in range(45)
    ]
    plain = [frame.astype(np.uint8) for frame in frames]
    path, written = tmp_path / "again.mp4", set()
    for litter in range(0, 250, 25):
        for size in (500, 5_000, 50_000):  # freed at once: what the encoder finds in memory
            [np.full(size, litter, dtype=np.uint8) for _ in range(100)]
        write_video(path, plain, frame_rate=Fraction(25), size=(176, 144), crf=20)
        written.add(path.read_bytes())
    assert len(written) == 1


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "new" / "videos"
    generate_demo(folder, people=2, videos_per_person=1, seed=5, num_workers=1)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_all_classes_hold_all_people(demo: Path) -> None:
    assert list(contents(demo)) == [
        "jumping_jacks/person_001_a.mp4",
        "jumping_jacks/person_002_a.mp4",
        "sitting_down/person_001_a.mp4",
        "sitting_down/person_002_a.mp4",
        "squatting/person_001_a.mp4",
        "squatting/person_002_a.mp4",
        "standing_up/person_001_a.mp4",
        "standing_up/person_002_a.mp4",
        "walking/person_001_a.mp4",
        "walking/person_002_a.mp4",
        "waving/person_001_a.mp4",
        "waving/person_002_a.mp4",
    ]
    groups = [re.findall(r"person_(\d+)", name) for name in contents(demo)]
    assert groups == [["001"], ["002"]] * 6


def test_videos_decode_to_what_was_performed(demo: Path) -> None:
    for class_name, person in product(CLASS_NAMES, (1, 2)):
        rng = named_generator(5, class_name, f"{person:03d}", "a")
        expected_rate, joints = perform(class_name, body=Body(), rng=rng)
        rate, times, pixels = decode(demo / class_name / f"person_{person:03d}_a.mp4")
        assert rate == expected_rate
        assert times == [index / rate for index in range(len(joints))]
        height, width = pixels.shape[1:3]
        assert (width, height) in SIZES
        assert pixels.std() > 10


@pytest.mark.process
def test_two_workers_write_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    generate_demo(tmp_path / "two", people=2, videos_per_person=1, seed=5, num_workers=2)
    assert contents(tmp_path / "two") == contents(demo)


def test_another_seed_gives_other_videos(demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "waving" / "person_001_a.mp4"
    path.parent.mkdir()
    film_video(path, seed=5)
    same = path.read_bytes()
    film_video(path, seed=6)
    assert same == (demo / "waving/person_001_a.mp4").read_bytes() != path.read_bytes()


def fake_film(path: Path, *, seed: int) -> None:
    path.write_text(f"{path.name} {seed}")


def test_a_folder_of_demo_videos_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filming_module, "film_video", fake_film)
    folder = tmp_path / "videos"
    folder.mkdir()
    first = generate_demo(folder, people=2, videos_per_person=3, num_workers=1)
    second = generate_demo(folder, people=1, videos_per_person=1, seed=1, num_workers=1)
    assert len(first) == 36
    assert second == [folder / name / "person_001_a.mp4" for name in CLASS_NAMES]
    assert sorted(folder.rglob("*.mp4")) == second
    assert (folder / "waving/person_001_a.mp4").read_text() == "person_001_a.mp4 1"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    "foreign", ["notes.txt", "waving/holiday.mp4", "person_001_a.mp4", "jump/person_001_a.mp4"]
)
def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path, foreign: str) -> None:
    path = tmp_path / "videos" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "videos"))):
        generate_demo(tmp_path / "videos", people=1, videos_per_person=1, num_workers=1)
    assert contents(tmp_path) == {f"videos/{foreign}": b"mine"}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "videos").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        generate_demo(tmp_path / "videos", people=1, num_workers=1)


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_on_walking(path: Path, *, seed: int) -> None:
        if path.parent.name == "walking":
            raise OSError("no space left on device")
        fake_film(path, seed=seed)

    monkeypatch.setattr(filming_module, "film_video", fail_on_walking)
    with pytest.raises(OSError, match="no space left"):
        generate_demo(tmp_path / "videos", people=1, videos_per_person=1, num_workers=1)
    assert list(tmp_path.iterdir()) == []


# Command line


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.process
def test_a_mistake_on_the_command_line_is_one_line(tmp_path: Path) -> None:
    result = run_python("-m", "slowfast_finetune.demo", str(tmp_path / "new"), "--people=0")
    assert result.returncode == 1
    assert result.stderr == "error: people must be from 1 to 999, not 0\n"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ({"people": 1000}, "people must be from 1 to 999, not 1000"),
        ({"videos_per_person": 27}, "videos per person must be from 1 to 26, not 27"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"num_workers": -2}, "workers must be at least 1, not -2"),
    ],
)
def test_a_number_out_of_range_is_refused(
    tmp_path: Path, number: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        generate_demo(tmp_path / "new", **number)
    assert not (tmp_path / "new").exists()


@pytest.mark.process
def test_help_needs_no_heavy_imports() -> None:
    code = (
        "import sys, slowfast_finetune.demo.__main__ as demo\n"
        "sys.argv = ['demo', '--help']\n"
        "try: demo.main()\n"
        "except SystemExit: print([m for m in ('av', 'PIL', 'numpy') if m in sys.modules])\n"
    )
    result = run_python("-c", code)
    assert "--videos-per-person N" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("class_name", ["jumping_jacks", "sitting_down"])
def test_rooms_differ_so_that_the_doctor_finds_no_scene_twice(class_name: str) -> None:
    pictures = []
    for number in range(40):
        rng = named_generator(0, class_name, str(number))
        person = random_person(rng)
        _, joints = perform(class_name, body=person.body, rng=rng)
        frames = list(film(joints, person=person, size=(160, 120), rng=rng))
        chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, 5).round().astype(int)]
        small = [Image.fromarray(frame).convert("L").resize((24, 24)) for frame in chosen]
        pictures.append(np.median([np.asarray(each, np.float64) for each in small], axis=0))
    fine = [(each - uniform_filter(each, 5)).ravel() for each in pictures]
    alike = np.corrcoef(fine)[np.triu_indices(40, 1)]
    # docs/doctor.md: 0.75 is the same scene. With bare walls 11 and 22 of the 780 pairs reach it.
    assert (alike >= 0.75).sum() <= 1


@pytest.mark.slow
def test_a_long_video_is_as_its_table_says(tmp_path: Path) -> None:
    (video,) = generate_demo(tmp_path / "long", people=1, num_workers=1, long=True)
    assert video.name == "person_001.mp4"
    with (tmp_path / "long" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["video"] for row in rows} == {"person_001.mp4"}
    times = [(float(row["start"]), float(row["end"])) for row in rows]
    # A pause of 1.3 to 2.4 s before each action: there and back, and a while of standing.
    ends = [0.0, *(end for _, end in times)]
    pauses = [start - end for (start, _), end in zip(times, ends, strict=False)]
    assert all(1.25 < pause < 2.45 for pause in pauses)
    labels = [row["label"] for row in rows]
    assert all(
        following == "standing_up"
        for label, following in pairwise([*labels, ""])
        if label == "sitting_down"
    )
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        rate = float(container.streams.video[0].average_rate or 0)
    assert len(frames) / rate == pytest.approx(times[-1][1] + pauses[0], abs=1.2)
    # In the middle of a pause the figure stands still, but for a slow camera.
    changes = [
        float(np.abs(frames[n].astype(int) - frames[n + 1]).mean()) for n in range(len(frames) - 1)
    ]
    middles = [
        round((start - pause / 2) * rate) for (start, _), pause in zip(times, pauses, strict=True)
    ]
    acted = [np.mean(changes[round(start * rate) : round(end * rate)]) for start, end in times]
    assert max(changes[middle] for middle in middles) < max(acted)
