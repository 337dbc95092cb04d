"""Frames stored as JPEGs: what another library decodes is what ours gives, window by window."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from synthetic import make_facts, make_rows, read_entry, write_entry

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.params import ClipShape, Params
from slowfast_finetune.clips.clip_reader import ClipLoader, ClipReader
from slowfast_finetune.clips.clip_store import ClipStore, EntryError, stored_size
from slowfast_finetune.clips.stored_frames import Frames, encode_jpeg
from slowfast_finetune.clips.windows import Window

HASH = "0123456789abcdef" * 2
FACTS = make_facts()
HEIGHT, WIDTH = 48, 64


def film(num_frames: int = 12, *, shift: int = 0) -> Frames:
    """A soft disc that moves before a coloured gradient, (F, 48, 64, 3)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ground = np.stack([3 * x, 4 * y, 255 - 2 * (x + y)], axis=-1).clip(0, 255)
    frames = []
    for index in range(num_frames):
        distance = np.hypot(x - 8 - 4 * index - shift, y - 24)
        disc = ((14 - distance) / 8).clip(0, 1)[..., None]
        frames.append(disc * [230, 40, 90] + (1 - disc) * ground)
    return np.stack(frames).astype(np.uint8)


@pytest.fixture
def store(tmp_path: Path, small_params: Callable[..., Params]) -> ClipStore:
    params = small_params(clip={"encoding": "jpeg", "jpeg_quality": 90})
    return ClipStore(tmp_path / "clips", params.clip)


def write(store: ClipStore, frames: Frames, *, repeats: tuple[int, ...] = ()) -> None:
    with store.writer(HASH) as writer:
        for frame in frames:
            writer.append(frame)
        for index in repeats:
            writer.repeat(index)
        writer.finish(FACTS, num_sampled=len(frames))


def stored_jpegs(store: ClipStore, content_hash: str = HASH) -> list[bytes]:
    """The JPEG of every frame, found with the safetensors library alone."""
    tensors = safetensors.numpy.load_file(store.path(content_hash))
    assert list(tensors) == ["jpegs", "spans"]
    data = tensors["jpegs"].tobytes()
    return [data[first : first + length] for first, length in tensors["spans"].tolist()]


def decoded(jpeg: bytes) -> Frames:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def psnr(one: Frames, other: Frames) -> float:
    """Peak signal-to-noise ratio [dB]."""
    error = np.mean((one.astype(float) - other) ** 2)
    return 10 * math.log10(255**2 / error)


def test_pillow_decodes_the_same_frames(store: ClipStore) -> None:
    frames = film()
    write(store, frames)
    jpegs = stored_jpegs(store)
    with Image.open(io.BytesIO(jpegs[0])) as picture:
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (WIDTH, HEIGHT), "RGB")
    expected = np.stack([decoded(jpeg) for jpeg in jpegs])
    assert np.array_equal(read_entry(store, HASH), expected)
    mapped = store.frames(HASH)
    assert all(np.array_equal(mapped[index], expected[index]) for index in range(len(frames)))
    assert store.verify(HASH).num_frames == 12


def test_the_difference_to_raw_frames_is_small_and_shrinks_with_quality(
    tmp_path: Path, small_params: Callable[..., Params]
) -> None:
    frames = film()
    fidelity = []
    for quality in (60, 90, 100):
        clip = small_params(clip={"encoding": "jpeg", "jpeg_quality": quality}).clip
        store = ClipStore(tmp_path / "clips", clip)
        write(store, frames)
        fidelity.append(psnr(read_entry(store, HASH), frames))
        assert np.abs(read_entry(store, HASH).mean((1, 2)) - frames.mean((1, 2))).max() < 1.5
    assert fidelity == sorted(fidelity)
    assert fidelity[1] > 38


def test_a_window_is_cut_from_the_decoded_frames(store: ClipStore) -> None:
    write(store, film(), repeats=(11, 11))
    whole = np.stack([decoded(jpeg) for jpeg in stored_jpegs(store)])
    for start, top, left, height, width in [
        (0, 0, 0, 48, 64),
        (3, 7, 11, 32, 32),
        (9, 16, 32, 5, 9),
    ]:
        out = np.zeros((5, 40 + 8, 64, 3), np.uint8)[:, :height, :width]
        store.frames(HASH).copy_window(out, start=start, top=top, left=left)
        expected = whole[start : start + 5, top : top + height, left : left + width]
        assert np.array_equal(out, expected)


