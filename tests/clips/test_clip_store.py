"""The clip store: what is written is read, by us and by others, and nothing else is believed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from synthetic import make_facts, read_entry

from slowfast_finetune.base.params import ClipParams, Params
from slowfast_finetune.base.store_location import store_root
from slowfast_finetune.clips import stored_frames
from slowfast_finetune.clips.clip_store import (
    ClipStore,
    EntryError,
    EntryInfo,
    settings_digest,
)
from slowfast_finetune.clips.stored_frames import Frames

HASH = "0123456789abcdef" * 2
OTHER = "f" * 32
FACTS = make_facts(source_height=96, duration_seconds=0.333333, decodable_fraction=0.9)


@pytest.fixture
def clip(small_params: Callable[..., Params]) -> ClipParams:
    return small_params().clip


@pytest.fixture
def store(tmp_path: Path, clip: ClipParams) -> ClipStore:
    return ClipStore(tmp_path / "clips", clip)


def make_frames(num_frames: int = 5, height: int = 6, width: int = 8) -> Frames:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def write(
    store: ClipStore, frames: Sequence[Frames] | Frames, content_hash: str = HASH, **facts: Any
) -> EntryInfo:
    with store.writer(content_hash) as writer:
        for frame in frames:
            writer.append(frame)
        return writer.finish(FACTS.model_copy(update=facts), num_sampled=5)


# Round trips


def test_what_is_written_is_read(store: ClipStore) -> None:
    frames = make_frames()
    written = write(store, frames)
    read = store.info(HASH)
    assert read == written
    assert (read.num_frames, read.height, read.width) == (5, 6, 8)
    assert (read.num_sampled, read.facts) == (5, FACTS)
    assert store.frames(HASH).shape == frames.shape
    assert np.array_equal(read_entry(store, HASH), frames)
    assert store.verify(HASH) == written


def test_frames_cannot_be_changed_by_accident(store: ClipStore) -> None:
    write(store, make_frames())
    with pytest.raises(ValueError, match="read-only"):
        store.frames(HASH)[0][0, 0] = 0


def test_safetensors_reads_the_same(store: ClipStore) -> None:
    frames = make_frames()
    write(store, frames)
    tensors = safetensors.numpy.load_file(store.path(HASH))
    assert list(tensors) == ["frames"]
    assert tensors["frames"].dtype == np.uint8
    assert np.array_equal(tensors["frames"], frames)
    with safetensors.safe_open(store.path(HASH), framework="np") as file:
        metadata = file.metadata()
    assert metadata["content_hash"] == HASH
    assert metadata["format_version"] == "4"
    assert json.loads(metadata["info"])["facts"]["decoder"] == "pyav/h264"


def test_the_bytes_of_an_entry(store: ClipStore) -> None:
    frames = make_frames()
    write(store, frames)
    content = store.path(HASH).read_bytes()
    # safetensors: eight bytes of length, a JSON header; ours ends where a page does.
    assert int.from_bytes(content[:8], "little") == 4088
    header = json.loads(content[8:4096])
    assert header["frames"] == {
        "dtype": "U8",
        "shape": [5, 6, 8, 3],
        "data_offsets": [0, 5 * 6 * 8 * 3],
    }
    assert content[4096:] == frames.tobytes()


def test_place_and_settings(store: ClipStore, clip: ClipParams, tmp_path: Path) -> None:
    write(store, make_frames())
    digest = settings_digest(clip)
    assert store.path(HASH) == tmp_path / "clips" / digest / f"{HASH}.safetensors"
    settings = json.loads((tmp_path / "clips" / digest / "settings.json").read_text())
    assert settings == {
        "format_version": 4,
        "clip": {
            "num_frames": 8,
            "sample_fps": 15,
            "short_side": 48,
            "max_seconds": 10,
            "padding": "repeat_last",
            "encoding": "raw",
            "jpeg_quality": 90,
        },
    }


def test_every_clip_parameter_has_a_corner_of_its_own(small_params: Callable[..., Params]) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"num_frames": 12},
        {"sample_fps": 14},
        {"short_side": 49},
        {"max_seconds": 11},
        {"padding": "loop"},
        {"encoding": "jpeg"},
        {"encoding": "jpeg", "jpeg_quality": 91},
    ]
    digests = [settings_digest(small_params(clip=change).clip) for change in changes]
    assert len(set(digests)) == len(ClipParams.model_fields) + 1
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)
    # Raw frames have no quality; 15 and 15.0 are the same settings, and so is any other training.
    same = small_params(
        clip={"sample_fps": 15.0, "jpeg_quality": 80},
        train={"epochs": 9},
        cache={"max_megapixels": 1},
    )
    assert settings_digest(same.clip) == digests[0]


def test_header_of_brackets_is_damage_not_a_crash(store: ClipStore) -> None:
    store.prepare()
    store.path(HASH).write_bytes((4088).to_bytes(8, "little") + b"[" * 4088)
    with pytest.raises(EntryError, match="the header is damaged"):
        store.info(HASH)


def test_dangling_link_hides_no_other_entry(store: ClipStore) -> None:
    store.prepare()
    (store.folder / "aa.safetensors").symlink_to("/nowhere")
    store.path(HASH).write_bytes(b"12345")
    assert store.sizes() == {HASH: 5}


def test_earlier_frames_can_be_repeated_for_padding(store: ClipStore) -> None:
    frames = make_frames(3)
    with store.writer(HASH) as writer:
        for frame in frames:
            writer.append(frame)
        for index in (2, 0, 1):
            writer.repeat(index)
        writer.finish(FACTS, num_sampled=5)
    assert np.array_equal(read_entry(store, HASH), frames[[0, 1, 2, 2, 0, 1]])
    assert store.verify(HASH).num_frames == 6


def test_frames_in_any_memory_layout(store: ClipStore) -> None:
    frames = make_frames()
    turned = np.ascontiguousarray(frames.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    mirrored = frames[:, :, ::-1]
    write(store, turned)
    write(store, mirrored, OTHER)
    assert np.array_equal(read_entry(store, HASH), frames)
    assert np.array_equal(read_entry(store, OTHER), frames[:, :, ::-1])


# Half-written


def left_over(store: ClipStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def interrupt(store: ClipStore, error: BaseException) -> None:
    with store.writer(HASH) as writer:
        writer.append(make_frames()[0])
        raise error


def test_an_interrupted_writer_leaves_nothing(store: ClipStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(store, KeyboardInterrupt())
    assert left_over(store) == ["settings.json"]


def test_a_forgotten_header_is_not_published(store: ClipStore) -> None:
    with pytest.raises(AssertionError, match="not finished"), store.writer(HASH) as writer:
        writer.append(make_frames()[0])
    assert left_over(store) == ["settings.json"]


def test_an_interrupted_writer_leaves_the_old_entry(store: ClipStore) -> None:
    frames = make_frames()
    write(store, frames)
    with pytest.raises(OSError, match="disk full"):
        interrupt(store, OSError("disk full"))
    assert left_over(store) == [f"{HASH}.safetensors", "settings.json"]
    assert np.array_equal(read_entry(store, HASH), frames)


def test_an_entry_appears_only_when_whole(store: ClipStore) -> None:
    with store.writer(HASH) as writer:
        writer.append(make_frames()[0])
        writer.finish(FACTS, num_sampled=5)
        assert not store.path(HASH).exists()
    assert store.path(HASH).exists()


def test_frames_of_two_shapes_are_a_fault_of_ours(store: ClipStore) -> None:
    with pytest.raises(AssertionError, match="frame of"):
        write(store, [make_frames()[0], make_frames(height=7)[0]])
    assert left_over(store) == ["settings.json"]


# Not believed


def change(store: ClipStore, make: Callable[[bytes], bytes]) -> None:
    path = store.path(HASH)
    path.write_bytes(make(path.read_bytes()))


def test_no_such_entry(store: ClipStore) -> None:
    with pytest.raises(EntryError, match="no such entry"):
        store.info(HASH)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda content: content[:-1], r"has 4815 bytes, its header tells 4816"),
        (lambda content: content + b"\0", r"has 4817 bytes, its header tells 4816"),
        (lambda content: content[:4096], "has 4096 bytes"),
        (lambda content: content[:4095], "the header is damaged"),
        (lambda content: content[:5], "the header is damaged"),
        (lambda _: b"", "the header is damaged"),
        (lambda content: b"\0" * len(content), "the header is damaged"),
        (lambda content: b"\xff" * len(content), "the header is damaged"),
        (lambda content: content[:8] + b"x" * 4088 + content[4096:], "the header is damaged"),
        (lambda content: content[:8] + b"[]".ljust(4088) + content[4096:], "header is damaged"),
        (lambda content: content[:8] + b"3".ljust(4088) + content[4096:], "header is damaged"),
        # 5 frames in the facts, 6 in the shape.
        (lambda content: content.replace(b"[5, 6, 8, 3]", b"[6, 6, 8, 3]"), "header is damaged"),
        (
            lambda content: content.replace(b'"format_version": "4"', b'"format_version": "3"'),
            "has format 3; this version reads 4: run `dvc repro`, and `slowfast clips prune`",
        ),
        (lambda content: content.replace(HASH.encode(), OTHER.encode()), f"another video, {OTHER}"),
    ],
)
def test_what_is_not_a_sound_entry_is_refused(
    store: ClipStore, make: Callable[[bytes], bytes], said: str
) -> None:
    write(store, make_frames())
    before = store.path(HASH).read_bytes()
    change(store, make)
    assert store.path(HASH).read_bytes() != before
    with pytest.raises(EntryError, match=said) as caught:
        store.info(HASH)
    assert str(store.path(HASH)) in str(caught.value)


def test_an_entry_under_another_name_is_refused(store: ClipStore) -> None:
    write(store, make_frames())
    store.path(HASH).rename(store.path(OTHER))
    with pytest.raises(EntryError, match=f"holds another video, {HASH}"):
        store.info(OTHER)


def test_a_folder_in_place_of_an_entry(store: ClipStore) -> None:
    store.path(HASH).mkdir(parents=True)
    with pytest.raises(EntryError, match="cannot be read"):
        store.info(HASH)


def test_no_flipped_byte_in_a_header_does_more_than_refuse(store: ClipStore) -> None:
    info = write(store, make_frames())
    header = store.path(HASH).read_bytes()[:4096].rstrip()
    with store.path(HASH).open("r+b", buffering=0) as file:
        for place, byte in enumerate(header):
            for value in (0x00, byte ^ 1):
                os.pwrite(file.fileno(), bytes([value]), place)
                with contextlib.suppress(EntryError):
                    found = store.info(HASH)
                    # A fact may be another one; what the frames are laid out by may not.
                    shape = (found.num_frames, found.height, found.width)
                    assert shape == (info.num_frames, info.height, info.width)
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert store.verify(HASH) == info


def test_verify_notices_a_changed_pixel(store: ClipStore) -> None:
    write(store, make_frames())
    change(store, lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    store.info(HASH)
    with pytest.raises(EntryError, match="the checksum does not match"):
        store.verify(HASH)


def test_frames_of_an_entry_that_is_gone_or_short(store: ClipStore) -> None:
    write(store, make_frames())
    change(store, lambda content: content[:-1])
    with pytest.raises(EntryError, match="cannot be mapped"):
        store.frames(HASH)
    store.path(HASH).unlink()
    with pytest.raises(EntryError, match="cannot be mapped"):
        store.frames(HASH)


# Where it lies


@pytest.fixture
def no_clip_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CLIP_STORE", raising=False)
    # Only the configuration of the project counts here, not the person's own.
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "nothing"))


def test_the_variable_decides(clip_store_root: Path, tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    assert store_root(tmp_path) == clip_store_root


def test_the_variable_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLIP_STORE", "~/my clips")
    assert store_root(tmp_path) == tmp_path / "my clips"


@pytest.mark.usefixtures("no_clip_store")
@pytest.mark.parametrize("project", [".", "deep/er"])
def test_beside_the_dvc_cache(tmp_path: Path, project: str) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / project).mkdir(parents=True, exist_ok=True)
    assert store_root(tmp_path / project) == tmp_path / ".dvc" / "clips"


@pytest.mark.usefixtures("no_clip_store")
def test_beside_a_shared_dvc_cache(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(f"[cache]\n    dir = {tmp_path}/shared/cache\n")
    assert store_root(tmp_path) == tmp_path / "shared" / "clips"


@pytest.mark.usefixtures("no_clip_store")
def test_a_relative_cache_starts_at_the_dvc_folder(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text("[cache]\n    dir = ../../shared/cache\n")
    assert store_root(tmp_path).resolve() == tmp_path.parent / "shared" / "clips"


@pytest.mark.usefixtures("no_clip_store")
def test_outside_any_dvc_project(tmp_path: Path) -> None:
    assert store_root(tmp_path) == tmp_path / ".clips"


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIP_STORE", "")
    assert store_root(tmp_path) == tmp_path / ".clips"


def test_the_header_has_room_for_long_facts(store: ClipStore) -> None:
    write(
        store,
        make_frames(),
        decoder="pyav/" + "x" * 64,
        source_width=2**53,
        duration_seconds=1 / 3 * 1e5,
    )
    assert store.verify(HASH).facts.source_width == 2**53
    assert stored_frames.HEADER_BYTES % os.sysconf("SC_PAGE_SIZE") == 0
