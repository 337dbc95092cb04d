"""What the clip store costs and gives by encoding: bytes, fidelity, writing, reading windows."""

from __future__ import annotations

import io
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.comparison import Contender, in_turn, speed_ratio, timed
from benchmarks.drawn_videos import draw_video, write_copies
from benchmarks.on_the_fly import NaiveDecordDataset
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import demo_params, manifest_of, quiet
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.params import VIDEO_EXTENSIONS, ClipShape, Params
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_reader import ClipReader
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.stored_frames import encode_jpeg
from slowfast_finetune.clips.windows import Window

Frames = npt.NDArray[np.uint8]

# The R50 preset's clips.
NUM_FRAMES, SAMPLE_FPS, SHORT_SIDE, CROP = 32, 15, 256, 224
QUALITIES = (85, 90, 95)
OURS = "jpeg 90"
H264 = "H.264, a key frame every 8"
SMALLER, WRITING = 10.0, 1.25
FASTER = {"340x256": 5.0, "1280x720": 20.0}
FRAMES_COMPARED = 4  # of each video, for the fidelity


@dataclass(frozen=True)
class Stored:
    """Videos in the store with one encoding."""

    store: ClipStore
    rows: list[ClipRow]

    @property
    def num_bytes(self) -> int:
        return sum(row.stored_bytes for row in self.rows)


def run(*, folder: Path, count: int, rounds: int, out: Path) -> None:
    """Measure on the videos of a folder and on drawn ones, print tables, write store.json."""
    torch.set_num_threads(1)
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "10240")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_EXTENSIONS)
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)]
    results: dict[str, Any] = {}
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="store-") as scratch:
        results["folder"] = _measure("videos of the folder", chosen, Path(scratch), rounds=rounds)
        targets.append(Target("smaller than raw", SMALLER, results["folder"][OURS]["smaller"]))
        written = results["folder"][OURS]["writing"]
        targets.append(Target("time of writing, of raw", WRITING, written, at_most=True))
        for size, wanted in FASTER.items():
            width, height = (int(side) for side in size.split("x"))
            original = draw_video(
                Path(scratch) / f"{size}.mp4", width=width, height=height, num_frames=300
            )
            videos = write_copies(original, Path(scratch) / f"{size} copies", count=4)
            results[size] = _measure(size, videos, Path(scratch) / size, rounds=rounds)
            faster = results[size][OURS]["of decoding on the fly"]
            targets.append(Target(f"{size}: a window, of decoding on the fly", wanted, faster))
        results["libraries"] = _libraries(Path(scratch), chosen, rounds=rounds)
    finish("store", out=out, results=results, targets=targets)


def _params(encoding: str, quality: int) -> Params:
    clip = {
        "num_frames": NUM_FRAMES,
        "sample_fps": SAMPLE_FPS,
        "short_side": SHORT_SIDE,
        "max_seconds": 60,
        "encoding": encoding,
        "jpeg_quality": quality,
    }
    return demo_params(clip=clip, runtime={"num_workers": 1})


