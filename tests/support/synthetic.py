"""Small videos made on the spot, every frame of which carries its number."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from av.stream import Disposition

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.params import Params
from slowfast_finetune.base.tables import Table
from slowfast_finetune.clips.clip_store import ClipStore, EntryInfo
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.decode_job import DecodeJob, Outcomes, decode_to_store, limit_memory
from slowfast_finetune.decoding import sampled_frames
from slowfast_finetune.decoding.video_facts import VideoFacts

Frame = npt.NDArray[np.uint8]

# Every usual frame rate lasts a whole number of these ticks: 24000/1001 fps 5005, 60 fps 2000.
TICK = Fraction(1, 120_000)
NTSC_FILM = Fraction(24_000, 1001)  # "23.976"
NTSC = Fraction(30_000, 1001)  # "29.97"

# Bits of a frame number, one block each; the last one makes the number of white blocks odd.
COLUMNS, ROWS = 4, 3
BITS = COLUMNS * ROWS - 1

CORNER_COLOURS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}


# Pictures


def numbered_frame(number: int, *, width: int = 64, height: int = 48) -> Frame:
    """A picture of 4×3 black and white blocks that spell ``number``, uint8 (H, W, 3)."""
    bits = [number >> bit & 1 for bit in range(BITS)]
    blocks = np.array([*bits, 1 - sum(bits) % 2], np.uint8).reshape(ROWS, COLUMNS) * 255
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return np.repeat(blocks[rows][:, columns, None], 3, axis=2)


def read_number(frame: Frame) -> int:
    """The number that :func:`numbered_frame` wrote; lossy coding and scaling do no harm.

    Raises:
        AssertionError: the picture is none of ours, or a mixture of two.
    """
    height, width = frame.shape[:2]
    bits = []
    for row, column in itertools.product(range(ROWS), range(COLUMNS)):
        y, x = round((row + 0.5) * height / ROWS), round((column + 0.5) * width / COLUMNS)
        level = float(frame[y - 1 : y + 1, x - 1 : x + 1].mean())
        assert level < 80 or level > 175, f"block {row}, {column} is neither black nor white"
        bits.append(int(level > 128))
    assert sum(bits) % 2 == 1, f"{bits} is no number"
    return sum(bit << index for index, bit in enumerate(bits[:BITS]))


def read_numbers(frames: Iterable[Frame]) -> list[int]:
    """The number of each frame of (F, H, W, 3)."""
    return [read_number(frame) for frame in frames]


def cornered_frame(*, width: int = 64, height: int = 48) -> Frame:
    """Quarters red, green (top), blue and white (bottom), uint8 (H, W, 3)."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = CORNER_COLOURS["R"]
    frame[: height // 2, width // 2 :] = CORNER_COLOURS["G"]
    frame[height // 2 :, : width // 2] = CORNER_COLOURS["B"]
    frame[height // 2 :, width // 2 :] = CORNER_COLOURS["W"]
    return frame


def read_corners(frame: Frame) -> str:
    """Letters of the colours at top left, top right, bottom left, bottom right."""
    height, width = frame.shape[:2]
    places = itertools.product((height // 4, height * 3 // 4), (width // 4, width * 3 // 4))
    return "".join(
        min(
            CORNER_COLOURS,
            key=lambda name: np.abs(frame[y, x].astype(int) - CORNER_COLOURS[name]).sum(),
        )
        for y, x in places
    )


# Times


def steady(num_frames: int, fps: Fraction | int, *, start: Fraction | int = 0) -> list[Fraction]:
    """Presentation times at a constant rate [s]."""
    return [Fraction(start) + index / Fraction(fps) for index in range(num_frames)]


# Files


def write_video(
    path: Path,
    times: Sequence[Fraction],
    *,
    end_time: Fraction | None = None,
    picture: Callable[[int], Frame] | None = None,
    width: int = 64,
    height: int = 48,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    every_frame_alone: bool = False,
    b_frames: int = 0,
    crf: int = 18,
    tick: Fraction = TICK,
    claimed_fps: int | None = None,
    container_format: str | None = None,
    container_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    with_cover: bool = False,
) -> Path:
    """Write a video whose frame ``i`` shows ``picture(i)``, by default its number, at ``times[i]``.

    Args:
        end_time: when the last frame disappears; by default it lasts as long as the one before.
        every_frame_alone: only key frames, so that each packet is one frame by itself.
        tick: unit of the encoder's time stamps; some codecs take no fine one [s].
        claimed_fps: the header's rate and what each frame says it lasts, whatever the times say.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = [after - before for before, after in itertools.pairwise(times)]
    last = (steps[-1] if steps else Fraction(1, 30)) if end_time is None else end_time - times[-1]
    stamps = [_ticks(moment, tick) for moment in times]
    durations = dict(zip(stamps, [_ticks(step, tick) for step in [*steps, last]], strict=True))
    options = dict(container_options or {})
    with av.open(str(path), "w", format=container_format, options=options) as container:
        container.metadata.update(metadata or {})
        stream: Any = container.add_stream(codec)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.time_base = stream.codec_context.time_base = tick
        if claimed_fps is not None:
            stream.codec_context.framerate = Fraction(claimed_fps)
            durations = dict.fromkeys(stamps, _ticks(Fraction(1, claimed_fps), tick))
        elif steps:
            stream.codec_context.framerate = 1 / min(steps)
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = _x264_options(every_frame_alone, b_frames, crf)
        if with_cover:
            _write_cover(container)
        for index, stamp in enumerate(stamps):
            shown = (
                numbered_frame(index, width=width, height=height)
                if picture is None
                else picture(index)
            )
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            frame.pts, frame.time_base = stamp, tick
            _mux(container, stream.encode(frame), durations)
        _mux(container, stream.encode(), durations)
    return path


def _ticks(seconds: Fraction, tick: Fraction) -> int:
    ticks = seconds / tick
    assert ticks.denominator == 1, f"{seconds} s is no whole number of ticks"
    return int(ticks)


def _x264_options(every_frame_alone: bool, b_frames: int, crf: int) -> dict[str, str]:
    # b-adapt 0 makes B-frames for certain; one thread makes the same bytes every time.
    parameters = f"threads=1:bframes={b_frames}:b-adapt=0:scenecut=0"
    if every_frame_alone:
        parameters += ":keyint=1"
    return {"preset": "ultrafast", "crf": str(crf), "x264-params": parameters}


def _mux(container: Any, packets: Sequence[Any], durations: Mapping[int, int]) -> None:
    for packet in packets:
        packet.duration = durations[packet.pts]
        container.mux(packet)


def _write_cover(container: Any) -> None:
    cover = container.add_stream("png")
    cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
    cover.disposition = Disposition.attached_pic
    picture = av.VideoFrame.from_ndarray(cornered_frame(width=32, height=32), format="rgb24")
    for packet in [*cover.encode(picture), *cover.encode()]:
        container.mux(packet)


def write_sound(path: Path, *, with_cover: bool = False) -> Path:
    """Write half a second of silence without any video, perhaps with a cover picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=16_000)
        stream.layout = "mono"
        if with_cover:
            _write_cover(container)
        for start in range(0, 8192, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def set_display_matrix(path: Path, *, a: float, b: float, c: float, d: float) -> Path:
    """Have an mp4 shown with its pixel (x, y) at (a·x + c·y, b·x + d·y), by its track header."""
    content = bytearray(path.read_bytes())
    # tkhd of version 0: the matrix a b u, c d v, x y w begins 44 bytes after the box's name.
    start = content.index(b"tkhd") + 44
    assert content[start : start + 4] == (1 << 16).to_bytes(4, "big"), "not where the matrix is"
    fixed = [round(value * (1 << 16)) for value in (a, b, 0, c, d, 0, 0, 0)]
    values = [*fixed, 1 << 30]
    content[start : start + 36] = b"".join(
        value.to_bytes(4, "big", signed=True) for value in values
    )
    path.write_bytes(content)
    return path


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Where the packets of the video lie in the file, in the order of decoding: (start, bytes)."""
    with av.open(str(path)) as container:
        return [(p.pos or 0, p.size) for p in container.demux(video=0) if p.size]


def overwrite_packets(path: Path, *, indices: Sequence[int]) -> Path:
    """Make packets undecodable, as a bad disk would: every byte becomes 0xFF."""
    content = bytearray(path.read_bytes())
    places = packet_places(path)
    for index in indices:
        start, size = places[index]
        content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    return path


def hide_first_frames(path: Path, *, source: Path, seconds: Fraction) -> Path:
    """Copy an mp4 so that its edit list hides what comes before ``seconds``."""
    shift = _ticks(seconds, TICK)
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as full, av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream_from_template(full.streams.video[0])
        for packet in full.demux(video=0):
            if packet.size:
                assert packet.pts is not None
                assert packet.dts is not None
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                container.mux(packet)
    return path


def cut_before_packet(path: Path, *, index: int) -> Path:
    """Cut a file off where a packet begins; it must hold its index in front (faststart)."""
    start, _ = packet_places(path)[index]
    path.write_bytes(path.read_bytes()[:start])
    return path


FASTSTART = {"movflags": "faststart"}


# Class folders


def write_class_folders(root: Path, classes: Mapping[str, int], *, num_frames: int = 10) -> Path:
    """Write ``classes[name]`` short videos of each class, no two of the same content."""
    for label, (class_name, num_videos) in enumerate(sorted(classes.items())):
        for index in range(num_videos):
            write_video(
                root / class_name / f"{class_name}_{index}.mp4",
                steady(num_frames, 15),
                picture=functools.partial(_moving_square, label=label, index=index),
            )
    return root


def _moving_square(number: int, *, label: int, index: int) -> Frame:
    """A square that moves to the right, down or not at all, by its class; easy to tell apart."""
    frame = np.full((48, 64, 3), 20 + 10 * index, np.uint8)
    dx, dy = [(4, 0), (0, 3), (0, 0)][label % 3]
    x, y = (4 + 3 * index + dx * number) % 52, (4 + 2 * index + dy * number) % 36
    frame[y : y + 12, x : x + 12] = ((255, 60, 60), (60, 255, 60), (60, 60, 255))[label % 3]
    return frame


def touch_videos(root: Path, names: Sequence[str]) -> Path:
    """Write files that only look like videos, each with a content of its own: enough to index."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"video {name}".encode("utf-8", "surrogateescape"))
    return root


def _permissions_bind() -> bool:
    """Whether a file without any permission is closed to us; to root it usually is not."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0)
        return not os.access(file.name, os.R_OK)


needs_permissions = pytest.mark.skipif(
    not _permissions_bind(), reason="this user may read every file, as root does"
)


# Parameters and rows


def make_params(**sections: Mapping[str, Any]) -> Params:
    """Small valid parameters; ``make_params(train={"epochs": 3})`` changes some."""
    values: dict[str, dict[str, Any]] = {
        "data": {
            "videos": "videos",
            "extensions": (".mp4",),
            "exclude": (),
            "val_fraction": 0.2,
            "test_fraction": 0.2,
            "labels": None,
            "background": None,
            "background_ratio": 1.0,
            "group_pattern": None,
            "split_seed": 0,
            "num_folds": 3,
            "fold": None,
        },
        "clip": {
            "num_frames": 8,
            "sample_fps": 15,
            "short_side": 48,
            "max_seconds": 10,
            "padding": "repeat_last",
            "encoding": "raw",
            "jpeg_quality": 90,
        },
        "cache": {
            "max_rejected_fraction": 0.5,
            "min_decodable_fraction": 0.5,
            "max_megapixels": 36,
            "timeout_seconds": 60,
            "worker_memory_mb": 1024,
        },
        "model": {
            "name": "slowfast_shallow",
            "weights": "none",
            "dropout_rate": 0.0,
        },
        "train": {
            "method": "finetune",
            "probe_views": 1,
            "seed": 0,
            "epochs": 2,
            "patience": None,
            "batch_size": 4,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "backbone_rate": 1.0,
            "layer_decay": 1.0,
            "frozen_epochs": 0,
            "schedule": "constant",
            "warmup_epochs": 0,
            "weight_decay": 0.05,
            "max_grad_norm": None,
            "label_smoothing": 0.0,
            "class_balance": "none",
            "batch_norm": "batch",
            "ema_decay": None,
            "crop_size": 32,
        },
        "augment": {
            "random_crop": True,
            "max_zoom": 1.0,
            "horizontal_flip": 0.5,
            "rand_augment_ops": 0,
            "rand_augment_magnitude": 9,
            "mixup_alpha": 0.0,
            "cutmix_alpha": 0.0,
        },
        "evaluate": {"temporal_views": 2, "spatial_crops": 1},
        "runtime": {
            "engine": "local",
            "num_workers": 1,
            "device": "cpu",
            "devices": "auto",
            "precision": "fp32",
            "batch_size_per_device": "auto",
            "compile": False,
            "save_minutes": 10,
            "tensorboard": False,
        },
    }
    for name, changes in sections.items():
        values[name] = {**values[name], **changes}
    return Params.model_validate(values)


def write_params(path: Path, params: Params) -> Path:
    """Write parameters as a params.yaml."""
    values = params.model_dump(mode="json")
    text = yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    return path


def make_facts(**changes: Any) -> VideoFacts:
    """Facts of a sound video of 64×48 px and 1.3 s; ``changes`` are fields of VideoFacts."""
    facts: dict[str, Any] = {
        "source_height": 48,
        "source_width": 64,
        "source_fps": 30.0,
        "has_audio": False,
        "duration_seconds": 1.3,
        "decoder": "pyav/h264",
        "decodable_fraction": 1.0,
        "damaged": False,
        "truncated": False,
        "pixel_aspect": 1.0,
        "dynamic_range": "sdr",
        "interlaced": False,
        "clock_leaps": 0,
        "remarks": None,
    }
    return VideoFacts(**{**facts, **changes})


def make_rows(num_rows: int, **changes: Any) -> list[ClipRow]:
    """Rows of clips.csv, ``{index}.mp4`` of class ``jump``; ``changes`` are fields of ClipRow."""
    shape = {"num_frames": 20, "height": 48, "width": 64, **changes}
    size = 4096 + shape["num_frames"] * shape["height"] * shape["width"] * 3
    return [
        ClipRow(
            **{
                "video_path": f"jump/{index}.mp4",
                "class_name": "jump",
                "label": index % 3,
                "split": "train",
                "group": None,
                "content_hash": f"{index:032x}",
                "start_seconds": None,
                "end_seconds": None,
                "first_frame": 0,
                "num_frames": 20,
                "num_sampled": 20,
                "num_around": 0,
                "height": 48,
                "width": 64,
                **make_facts().model_dump(),
                "stored_bytes": size,
                "settings": "0" * 16,
                **changes,
            }
        )
        for index in range(num_rows)
    ]


def write_entry(store: ClipStore, row: ClipRow, frames: npt.NDArray[np.uint8]) -> None:
    """Put frames (F, H, W, 3) into a clip store as the entry of a row."""
    with store.writer(row.content_hash) as writer:
        for frame in frames:
            writer.append(frame)
        facts = row.facts
        writer.finish(facts, num_sampled=row.num_sampled)


def read_entry(store: ClipStore, content_hash: str) -> npt.NDArray[np.uint8]:
    """All frames of an entry (F, H, W, 3)."""
    frames = store.frames(content_hash)
    out = np.empty(frames.shape, np.uint8)
    frames.copy_window(out, start=0, top=0, left=0)
    return out


def make_manifest(project: Path, names: Sequence[str]) -> list[ManifestRow]:
    """Manifest rows of files below ``project``, ``<class>/<file>``, all in train, truly hashed."""
    from slowfast_finetune.base.files import hash_file

    classes = sorted({Path(name).parent.name for name in names})
    return [
        ManifestRow(
            video_path=name,
            class_name=Path(name).parent.name,
            label=classes.index(Path(name).parent.name),
            split="train",
            group=None,
            content_hash=hash_file(project / name),
        )
        for name in names
    ]


class HostileRow(NamedTuple):
    """A row of text, and of text that may be missing."""

    name: Annotated[str, "any text"]
    remark: Annotated[str | None, "any text"]
    number: Annotated[int, "any number"]
    share: Annotated[float, "any number"]
    flag: Annotated[bool, "true or false"]


HOSTILE_TABLE = Table("hostile.csv", HostileRow, version=1)


# Workers that go wrong. They run in other processes, which import them by name.


def decode_or_crash(job: DecodeJob) -> Outcomes:
    """Decode, but die on ``crash.mp4`` as a decoder with a memory fault does."""
    if job.video.name == "crash.mp4":
        os.abort()
    return decode_to_store(job)


def decode_or_hang(job: DecodeJob) -> Outcomes:
    """Decode, but never come back from ``hang.mp4``, with half an entry written."""
    if job.video.name == "hang.mp4":
        with job.store.writer(job.content_hash) as writer:
            writer.append(numbered_frame(0))
            time.sleep(600)
    return decode_to_store(job)


def decode_or_fail(job: DecodeJob) -> Outcomes:
    """Decode, but stumble over ``fail.mp4`` in a way that nobody foresaw."""
    if job.video.name == "fail.mp4":
        raise LookupError("nobody\nforesaw this")
    return decode_to_store(job)


def decode_or_eat(job: DecodeJob) -> Outcomes:
    """Decode, but take ever more memory over ``eat.mp4``."""
    if job.video.name == "eat.mp4":

        def eat(*_: object, **__: object) -> Iterator[tuple[np.ndarray, int]]:
            eaten = []
            while True:
                eaten.append(np.ones(50_000_000, np.uint8))
                yield numbered_frame(0), 1

        sampled_frames.sampled_runs = eat
    return decode_to_store(job)


FAULTS = ("crash", "spin", "eat")


def decode_with_faults(job: DecodeJob) -> Outcomes:
    """Decode, but go wrong in a way of FAULTS on files whose hash begins with 0, 1 or 2."""
    fault = {"0": "crash", "1": "spin", "2": "eat"}.get(job.content_hash[0])
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    while fault == "spin":
        pass
    if fault == "eat":
        limit_memory(job.cache.worker_memory_mb)
        try:
            [np.ones(50_000_000, np.uint8) for _ in range(1000)]
        except MemoryError as error:
            raise VideoError("out_of_memory", "eaten") from error
    return decode_to_store(job)


def decode_on_full_disk(job: DecodeJob) -> EntryInfo:
    """Find no room to write."""
    raise OSError(28, "No space left on device")
