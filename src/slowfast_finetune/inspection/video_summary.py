"""Summarise a video for the checks: its metadata and a few tiny pictures, about 4 KB."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.manifest_table import ManifestRow, Split, case_name
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.decoding.video_facts import VideoFacts

NUM_FRAMES = 5  # per video, from the middles of five equal parts
THUMBNAIL_SIDE = 24  # [px]
COLOUR_SIDE = 4  # [px]
MAX_VIDEOS = 10_000

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True)
class VideoSummary:
    """Metadata and tiny pictures of one decodable video; the manifest's columns are as there."""

    video_path: str
    class_name: str
    label: int
    split: Split
    group: str | None
    content_hash: str
    facts: VideoFacts
    num_sampled: int  # frames at ``clip.sample_fps``, before padding
    hashes: npt.NDArray[np.uint64]  # perceptual hash of each of K frames (K,)
    thumbnails: Frames  # the frames in grey, squeezed to a square (K, 24, 24)
    colours: Frames  # mean colours of the frames (4, 4, 3)
    frame_bytes: float  # size in the clip store over the number of frames [bytes]
    start_seconds: float | None = None
    end_seconds: float | None = None

    @property
    def case(self) -> str:
        """The name of the case, see :func:`manifest_table.case_name`."""
        return case_name(self.video_path, self.start_seconds, self.end_seconds)


def sample(videos: Sequence[VideoSummary]) -> list[VideoSummary]:
    """Draw at most ``MAX_VIDEOS`` videos in their order, to bound the time of slow checks."""
    chosen = list(range(len(videos)))
    if len(videos) > MAX_VIDEOS:
        rng = np.random.default_rng(0)
        chosen = sorted(rng.choice(len(videos), MAX_VIDEOS, replace=False).tolist())
    return [videos[i] for i in chosen]


def middle_indices(num_frames: int, count: int) -> list[int]:
    """Return the middle index of each of ``count`` equal parts of ``num_frames`` frames."""
    return [math.floor((2 * part + 1) * num_frames / (2 * count)) for part in range(count)]


def summarise_entry(row: ClipRow, store: ClipStore) -> tuple[VideoSummary, list[Frames]]:
    """Summarise a stored clip, and return the frames used, each uint8 (H, W, 3).

    Raises:
        EntryError: the entry is missing or cut short.
    """
    stored = store.clip(row)
    shown = row.num_sampled + row.num_around
    frames = [stored[index] for index in middle_indices(shown, NUM_FRAMES)]
    size = (row.stored_bytes or stored.nbytes) / row.num_frames
    summary = make_summary(
        row, frames, facts=row.facts, num_sampled=row.num_sampled, frame_bytes=size
    )
    return summary, frames


def make_summary(
    row: ManifestRow | ClipRow,
    frames: Sequence[Frames],
    *,
    facts: VideoFacts,
    num_sampled: int,
    frame_bytes: float,
) -> VideoSummary:
    """Combine the manifest's row, the decoder's metadata and the frames, each uint8 (H, W, 3)."""
    import imagehash
    from PIL import Image

    box = Image.Resampling.BOX
    images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    grey = [np.asarray(image.convert("L").resize(side, box)) for image in images]
    # 64 bits each, which low frequencies exceed their median.
    bits = [np.packbits(imagehash.phash(image).hash.ravel()).tobytes() for image in images]
    colours = [np.asarray(image.resize((COLOUR_SIDE, COLOUR_SIDE), box)) for image in images]
    return VideoSummary(
        **{name: getattr(row, name) for name in ManifestRow._fields if name != "table_row"},
        facts=facts,
        num_sampled=num_sampled,
        hashes=np.array([int.from_bytes(each, "big") for each in bits], np.uint64),
        thumbnails=np.stack(grey),
        colours=np.mean(colours, axis=0).round().astype(np.uint8),
        frame_bytes=frame_bytes,
    )