def _measure(name: str, videos: Sequence[Path], scratch: Path, *, rounds: int) -> dict[str, Any]:
    manifest = manifest_of(videos, class_names=["measured"] * len(videos))
    settings = {"raw": _params("raw", 90)}
    settings |= {f"jpeg {quality}": _params("jpeg", quality) for quality in QUALITIES}
    stored: dict[str, Stored] = {}

    def write(encoding: str) -> Contender:
        def once() -> float:
            with tempfile.TemporaryDirectory(dir=scratch.parent) as root, timed() as watch:
                _cache(manifest, settings[encoding], Path(root))
            return watch.seconds

        return once

    for encoding, params in settings.items():
        stored[encoding] = _cache(manifest, params, scratch / encoding)
    writing = in_turn({encoding: write(encoding) for encoding in settings}, rounds=rounds)
    raw = stored["raw"]
    films = [_film(raw, row, scratch / f"{index}.mp4") for index, row in enumerate(raw.rows)]
    windows = _windows(raw.rows)
    warm: dict[str, Contender] = {
        **{encoding: _reading(each, windows) for encoding, each in stored.items()},
        H264: lambda: _read_films(films, windows),
        "memcpy": lambda: _memcpy(raw, windows),
        "decord on the fly": _on_the_fly(videos, raw.rows),
    }
    cold = {encoding: _reading(each, windows, cold=True) for encoding, each in stored.items()}
    reading, reading_cold = in_turn(warm, rounds=rounds), in_turn(cold, rounds=rounds)
    whole = sum(row.num_frames * row.height * row.width * 3 for row in raw.rows)
    sizes = {encoding: each.num_bytes for encoding, each in stored.items()}
    sizes[H264] = sum(film.stat().st_size for film in films)
    fidelity = {encoding: _fidelity(raw, each) for encoding, each in stored.items()}
    fidelity[H264] = _fidelity_of_films(raw, films)
    counts = {encoding: len(windows) for encoding in warm} | {"decord on the fly": len(videos)}
    result: dict[str, Any] = {}
    for encoding in warm:
        each: dict[str, Any] = {
            "ms a window": 1e3 * statistics.median(reading[encoding]) / counts[encoding],
        }
        each["of decoding on the fly"] = (
            speed_ratio(reading[encoding], reading["decord on the fly"]).median
            * counts[encoding]
            / len(videos)
        )
        if encoding in sizes:
            each |= {"smaller": whole / sizes[encoding], "dB": fidelity[encoding]}
        if encoding in stored:
            each["writing"] = 1 / speed_ratio(writing[encoding], writing["raw"]).median
            each["ms a window, cold"] = (
                1e3 * statistics.median(reading_cold[encoding]) / len(windows)
            )
        result[encoding] = each
    columns = list(result["raw"])
    print(f"{name}: {len(videos)} videos, {whole / 1e6:.0f} MB raw, {rounds} rounds, one thread")
    print(
        format_table(
            ["", *columns],
            [
                [encoding, *(f"{each[c]:.3g}" if c in each else "" for c in columns)]
                for encoding, each in result.items()
            ],
        ),
        end="\n\n",
        flush=True,
    )
    return result


def _cache(manifest: Sequence[ManifestRow], params: Params, root: Path) -> Stored:
    store = ClipStore(root, params.clip)
    with quiet():
        rows, _ = cache_videos(
            manifest,
            params=params,
            store=store,
            project=root,
        )
    return Stored(store, rows)


def _windows(rows: Sequence[ClipRow]) -> list[Window]:
    """Four random windows of every video, the same in every round."""
    rng = np.random.default_rng(0)
    return [
        Window(
            clip,
            int(rng.integers(row.num_frames - NUM_FRAMES + 1)),
            int(rng.integers(row.height - CROP + 1)),
            int(rng.integers(row.width - CROP + 1)),
            CROP,
        )
        for clip, row in enumerate(rows)
        for _ in range(4)
    ]


def _reading(stored: Stored, windows: Sequence[Window], *, cold: bool = False) -> Contender:
    def read() -> float:
        reader = ClipReader(
            stored.rows, folder=stored.store.folder, shape=ClipShape(NUM_FRAMES, CROP)
        )
        if cold:
            for row in stored.rows:
                _forget(stored.store.path(row.content_hash))
        with timed() as watch:
            for window in windows:
                reader.gather([window])
        return watch.seconds

    return read


