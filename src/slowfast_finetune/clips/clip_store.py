"""The clip store: one safetensors file per video and setting. Nobody else opens these files.

    <root>/<settings digest>/settings.json
    <root>/<settings digest>/<content hash>.safetensors

An entry holds ``frames``: uint8 (F, H, W, 3), RGB, upright, at ``sample_fps``, padded to at least
``num_frames``; and, as metadata, what decoding found. The header is padded to 4096 bytes, so
frames begin on a page and can be written before their number is known. docs/formats.md has the
byte layout.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.params import ClipParams
from slowfast_finetune.decoding.video_facts import VideoFacts

FORMAT_VERSION = 3
HEADER_BYTES = 4096
SUFFIX = ".safetensors"

Frames = npt.NDArray[np.uint8]


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
        checksum: CRC-32 of the frame bytes, 8 hex digits: against decay, not against people.
    """

    num_frames: int
    num_sampled: int
    height: int
    width: int
    facts: VideoFacts
    checksum: str


def settings_digest(clip: ClipParams) -> str:
    """Names the corner of the store that holds clips of these settings: 16 hex digits."""
    text = json.dumps({"format": FORMAT_VERSION, **clip.model_dump()}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def entry_bytes(num_frames: int, height: int, width: int) -> int:
    """How long the file of an entry of this shape is [bytes]."""
    return HEADER_BYTES + num_frames * height * width * 3


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
                header = _parse_header(file.read(HEADER_BYTES))
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError as error:
            raise EntryError(f"{path}: no such entry") from error
        except OSError as error:
            raise EntryError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, struct.error, RecursionError) as error:
            raise EntryError(f"{path}: the header is damaged") from error
        info, owner = header
        if owner != content_hash:
            raise EntryError(f"{path}: holds another video, {owner}")
        expected = entry_bytes(info.num_frames, info.height, info.width)
        if size != expected:
            raise EntryError(f"{path}: has {size} bytes, its header tells {expected}")
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

    def frames(self, content_hash: str, info: EntryInfo) -> Frames:
        """Map an entry's frames: uint8 (F, H, W, 3), read-only, read from disk when touched.

        Args:
            info: as read by :meth:`info` or written in clips.csv; the shape is taken from it.

        Raises:
            EntryError: the file is missing or shorter than ``info`` says.
        """
        path = self.path(content_hash)
        shape = (info.num_frames, info.height, info.width, 3)
        try:
            return map_frames(path, shape)
        except (OSError, ValueError) as error:
            raise EntryError(f"{path}: cannot be mapped: {error}") from error

    def verify(self, content_hash: str) -> EntryInfo:
        """Read a whole entry and compare its checksum.

        Raises:
            EntryError: as :meth:`info`, or the bytes have changed since they were written.
        """
        info = self.info(content_hash)
        frames = self.frames(content_hash, info)
        if _checksum(frames.tobytes()) != info.checksum:
            raise EntryError(f"{self.path(content_hash)}: the checksum does not match")
        return info

    @contextmanager
    def writer(self, content_hash: str, *, run_name: str = "") -> Iterator[EntryWriter]:
        """Write an entry frame by frame; it appears under its name only when finished.

        Args:
            run_name: marks the temporary file, for :meth:`discard_temporary`.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        self.prepare()
        temporary = self._temporary(content_hash, run_name)
        try:
            with temporary.open("w+b") as file:
                file.seek(HEADER_BYTES)
                writer = EntryWriter(file, content_hash)
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
    """Takes frames one by one, then the facts about them."""

    def __init__(self, file: Any, content_hash: str) -> None:
        self._file = file
        self._content_hash = content_hash
        self._checksum = 0
        self.num_frames = 0
        self.shape: tuple[int, ...] = ()
        self.finished = False

    def append(self, frame: Frames) -> None:
        """Add a frame, uint8 (H, W, 3), of the same shape as those before."""
        if self.shape not in ((), frame.shape):
            raise AssertionError(f"frame of {frame.shape} in a clip of {self.shape}")
        self.shape = frame.shape
        data = np.ascontiguousarray(frame).data.cast("B")
        self._checksum = zlib.crc32(data, self._checksum)
        self._file.write(data)
        self.num_frames += 1

    def read_back(self, index: int) -> Frames:
        """A frame written earlier, uint8 (H, W, 3); padding needs it again."""
        size = int(np.prod(self.shape))
        self._file.flush()
        data = os.pread(self._file.fileno(), size, HEADER_BYTES + index * size)
        return np.frombuffer(data, np.uint8).reshape(self.shape)

    def finish(self, facts: VideoFacts, *, num_sampled: int) -> EntryInfo:
        """Write the header with what only the decoder knows."""
        height, width, _ = self.shape
        info = EntryInfo(
            num_frames=self.num_frames,
            num_sampled=num_sampled,
            height=height,
            width=width,
            facts=facts,
            checksum=f"{self._checksum:08x}",
        )
        self._file.seek(0)
        self._file.write(_format_header(info, self._content_hash))
        self.finished = True
        return info


def _checksum(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"


def _format_header(info: EntryInfo, content_hash: str) -> bytes:
    shape = [info.num_frames, info.height, info.width, 3]
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "content_hash": content_hash,
        # safetensors allows text only as metadata, so the facts travel as one JSON text.
        "info": json.dumps({**vars(info), "facts": info.facts.model_dump()}),
    }
    frames = {"dtype": "U8", "shape": shape, "data_offsets": [0, int(np.prod(shape))]}
    text = json.dumps({"__metadata__": metadata, "frames": frames}).encode()
    room = HEADER_BYTES - 8
    if len(text) > room:
        raise AssertionError("the header outgrew its room")
    return struct.pack("<Q", room) + text.ljust(room)


def _parse_header(data: bytes) -> tuple[EntryInfo, str]:
    (length,) = struct.unpack_from("<Q", data)
    if length != HEADER_BYTES - 8 or len(data) != HEADER_BYTES:
        raise ValueError("not one of ours")
    header = json.loads(data[8:])
    metadata = header["__metadata__"]
    if metadata["format_version"] != str(FORMAT_VERSION):
        raise ValueError("another format version")
    values = json.loads(metadata["info"])
    info = EntryInfo(**{**values, "facts": VideoFacts.model_validate(values["facts"])})
    shape = [info.num_frames, info.height, info.width, 3]
    if header["frames"]["shape"] != shape or not all(type(side) is int for side in shape):
        raise ValueError("shape and facts differ")
    return info, metadata["content_hash"]


def map_frames(path: Path, shape: tuple[int, int, int, int]) -> Frames:
    """Map the frames of an entry: uint8 ``shape``, read-only.

    Raises:
        OSError, ValueError: the file is missing or too short.
    """
    # Not numpy.memmap: it opens, seeks and wraps in Python and takes three times as long.
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapping, np.uint8, count=int(np.prod(shape)), offset=HEADER_BYTES).reshape(
        shape
    )