def test_equal_frames_and_padding_are_stored_once(store: ClipStore) -> None:
    frames = film(3)
    write(store, frames[[0, 0, 0, 1, 2, 2]], repeats=(5, 0, 3))
    jpegs = stored_jpegs(store)
    assert [jpegs.index(jpeg) for jpeg in jpegs] == [0, 0, 0, 3, 4, 4, 4, 0, 3]
    spans = safetensors.numpy.load_file(store.path(HASH))["spans"]
    assert len({tuple(span) for span in spans.tolist()}) == 3
    sizes = sum(len(jpegs[index]) for index in (0, 3, 4))
    # The JPEGs to a multiple of eight, and sixteen bytes a frame.
    assert store.info(HASH).stored_bytes == 4096 + -(-sizes // 8) * 8 + 9 * 16
    assert store.path(HASH).stat().st_size == store.info(HASH).stored_bytes
    assert np.array_equal(read_entry(store, HASH)[8], decoded(jpegs[3]))


def test_a_frame_after_a_repeated_one_is_its_own(store: ClipStore) -> None:
    frames = film(3)
    with store.writer(HASH) as writer:
        for frame in frames[:2]:
            writer.append(frame)
        writer.repeat(0)
        writer.append(frames[1])
        writer.finish(FACTS, num_sampled=4)
    read = read_entry(store, HASH)
    assert np.array_equal(read[3], read[1])
    assert not np.array_equal(read[3], read[0])


@pytest.mark.parametrize("is_inside", [False, True])
def test_a_header_of_brackets_is_an_entry_that_is_damaged(
    store: ClipStore, is_inside: bool
) -> None:
    write(store, film())
    content = store.path(HASH).read_bytes()
    brackets = b"[" * 4088
    if is_inside:
        header = json.loads(content[8:4096])
        header["__metadata__"]["info"] = "[" * 2000
        brackets = json.dumps(header).encode().ljust(4088)
    store.path(HASH).write_bytes(content[:8] + brackets + content[4096:])
    with pytest.raises(EntryError, match="cannot be mapped: the header is damaged"):
        store.frames(HASH)


def test_the_same_frames_give_the_same_bytes(store: ClipStore) -> None:
    write(store, film())
    first = store.path(HASH).read_bytes()
    with ThreadPoolExecutor(4) as pool:
        for jpegs in pool.map(lambda _: [encode_jpeg(f, quality=90) for f in film()], range(8)):
            assert jpegs == stored_jpegs(store)
    write(store, film())
    assert store.path(HASH).read_bytes() == first


def test_what_a_frame_takes_is_what_is_stored(
    store: ClipStore, small_params: Callable[..., Params]
) -> None:
    frames = film()
    write(store, frames)
    clip = small_params(clip={"encoding": "jpeg"}).clip
    assert [stored_size(frame, clip) for frame in frames] == list(map(len, stored_jpegs(store)))
    assert stored_size(frames[0], small_params().clip) == HEIGHT * WIDTH * 3


def test_many_threads_read_one_entry(store: ClipStore) -> None:
    rows = make_rows(2, num_frames=24)
    for row in rows:
        write_entry(store, row, film(24, shift=row.label))
    reader = ClipReader(rows, folder=store.folder, shape=ClipShape(8, 32))
    plan = [[Window(i % 2, i % 16, i % 17, i % 33, 32)] * 3 for i in range(60)]
    loader = ClipLoader(reader, plan, num_threads=4)
    for batch, windows in zip(loader, plan, strict=True):
        window = windows[0]
        frames = read_entry(store, rows[window.clip].content_hash)
        box = frames[window.start : window.start + 8, window.top :, window.left :][:, :32, :32]
        assert all(np.array_equal(clip, box) for clip in batch.clips.numpy())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:4096],
        lambda content: content.replace(b'"shape": [12, 2]', b'"shape": [11, 2]'),
        lambda content: content.replace(b'"num_frames', b'"mun_frames'),
        lambda content: content.replace(b'\\"num_frames\\": 12', b'\\"num_frames\\": 13'),
    ],
)
def test_what_is_not_a_sound_entry_is_refused(
    store: ClipStore, damage: Callable[[bytes], bytes]
) -> None:
    write(store, film())
    content = store.path(HASH).read_bytes()
    store.path(HASH).write_bytes(damage(content))
    assert store.path(HASH).read_bytes() != content
    with pytest.raises(EntryError):
        store.info(HASH)


def test_a_changed_byte_is_found_by_verify_and_never_crashes_a_reader(store: ClipStore) -> None:
    (row,) = make_rows(1, num_frames=12)
    write_entry(store, row, film())
    path = store.path(row.content_hash)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(4096, len(content), 60).tolist():
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        with pytest.raises(EntryError, match="the checksum does not match"):
            store.verify(row.content_hash)
        reader = ClipReader([row], folder=store.folder, shape=ClipShape(12, 32))
        with contextlib.suppress(DataError):
            reader.gather([Window(0, 0, 0, 0, 32)])
            continue
        refused += 1
    assert refused > 0


def test_the_header_tells_what_is_stored(store: ClipStore) -> None:
    write(store, film())
    content = store.path(HASH).read_bytes()
    header = json.loads(content[8:4096])
    first, end = header["spans"]["data_offsets"]
    assert header["spans"] == {"dtype": "U64", "shape": [12, 2], "data_offsets": [first, end]}
    assert (end - first, first % 8, 4096 + end) == (12 * 16, 0, len(content))
    assert header["jpegs"] == {"dtype": "U8", "shape": [first], "data_offsets": [0, first]}
    assert content[4096:4098] == b"\xff\xd8", "a JPEG begins so"