def _forget(path: Path) -> None:
    """Ask the kernel to drop a file from the page cache; it is written to disk first."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _memcpy(raw: Stored, windows: Sequence[Window]) -> float:
    """Copy as many bytes as the windows have, each in one piece, from the raw entries."""
    size = NUM_FRAMES * CROP * CROP * 3
    entries = [
        np.memmap(raw.store.path(row.content_hash), np.uint8, "r")[-size:] for row in raw.rows
    ]
    buffer = np.empty(size, np.uint8)
    with timed() as watch:
        for window in windows:
            np.copyto(buffer, entries[window.clip])
    return watch.seconds


def _on_the_fly(videos: Sequence[Path], rows: Sequence[ClipRow]) -> Contender:
    """Decode as many frames of the same rate: 32 at 15 a second are 64 of a video with 30."""
    row = rows[0]
    dataset = NaiveDecordDataset(
        videos,
        num_frames=NUM_FRAMES,
        stride=max(1, round(statistics.median(row.source_fps for row in rows) / SAMPLE_FPS)),
        width=row.width,
        height=row.height,
        crop_size=CROP,
    )

    def read() -> float:
        with timed() as watch:
            for index in range(len(videos)):
                dataset[index]
        return watch.seconds

    return read


# The same frames as H.264, for the comparison


def _film(raw: Stored, row: ClipRow, path: Path) -> Path:
    """Encode an entry's frames with libx264, quality 20, a key frame every eight frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = raw.store.frames(row.content_hash)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=SAMPLE_FPS)
        stream.width, stream.height = row.width // 2 * 2, row.height // 2 * 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast", "g": "8", "threads": "1"}
        for index in range(row.num_frames):
            even = frames[index][: stream.height, : stream.width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _read_films(films: Sequence[Path], windows: Sequence[Window]) -> float:
    with timed() as watch:
        for window in windows:
            _read_film(films[window.clip], window.start, NUM_FRAMES)
    return watch.seconds


def _read_film(path: Path, start: int, count: int) -> list[Frames]:
    """Frames from a place in a file: from the key frame before it on."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        assert stream.time_base is not None
        stamp = round(start / SAMPLE_FPS / stream.time_base)
        container.seek(stamp, stream=stream)
        frames = []
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts >= stamp:
                frames.append(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
            if len(frames) == count:
                break
    return frames


# Fidelity


def _places(row: ClipRow) -> list[int]:
    places = np.linspace(0, row.num_sampled - 1, FRAMES_COMPARED)
    return [int(place) for place in places]


def _fidelity(raw: Stored, other: Stored) -> float:
    pairs = (
        (raw.store.frames(row.content_hash)[i], other.store.frames(row.content_hash)[i])
        for row in raw.rows
        for i in _places(row)
    )
    return statistics.median(_psnr(one, two) for one, two in pairs)


def _fidelity_of_films(raw: Stored, films: Sequence[Path]) -> float:
    values = []
    for row, film in zip(raw.rows, films, strict=True):
        for i in _places(row):
            (found, *_) = _read_film(film, i, 1)
            height, width, _ = found.shape
            values.append(_psnr(raw.store.frames(row.content_hash)[i][:height, :width], found))
    return statistics.median(values)


def _psnr(one: Frames, other: Frames) -> float:
    """Peak signal-to-noise ratio [dB]; 99 where nothing differs."""
    error = float(np.mean((one.astype(np.float32) - other) ** 2))
    return min(99.0, 10 * math.log10(255**2 / error)) if error else 99.0


# Libraries


def _libraries(scratch: Path, videos: Sequence[Path], *, rounds: int) -> dict[str, Any]:
    """Milliseconds of decoding a frame by library, from the same JPEGs."""
    import simplejpeg
    from PIL import Image

    manifest = manifest_of(videos[:2], class_names=["measured"] * 2)
    stored = _cache(manifest, _params("raw", 90), scratch / "libraries")
    jpegs = [
        encode_jpeg(stored.store.frames(row.content_hash)[index], quality=90)
        for row in stored.rows
        for index in range(row.num_sampled)
    ][:200]
    decoders: dict[str, Callable[[bytes], Any]] = {
        "simplejpeg": simplejpeg.decode_jpeg,
        "Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data))),
    }
    try:
        import cv2

        decoders["OpenCV"] = lambda data: cv2.cvtColor(
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
        )
    except ImportError:
        pass

    def decoding(decode: Callable[[bytes], Any]) -> Contender:
        def once() -> float:
            with timed() as watch:
                for data in jpegs:
                    decode(data)
            return watch.seconds

        return once

    seconds = in_turn({name: decoding(each) for name, each in decoders.items()}, rounds=rounds)
    result = {name: 1e3 * statistics.median(each) / len(jpegs) for name, each in seconds.items()}
    print(
        format_table(
            ["ms a frame", *result], [["decoding", *map("{:.3f}".format, result.values())]]
        )
    )
    return result
