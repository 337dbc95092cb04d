"""The clip store: one safetensors file per video and setting.

    <root>/<settings digest>/settings.json
    <root>/<settings digest>/<content hash>.safetensors

An entry holds frames, RGB, upright, at ``sample_fps``, padded to at least ``num_frames``: raw, as
uint8 (F, H, W, 3), or as one JPEG each; and, as metadata, what decoding found. The header is padded
to 4096 bytes, so frames begin on a page and can be written before their number is known.
docs/formats.md has the byte layout.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.params import ClipParams
from slowfast_finetune.clips.stored_frames import (
    HEADER_BYTES,
    Frames,
    StoredFrames,
    encode_jpeg,
    open_frames,
    read_header,
)
from slowfast_finetune.decoding.video_facts import VideoFacts

FORMAT_VERSION = 4
SUFFIX = ".safetensors"
CHECKED_AT_ONCE = 2**24  # bytes of an entry that verifying reads at a time


class EntryError(DataError):
    """An entry is not there or cannot be trusted; it has to be decoded again."""


@dataclass(frozen=True)
class EntryInfo:
    """What an entry says of itself.

    Attributes:
        num_frames: frames stored, padding included.
        num_sampled: frames before padding.
        height, width: of the stored frames [px].
        facts: what the decoder found.
        checksum: CRC-32 of all bytes after the header, 8 hex digits: against decay, not against
            people.
        stored_bytes: length of the file.
    """

    num_frames: int
    num_sampled: int
    height: int
    width: int
    facts: VideoFacts
    checksum: str
    stored_bytes: int


def settings_digest(clip: ClipParams) -> str:
    """Names the corner of the store that holds clips of these settings: 16 hex digits."""
    values = clip.model_dump()
    if clip.encoding == "raw":
        del values["jpeg_quality"]  # changes nothing
    text = json.dumps({"format": FORMAT_VERSION, **values}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def raw_bytes(num_frames: int, height: int, width: int) -> int:
    """What frames of this shape take without encoding [bytes]."""
    return num_frames * height * width * 3


def stored_size(frame: Frames, clip: ClipParams) -> int:
    """What a frame takes in the store under these settings [bytes]."""
    if clip.encoding == "raw":
        return frame.nbytes
    return len(encode_jpeg(frame, quality=clip.jpeg_quality))


class ClipStore:
    """The entries of one setting, by the content hash of their video."""

    def __init__(self, root: Path, clip: ClipParams) -> None:
        self.folder = root / settings_digest(clip)
        self._clip: ClipParams | None = clip

    @classmethod
    def of_folder(cls, folder: Path) -> ClipStore:
        """A store to read from one folder whose settings may be unknown."""
        store = cls.__new__(cls)
        store.folder = folder
        store._clip = None
        return store

    def prepare(self) -> None:
        """Make the folder and write down its settings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "settings.json"
        if self._clip is not None and not settings.exists():
            values = {"format_version": FORMAT_VERSION, "clip": self._clip.model_dump()}
            write_text(settings, json.dumps(values, indent=2) + "\n")

    def path(self, content_hash: str) -> Path:
        """Where the entry of a video lies or will lie."""
        return self.folder / f"{content_hash}{SUFFIX}"

    def info(self, content_hash: str) -> EntryInfo:
        """Read and check an entry's header: format, video, shape against the file's length.

        Raises:
            EntryError: missing, cut short, or not what its name says.
        """
        path = self.path(content_hash)
        try:
            with path.open("rb") as file:
                info, owner = _parse_header(file.read(HEADER_BYTES))
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError as error:
            raise EntryError(f"{path}: no such entry") from error
        except OSError as error:
            raise EntryError(f"{path}: cannot be read: {error.strerror}") from error
        except EntryError as error:
            raise EntryError(f"{path}: {error}") from error
        except (ValueError, KeyError, TypeError, struct.error, RecursionError) as error:
            raise EntryError(f"{path}: the header is damaged") from error
        if owner != content_hash:
            raise EntryError(f"{path}: holds another video, {owner}")
        if size != info.stored_bytes:
            raise EntryError(f"{path}: has {size} bytes, its header tells {info.stored_bytes}")
        return info

    def sizes(self) -> dict[str, int]:
        """The length of every entry's file by content hash [bytes], from one listing."""
        sizes: dict[str, int] = {}
        if not self.folder.is_dir():
            return sizes
        with os.scandir(self.folder) as found:
            for entry in found:
                if entry.name.endswith(SUFFIX):
                    # An entry that has just been removed is as good as missing.
                    with suppress(OSError):
                        sizes[entry.name.removesuffix(SUFFIX)] = entry.stat().st_size
        return sizes

    def frames(self, content_hash: str) -> StoredFrames:
        """Map an entry's frames, read-only; they are read from disk when touched.

        Raises:
            EntryError: the file is missing, cut short or no entry.
        """
        path = self.path(content_hash)
        try:
            return open_frames(path)
        except (OSError, ValueError) as error:
            raise EntryError(f"{path}: cannot be mapped: {error}") from error

    def verify(self, content_hash: str) -> EntryInfo:
        """Read a whole entry and compare its checksum.

        Raises:
            EntryError: as :meth:`info`, or the bytes have changed since they were written.
        """
        info = self.info(content_hash)
        path = self.path(content_hash)
        checksum = 0
        try:
            with path.open("rb") as file:
                file.seek(HEADER_BYTES)
                while part := file.read(CHECKED_AT_ONCE):
                    checksum = zlib.crc32(part, checksum)
        except OSError as error:
            raise EntryError(f"{path}: cannot be read: {error.strerror}") from error
        if f"{checksum:08x}" != info.checksum:
            raise EntryError(f"{path}: the checksum does not match")
        return info

    @contextmanager
    def writer(self, content_hash: str, *, run_name: str = "") -> Iterator[EntryWriter]:
        """Write an entry frame by frame; it appears under its name only when finished.

        Args:
            run_name: marks the temporary file, for :meth:`discard_temporary`.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        assert self._clip is not None
        quality = self._clip.jpeg_quality if self._clip.encoding == "jpeg" else None
        self.prepare()
        temporary = self._temporary(content_hash, run_name)
        try:
            with temporary.open("w+b") as file:
                file.seek(HEADER_BYTES)
                writer = EntryWriter(file, content_hash, jpeg_quality=quality)
                yield writer
                if not writer.finished:
                    raise AssertionError("the entry was not finished")
            temporary.chmod(0o644)
            temporary.replace(self.path(content_hash))
        finally:
            temporary.unlink(missing_ok=True)

    def discard_temporary(self, content_hash: str, *, run_name: str) -> None:
        """Delete what a killed writer of this run left of an entry."""
        # By its name: to search the folder for it would take longer with every entry there is.
        self._temporary(content_hash, run_name).unlink(missing_ok=True)

    def _temporary(self, content_hash: str, run_name: str) -> Path:
        return self.folder / f".{content_hash}.{run_name}.tmp"


class EntryWriter:
    """Takes frames one by one, then the facts about them.

    Args:
        jpeg_quality: 1 to 100; None stores frames as they are.
    """

    def __init__(self, file: Any, content_hash: str, *, jpeg_quality: int | None) -> None:
        self._file = file
        self._content_hash = content_hash
        self._jpeg_quality = jpeg_quality
        self._checksum = 0
        self._num_bytes = 0
        # Of each frame, where its JPEG begins after the header and its length; 128 bytes of memory
        # each, 14 MB for two hours.
        self._spans: list[tuple[int, int]] = []
        self._last: Frames | None = None
        self.num_frames = 0
        self.shape: tuple[int, ...] = ()
        self.finished = False

    def append(self, frame: Frames) -> None:
        """Add a frame, uint8 (H, W, 3), of the same shape as those before."""
        if self.shape not in ((), frame.shape):
            raise AssertionError(f"frame of {frame.shape} in a clip of {self.shape}")
        self.shape = frame.shape
        if self._jpeg_quality is None:
            self._write(np.ascontiguousarray(frame).data.cast("B"))
        elif self._last is not None and np.array_equal(frame, self._last):
            self._spans.append(self._spans[-1])
        else:
            data = encode_jpeg(frame, quality=self._jpeg_quality)
            self._spans.append((self._num_bytes, len(data)))
            self._write(data)
            self._last = frame
        self.num_frames += 1

    def repeat(self, index: int) -> None:
        """Add a frame that was added before once more, as padding does."""
        if self._jpeg_quality is None:
            size = int(np.prod(self.shape))
            self._file.flush()
            self._write(os.pread(self._file.fileno(), size, HEADER_BYTES + index * size))
        else:
            self._spans.append(self._spans[index])
            self._last = None  # the last span is no longer that of the frame added last
        self.num_frames += 1

    def finish(self, facts: VideoFacts, *, num_sampled: int) -> EntryInfo:
        """Write the header with what only the decoder knows."""
        height, width, _ = self.shape
        tensors = {"frames": ("U8", [self.num_frames, height, width, 3])}
        if self._jpeg_quality is not None:
            self._write(bytes(-self._num_bytes % 8))  # so that the spans are aligned
            tensors = {"jpegs": ("U8", [self._num_bytes]), "spans": ("U64", [self.num_frames, 2])}
            self._write(np.array(self._spans, "<u8").tobytes())
        info = EntryInfo(
            num_frames=self.num_frames,
            num_sampled=num_sampled,
            height=height,
            width=width,
            facts=facts,
            checksum=f"{self._checksum:08x}",
            stored_bytes=HEADER_BYTES + self._num_bytes,
        )
        self._file.seek(0)
        self._file.write(_format_header(info, self._content_hash, tensors))
        self.finished = True
        return info

    def _write(self, data: bytes | memoryview) -> None:
        self._checksum = zlib.crc32(data, self._checksum)
        self._file.write(data)
        self._num_bytes += len(data)


def _format_header(
    info: EntryInfo, content_hash: str, tensors: dict[str, tuple[str, list[int]]]
) -> bytes:
    header: dict[str, Any] = {
        "__metadata__": {
            "format_version": str(FORMAT_VERSION),
            "content_hash": content_hash,
            # safetensors allows text only as metadata, so the facts travel as one JSON text.
            "info": json.dumps({**vars(info), "facts": info.facts.model_dump()}),
        }
    }
    end = 0
    for name, (dtype, shape) in tensors.items():
        first, end = end, end + int(np.prod(shape)) * (8 if dtype == "U64" else 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [first, end]}
    text = json.dumps(header).encode()
    room = HEADER_BYTES - 8
    if len(text) > room:
        raise AssertionError("the header is longer than 4088 bytes")
    return struct.pack("<Q", room) + text.ljust(room)


def _parse_header(data: bytes) -> tuple[EntryInfo, str]:
    """What an entry says of itself, and the content hash of its video."""
    header = read_header(data)
    metadata = header.pop("__metadata__")
    version = metadata["format_version"]
    if version != str(FORMAT_VERSION):
        raise EntryError(
            f"has format {version}; this version reads {FORMAT_VERSION}: run `dvc repro`, and "
            "`slowfast clips prune` to remove it"
        )
    values = json.loads(metadata["info"])
    info = EntryInfo(**{**values, "facts": VideoFacts.model_validate(values["facts"])})
    shape = [info.num_frames, info.height, info.width, 3]
    if not all(type(side) is int for side in shape):
        raise ValueError("a shape of integers is expected")
    frames = header["frames"]["shape"] if "frames" in header else [*header["spans"]["shape"]]
    if frames != (shape if "frames" in header else [info.num_frames, 2]):
        raise ValueError("shape and facts differ")
    if info.stored_bytes != HEADER_BYTES + max(each["data_offsets"][1] for each in header.values()):
        raise ValueError("length and shape differ")
    return info, metadata["content_hash"]
