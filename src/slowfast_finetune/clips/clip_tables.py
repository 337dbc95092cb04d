"""data/clips.csv and data/rejected.csv: every video of the manifest is a row in one of them."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from slowfast_finetune.base.manifest_table import (
    ClassName,
    ContentHash,
    Group,
    Label,
    SplitName,
    VideoPath,
)
from slowfast_finetune.base.tables import SHARE, Table
from slowfast_finetune.decoding.video_facts import VideoFacts


class ClipRow(NamedTuple):
    """One usable video: its columns of the manifest, the facts about it, and its stored clip."""

    video_path: VideoPath
    class_name: ClassName
    label: Label
    split: SplitName
    group: Group
    content_hash: ContentHash
    source_height: Annotated[int, "height of the upright original", "pixels"]
    source_width: Annotated[int, "width of the upright original", "pixels"]
    source_fps: Annotated[float, "as the file states it; 0 where it does not", "frames a second"]
    has_audio: Annotated[bool, "there is a sound track"]
    duration_seconds: Annotated[float, "duration of what was decoded", "seconds"]
    decoder: Annotated[str, "`pyav/` and FFmpeg's name of the codec"]
    decodable_fraction: Annotated[
        float,
        "packets that decoded as a share of those there should be, however many make a frame",
        SHARE,
    ]
    damaged: Annotated[bool, "packets failed to decode, or under 0.95 of them decoded"]
    truncated: Annotated[bool, "longer than `clip.max_seconds`; the rest was left out"]
    pixel_aspect: Annotated[
        float, "width of a coded pixel by its height; frames are scaled to square ones"
    ]
    dynamic_range: Annotated[Literal["sdr", "hlg", "pq"], "HDR (HLG, PQ) is mapped to SDR"]
    interlaced: Annotated[bool, "a frame was filmed in two fields"]
    clock_leaps: Annotated[int, "leaps of the file's clock that were closed"]
    remarks: Annotated[
        str | None,
        "which of several video streams was used, a pixel shape that cannot be true, "
        "a picture that changes its shape",
    ]
    num_frames: Annotated[int, "frames in the store, padding included"]
    num_sampled: Annotated[int, "frames before padding; fewer than `num_frames` means padded"]
    height: Annotated[int, "height of the stored frames", "pixels"]
    width: Annotated[int, "width of the stored frames", "pixels"]
    stored_bytes: Annotated[int, "length of the entry in the clip store", "bytes"]
    settings: Annotated[str, "the folder in the clip store that holds the entry", "16 hex digits"]

    @property
    def facts(self) -> VideoFacts:
        """The facts about the video; they are columns of the row itself."""
        return VideoFacts.model_construct(
            **{name: getattr(self, name) for name in VideoFacts.model_fields}
        )


class RejectedRow(NamedTuple):
    """One refused video."""

    video_path: VideoPath
    class_name: ClassName
    split: SplitName
    content_hash: ContentHash
    reason: Annotated[str, "a code of the list below"]
    detail: Annotated[str, "what was found, in a sentence"]


CLIPS = Table("data/clips.csv", ClipRow, version=3)
REJECTED = Table("data/rejected.csv", RejectedRow, version=1)
