"""What the doctor remembers of a video: its facts and a few tiny pictures, three kilobytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.manifest_table import ManifestRow, Split
from slowfast_finetune.clips.clip_store import ClipStore, EntryInfo
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.decoding.video_facts import VideoFacts

if TYPE_CHECKING:
    from PIL import Image

NUM_FRAMES = 5  # of each video, from the middles of as many equal parts
THUMBNAIL_SIDE = 24  # [px]
COLOUR_SIDE = 4  # [px]

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Look:
    """One video that can be decoded.

    Attributes:
        video_path, class_name, label, split, group, content_hash: as in the manifest.
        facts: what the decoder found.
        num_sampled: frames that ``clip.sample_fps`` takes of it, before padding.
        hashes: perceptual hash of each frame, uint64 (K,).
        thumbnails: the frames in grey, squeezed to a square, uint8 (K, 24, 24).
        colours: mean colours of the frames, uint8 (4, 4, 3).
        frame_bytes: what a frame takes in the clip store, by these frames [bytes].
    """

    video_path: str
    class_name: str
    label: int
    split: Split
    group: str | None
    content_hash: str
    facts: VideoFacts
    num_sampled: int
    hashes: npt.NDArray[np.uint64]
    thumbnails: Frames
    colours: Frames
    frame_bytes: float


@dataclass(frozen=True)
class Refused:
    """A video that cannot be used; ``reason`` is a code of docs/formats.md."""

    video_path: str
    class_name: str
    split: str
    reason: str
    detail: str


@dataclass(frozen=True, eq=False)
class Pictures:
    """The tiny pictures of a :class:`Look`; shapes as there."""

    hashes: npt.NDArray[np.uint64]
    thumbnails: Frames
    colours: Frames


def tiny_pictures(frames: Sequence[Frames]) -> Pictures:
    """Shrink a few frames, each uint8 (H, W, 3), to what a look keeps of them."""
    from PIL import Image

    box = Image.Resampling.BOX
    images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    small = [np.asarray(image.convert("L").resize(side, box)) for image in images]
    colours = [np.asarray(image.resize((COLOUR_SIDE, COLOUR_SIDE), box)) for image in images]
    return Pictures(
        hashes=np.array([_perceptual_hash(image) for image in images], np.uint64),
        thumbnails=np.stack(small),
        colours=np.mean(colours, axis=0).round().astype(np.uint8),
    )


def _perceptual_hash(image: Image.Image) -> int:
    """64 bits: which low frequencies of the picture lie above their median (imagehash.phash)."""
    import imagehash

    return int.from_bytes(np.packbits(imagehash.phash(image).hash.ravel()).tobytes(), "big")


def spread(num_frames: int, count: int) -> list[int]:
    """Indices in the middles of ``count`` equal parts of ``num_frames`` frames."""
    return [math.floor((2 * part + 1) * num_frames / (2 * count)) for part in range(count)]


def looks_from_store(rows: Sequence[ManifestRow | ClipRow], store: ClipStore) -> list[Look]:
    """Look at videos that ``cache`` has decoded: a few frames of each, read from the store.

    Raises:
        EntryError: an entry is missing or cut short.
    """
    return [look_at_entry(row, store.info(row.content_hash), store) for row in rows]


def look_at_entry(row: ManifestRow | ClipRow, info: EntryInfo, store: ClipStore) -> Look:
    """Look at one entry of the store."""
    frames = frames_of_entry(row, info, store)
    return make_look(
        row,
        frames,
        facts=info.facts,
        num_sampled=info.num_sampled,
        frame_bytes=info.stored_bytes / info.num_frames,
    )


def frames_of_entry(
    row: ManifestRow | ClipRow, info: EntryInfo, store: ClipStore
) -> list[npt.NDArray[np.uint8]]:
    """The frames of an entry that a look is made of, each uint8 (H, W, 3)."""
    stored = store.frames(row.content_hash)
    return [stored[index] for index in spread(info.num_sampled, NUM_FRAMES)]


def make_look(
    row: ManifestRow | ClipRow,
    frames: Sequence[Frames],
    *,
    facts: VideoFacts,
    num_sampled: int,
    frame_bytes: float,
) -> Look:
    """Put together what the manifest, the decoder and the frames say of a video."""
    pictures = tiny_pictures(frames)
    return Look(
        video_path=row.video_path,
        class_name=row.class_name,
        label=row.label,
        split=row.split,
        group=row.group,
        content_hash=row.content_hash,
        facts=facts,
        num_sampled=num_sampled,
        hashes=pictures.hashes,
        thumbnails=pictures.thumbnails,
        colours=pictures.colours,
        frame_bytes=frame_bytes,
    )
