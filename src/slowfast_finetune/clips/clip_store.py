"""The clip store: one safetensors file per video and setting.

    <root>/<settings digest>/settings.json
    <root>/<settings digest>/<content hash>.safetensors
    <root>/<settings digest>/<content hash>/<first>-<end>.safetensors

Of a video with labelled parts there is an entry for each range of frames that they need. The path
from the settings' folder, without the suffix, is the key of an entry.

An entry holds frames, RGB, upright, at ``sample_fps``, padded to at least ``num_frames``: raw, as
uint8 (F, H, W, 3), or as one JPEG each; and, as metadata, what decoding found. The header is padded
to 4096 bytes, so frames begin on a page and can be written before their number is known.
docs/formats.md has the byte layout.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import read_errors, write_text
from slowfast_finetune.base.params import ClipParams
from slowfast_finetune.clips import stored_frames
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.stored_frames import HEADER_BYTES, Frames
from slowfast_finetune.decoding.sampling import FrameRange
from slowfast_finetune.decoding.video_facts import VideoFacts

FORMAT_VERSION = 4
SUFFIX = ".safetensors"
SETTINGS_NAME = "settings.json"
_RANGE = re.compile(rf"(\d+)-(\d+)\{SUFFIX}")
CHECKED_AT_ONCE = 2**24  # bytes of an entry that verifying reads at a time


class EntryError(DataError):
    """An entry is not there or cannot be trusted; it has to be decoded again."""


class EntryInfo(pydantic.BaseModel):
    """What an entry says of itself."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    num_frames: int  # frames stored, padding included
    num_sampled: int  # frames before padding
    height: int  # of the stored frames [px]
    width: int  # of the stored frames [px]
    facts: VideoFacts  # what the decoder found
    # CRC-32 of all bytes after the header, 8 hex digits: against decay, not against people.
    checksum: str
    stored_bytes: int  # length of the file
    frames: FrameRange | None = None  # which frames of the video were to be stored; None for all

    @property
    def raw_bytes(self) -> int:
        """What the frames take without encoding [bytes]."""
        return self.num_frames * self.height * self.width * 3

    @property
    def video_end(self) -> int | None:
        """How many frames the video has; None where the entry ends before it does."""
        if self.frames is None:
            return self.num_sampled
        end = self.frames.first + self.num_sampled
        return end if end < self.frames.end else None


