"""Film one video: who does it, how fast, seen from where, in which light."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray

from slowfast_finetune.demo.drawing import Person, draw_figure, paint_room, random_person
from slowfast_finetune.demo.poses import WAVING_ARMS, Body, Floats, Joint, Manner, joint_positions

# Without mbtree, which on some CPUs reads memory that x264 never wrote: the same frames then
# give other bytes on every run.
X264_OPTIONS = {"preset": "veryfast", "x264-params": "mbtree=0"}
FRAME_RATES = tuple(Fraction(rate) for rate in (12, 15, 24, 25, Fraction(30_000, 1001), 50))
SIZES = ((160, 120), (128, 128), (176, 144), (120, 160))  # width and height of the videos
SUPERSAMPLING = 2  # frames are drawn so many times too large: reducing them smooths the edges
# Seconds that one cycle of a repeated action takes, from brisk to leisurely.
CYCLE_SECONDS: dict[str, tuple[float, float]] = {
    "jumping_jacks": (0.8, 1.25),
    "squatting": (1.0, 1.8),
    "walking": (0.9, 1.3),
    "waving": (0.45, 0.85),
}
# How far the figure turns away from the viewer, in degrees: the view that tells most.
YAW_DEGREES: dict[str, tuple[float, float]] = {
    "jumping_jacks": (0, 25),
    "sitting_down": (42, 78),
    "squatting": (35, 78),
    "walking": (70, 90),
    "waving": (0, 30),
}
# What follows one another in a long video without standing in between.
TAKES = [("jumping_jacks",), ("sitting_down", "standing_up"), ("squatting",), ("walking",)]
TAKES += [("waving",)]
NUM_TAKES = 6  # of a long video


def film_video(path: Path, *, seed: int) -> None:
    """Write one video of the data set: `<folder>/<class>/person_<NNN>_<letter>.mp4`.

    The numbers drawn depend on seed, class, person and letter only, never on order or worker.
    """
    class_name, (_, person_number, letter) = path.parent.name, path.stem.split("_")
    person = random_person(named_generator(seed, "person", person_number))
    rng = named_generator(seed, class_name, person_number, letter)
    frame_rate, joints = perform(class_name, body=person.body, rng=rng)
    size = SIZES[rng.integers(len(SIZES))]
    frames = film(joints, person=person, size=size, rng=rng)
    write_video(path, frames, frame_rate=frame_rate, size=size, crf=int(rng.integers(20, 27)))


def film_long_video(path: Path, *, seed: int) -> list[tuple[str, float, float]]:
    """Write a long video, `<folder>/person_<NNN>.mp4`, and return its parts: class, start, end [s].

    Several actions one after the other; in pauses before, between and after them the figure stands,
    or sits until it stands up. The people are others than those of the short videos.
    """
    number = path.stem.removeprefix("person_")
    person = random_person(named_generator(seed, "person of a long video", number))
    rng = named_generator(seed, "long video", number)
    frame_rate = FRAME_RATES[rng.integers(len(FRAME_RATES))]
    standing = joint_positions("sitting_down", phase=0.0, body=person.body, manner=Manner())
    pieces, parts, num_frames, last = [], [], 0, standing
    for classes in [TAKES[rng.integers(len(TAKES))] for _ in range(NUM_TAKES)] + [()]:
        for class_name in classes or ("",):
            joints = standing[None]
            if class_name:
                _, joints = perform(class_name, body=person.body, rng=rng, frame_rate=frame_rate)
            # It begins where the last one ended.
            here = np.array((last[Joint.PELVIS, 0], 0.0, 0.0))
            joints = joints - joints[0, Joint.PELVIS] * (1, 0, 0) + here
            still = last if class_name == "standing_up" else standing + here
            pause = _moved([last, still, still, joints[0]], frame_rate=frame_rate, rng=rng)
            pieces += [pause, joints]
            ends = num_frames + len(pause), num_frames + len(pause) + len(joints)
            if class_name:
                start, end = (round(float(n / frame_rate), 3) for n in ends)
                parts.append((class_name, start, end))
            num_frames, last = ends[1], joints[-1]
    size = SIZES[rng.integers(len(SIZES))]
    frames = film(np.concatenate(pieces), person=person, size=size, rng=rng)
    write_video(path, frames, frame_rate=frame_rate, size=size, crf=int(rng.integers(20, 27)))
    return parts


def _moved(keys: Sequence[Floats], *, frame_rate: Fraction, rng: np.random.Generator) -> Floats:
    """Joints of a pause (num_frames, 17, 3): to the second key pose, a while there, to the last."""
    times = np.cumsum([0.0, 0.4, rng.uniform(0.5, 1.6), 0.4])
    now = np.arange(round(times[-1] * frame_rate)) / float(frame_rate)
    place = np.interp(now, times, np.arange(len(keys)))
    first = np.minimum(place.astype(int), len(keys) - 2)
    share = (place - first)[:, None, None]
    poses = np.stack(keys)
    return np.asarray((1 - share) * poses[first] + share * poses[first + 1])


def named_generator(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each seed and list of names, the same on every run."""
    # Python's own hash() differs from process to process.
    text = "/".join((str(seed), *names))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()))