def settings_digest(clip: ClipParams) -> str:
    """Names the corner of the store that holds clips of these settings: 16 hex digits."""
    values = clip.model_dump()
    if clip.encoding == "raw":
        del values["jpeg_quality"]  # changes nothing
    text = json.dumps({"format": FORMAT_VERSION, **values}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def range_key(content_hash: str, frames: FrameRange) -> str:
    """The key of the entry of a range of a video's frames."""
    return f"{content_hash}/{frames.first}-{frames.end}"


def range_of(key: str) -> FrameRange | None:
    """The range that a key names; None for the whole video."""
    _, is_range, numbers = key.partition("/")
    return FrameRange(*map(int, numbers.split("-"))) if is_range else None


def stored_size(frame: Frames, clip: ClipParams) -> int:
    """What a frame takes in the store under these settings [bytes]."""
    if clip.encoding == "raw":
        return frame.nbytes
    return len(stored_frames.encode_jpeg(frame, quality=clip.jpeg_quality))


class EntryFolder:
    """A folder whose files are named by the keys of entries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where an entry lies or will lie."""
        return self.folder / f"{key}{SUFFIX}"


class StoredClips(EntryFolder):
    """The entries of a folder, by their keys: the content hash of the video, for the whole."""

    def settings(self) -> ClipParams:
        """How the clips of this folder were made.

        Raises:
            EntryError: the file that says so is missing or damaged.
        """
        path = self.folder / SETTINGS_NAME
        try:
            return ClipParams.restored(json.loads(path.read_text(encoding="utf-8"))["clip"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EntryError(f"{path}: is missing or damaged") from error

    def find(self, content_hash: str, needed: FrameRange) -> FrameRange | None:
        """An entry's range of a video's frames that covers another; None if there is none.

        What lies after the end of the video counts as held.
        """
        try:
            names = [path.name for path in (self.folder / content_hash).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = [FrameRange(*map(int, m.groups())) for n in names if (m := _RANGE.fullmatch(n))]
        return min((held for held in found if held.covers(needed)), default=None)

    def clip(self, row: ClipRow) -> stored_frames.StoredFrames:
        """Map the frames of a case's clip, (num_frames, H, W, 3), wherever they are stored.

        Raises:
            EntryError: there is no such entry, or it is cut short.
        """
        if row.start_seconds is None:
            return self.frames(row.content_hash)
        end = row.first_frame + row.num_frames
        held = self.find(row.content_hash, FrameRange(row.first_frame, end))
        if held is None:
            raise EntryError(f"{self.folder / row.content_hash}: holds no such part of the video")
        key = range_key(row.content_hash, held)
        try:
            return self.frames(key).section(row.first_frame - held.first, row.num_frames)
        except ValueError as error:
            raise EntryError(f"{self.path(key)}: {error}") from error

    def info(self, key: str) -> EntryInfo:
        """Read and check an entry's header: format, video, shape against the file's length.

        Raises:
            EntryError: missing, cut short, or not what its name says.
        """
        path = self.path(key)
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
        if owner != key:
            raise EntryError(f"{path}: holds another video, {owner}")
        if size != info.stored_bytes:
            raise EntryError(f"{path}: has {size} bytes, its header tells {info.stored_bytes}")
        return info

    def sizes(self) -> dict[str, int]:
        """The length of the file of every whole video by key [bytes], from one listing."""
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

    def frames(self, key: str) -> stored_frames.StoredFrames:
        """Map an entry's frames, read-only; they are read from disk when touched.

        Raises:
            EntryError: the file is missing, cut short or no entry.
        """
        path = self.path(key)
        try:
            return stored_frames.open_frames(path)
        except (OSError, ValueError) as error:
            raise EntryError(f"{path}: cannot be mapped: {error}") from error

    def verify(self, key: str) -> EntryInfo:
        """Read a whole entry and compare its checksum.

        Raises:
            EntryError: as :meth:`info`, or the bytes have changed since they were written.
        """
        info = self.info(key)
        path = self.path(key)
        checksum = 0
        with read_errors(path, EntryError), path.open("rb") as file:
            file.seek(HEADER_BYTES)
            while part := file.read(CHECKED_AT_ONCE):
                checksum = zlib.crc32(part, checksum)
        if f"{checksum:08x}" != info.checksum:
            raise EntryError(f"{path}: the checksum does not match")
        return info


class ClipStore(StoredClips):
    """The entries of one setting, to be read and written; ``params`` is that setting."""

    def __init__(self, root: Path, clip: ClipParams) -> None:
        super().__init__(root / settings_digest(clip))
        self.params = clip
        # Marks the temporary files of this run, whose workers have copies of this object: another
        # run may share the folder.
        self._run_name = f"{os.getpid():x}-{os.urandom(4).hex()}"

    def prepare(self) -> None:
        """Make the folder and write down its settings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / SETTINGS_NAME
        if not settings.exists():
            values = {"format_version": FORMAT_VERSION, "clip": self.params.model_dump()}
            write_text(settings, json.dumps(values, indent=2) + "\n")

    @contextmanager
    def writer(self, key: str) -> Iterator[EntryWriter]:
        """Write an entry frame by frame; it appears under its name only when finished.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        quality = self.params.jpeg_quality if self.params.encoding == "jpeg" else None
        self.prepare()
        temporary = self._temporary(key)
        try:
            with temporary.open("w+b") as file:
                file.seek(HEADER_BYTES)
                writer = EntryWriter(file, key, jpeg_quality=quality)
                yield writer
                if not writer.finished:
                    raise AssertionError("the entry was not finished")
            temporary.chmod(0o644)
            self.path(key).parent.mkdir(exist_ok=True)
            temporary.replace(self.path(key))
        finally:
            temporary.unlink(missing_ok=True)

    def discard_temporary(self, key: str) -> None:
        """Delete what a killed writer of this run left of an entry."""
        # By its name: to search the folder for it would take longer with every entry there is.
        self._temporary(key).unlink(missing_ok=True)

    def _temporary(self, key: str) -> Path:
        return self.folder / f".{key.replace('/', '.')}.{self._run_name}.tmp"


class EntryWriter:
    """Takes frames one by one, then the facts about them.

    Args:
        jpeg_quality: 1 to 100; None stores frames as they are.
    """

    def __init__(self, file: Any, key: str, *, jpeg_quality: int | None) -> None:
        self._file = file
        self._key = key
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
            data = stored_frames.encode_jpeg(frame, quality=self._jpeg_quality)
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
            frames=range_of(self._key),
        )
        self._file.seek(0)
        self._file.write(_format_header(info, self._key, tensors))
        self.finished = True
        return info

    def _write(self, data: bytes | memoryview) -> None:
        self._checksum = zlib.crc32(data, self._checksum)
        self._file.write(data)
        self._num_bytes += len(data)


def _format_header(info: EntryInfo, key: str, tensors: dict[str, tuple[str, list[int]]]) -> bytes:
    header: dict[str, Any] = {
        "__metadata__": {
            "format_version": str(FORMAT_VERSION),
            "content_hash": key,
            # safetensors allows text only as metadata, so the facts travel as one JSON text.
            "info": json.dumps(info.model_dump(exclude={"frames"})),  # the range is in the key
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
    """What an entry says of itself, and its key."""
    header = stored_frames.read_header(data)
    metadata = header.pop("__metadata__")
    version = metadata["format_version"]
    if version != str(FORMAT_VERSION):
        raise EntryError(
            f"has format {version}; this version reads {FORMAT_VERSION}: run `dvc repro`, and "
            "`slowfast clips prune` to remove it"
        )
    key = metadata["content_hash"]
    info = EntryInfo(**json.loads(metadata["info"]), frames=range_of(key))
    shape = [info.num_frames, info.height, info.width, 3]
    frames = header["frames"]["shape"] if "frames" in header else [*header["spans"]["shape"]]
    if frames != (shape if "frames" in header else [info.num_frames, 2]):
        raise ValueError("shape and facts differ")
    if info.stored_bytes != HEADER_BYTES + max(each["data_offsets"][1] for each in header.values()):
        raise ValueError("length and shape differ")
    return info, key