def perform(
    class_name: str, *, body: Body, rng: np.random.Generator, frame_rate: Fraction | None = None
) -> tuple[Fraction, Floats]:
    """Random performance of an action: frames a second, and joints float64 (num_frames, 17, 3).

    World axes: x to the right of the picture, y up, z towards the viewer; the floor is y = 0.
    """
    action = "sitting_down" if class_name == "standing_up" else class_name
    frame_rate = frame_rate or FRAME_RATES[rng.integers(len(FRAME_RATES))]
    manner = Manner(
        effort=rng.uniform(0.85, 1.08),
        arms_forward=bool(rng.random() < 0.5),
        waving_arms=WAVING_ARMS[rng.integers(len(WAVING_ARMS))],
        stride=rng.uniform(0.30, 0.40),
    )
    phases = random_phases(action, frame_rate=frame_rate, rng=rng)
    joints = np.stack(
        [joint_positions(action, phase=phase, body=body, manner=manner) for phase in phases]
    )
    yaw = math.radians(rng.uniform(*YAW_DEGREES[action])) * (-1, 1)[rng.integers(2)]
    turn, side = math.cos(yaw), math.sin(yaw)
    joints = joints @ np.array(((turn, 0.0, -side), (0.0, 1.0, 0.0), (side, 0.0, turn)))
    return frame_rate, joints[::-1] if class_name == "standing_up" else joints


def random_phases(action: str, *, frame_rate: Fraction, rng: np.random.Generator) -> Floats:
    """Phase of each frame of a random video: float64 (num_frames,)."""
    # A few videos are shorter than one clip of 16 frames at 10 frames per second.
    short = rng.random() < 0.15
    seconds = rng.uniform(0.6, 1.25) if short else rng.triangular(1.3, 1.7, 3.2)
    times = np.arange(round(seconds * frame_rate)) / float(frame_rate)
    phases: Floats
    if action in CYCLE_SECONDS:
        cycle_seconds = min(rng.uniform(*CYCLE_SECONDS[action]), seconds)
        start, wobble = rng.random(size=2)
        uneven = 0.03 * np.sin(2 * math.pi * (0.6 * times + wobble))
        phases = start + times / cycle_seconds + uneven
    else:
        # Still at first and at last, so shortly that any clip shows some of the movement.
        before, after = rng.uniform(0.0, 0.1, size=2)
        phases = np.clip((times / times[-1] - before) / (1 - before - after), 0.0, 1.0)
    return phases


def film(
    joints: Floats, *, person: Person, size: tuple[int, int], rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """Frames, each uint8 (H, W, 3), by a random camera that pans slowly, in a random light."""
    width, height = (side * SUPERSAMPLING for side in size)
    unit = min(rng.uniform(0.76, 0.84) * height, 0.95 * width)
    lowest = 0.96 * height
    highest = min(max(0.87 * height, 1.13 * unit), lowest)  # hands held up stay in the picture
    start = ((0.5 + rng.uniform(-0.05, 0.05)) * width, rng.uniform(highest, lowest))
    pan = np.linspace(-0.5, 0.5, len(joints))[:, None]
    path = start + pan * rng.uniform((-0.06, -0.02), (0.06, 0.02)) * width
    # The figure crosses part of the picture, and the camera follows it for the rest of its way.
    walked = unit * joints[:, Joint.PELVIS, 0]
    middle, way = (walked.max() + walked.min()) / 2, max(np.ptp(walked), 1.0)
    followed = 1 - min(1.0, (0.8 * width - 0.5 * unit) / way) * rng.uniform(0.4, 1.0)
    path[:, 0] -= middle + followed * (walked - middle)
    # Whole pixels, so that figure and room move by the very same amount.
    origins = path.round().astype(np.int64)
    # One picture of all that the camera sees; each frame is cut out of it.
    far_x, far_y = origins.max(axis=0).tolist()
    across, down = np.ptp(origins, axis=0).tolist()
    room = paint_room((width + across, height + down), unit=unit, floor_y=far_y, rng=rng)
    light = rng.uniform(0.85, 1.02) * rng.uniform(0.95, 1.05, size=3)
    for pose, (x, y) in zip(joints, origins.tolist(), strict=True):
        left, top = far_x - x, far_y - y
        picture = room.crop((left, top, left + width, top + height))
        draw_figure(picture, pose, person=person, unit=unit, origin=(x, y))
        frame = np.asarray(picture.reduce(SUPERSAMPLING)) * light.astype(np.float32)
        yield frame.clip(0, 255).astype(np.uint8)


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    frame_rate: Fraction,
    size: tuple[int, int],
    crf: int,
) -> None:
    """Encode frames, each uint8 (H, W, 3), of an even size (width, height).

    Frame number n is shown at exactly n / frame_rate seconds.
    """
    # Several threads would split the work, and so the bytes, by machine; without bitexact the
    # file names the versions that wrote it.
    with av.open(path, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=frame_rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        stream.codec_context.time_base = 1 / frame_rate
        stream.options = {**X264_OPTIONS, "crf": str(crf)}
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, 1 / frame_rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
