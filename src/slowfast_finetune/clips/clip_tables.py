"""data/clips.csv and data/rejected.csv: every case of the manifest is a row in one of them."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from slowfast_finetune.base import manifest_table as columns
from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.tables import Table
from slowfast_finetune.decoding import video_facts
from slowfast_finetune.decoding.video_facts import VideoFacts

# One set for the facts of all rows: a set for each would take 700 bytes more.
_FACTS = set(VideoFacts.model_fields)


class ClipRow(NamedTuple):
    """One usable case: its columns of the manifest, the facts about it, and its stored clip."""

    video_path: columns.VideoPath
    class_name: columns.ClassName
    label: columns.Label
    split: columns.SplitName
    group: columns.Group
    content_hash: columns.ContentHash
    start_seconds: columns.StartSeconds
    end_seconds: columns.EndSeconds
    source_height: video_facts.SourceHeight
    source_width: video_facts.SourceWidth
    source_fps: video_facts.SourceFps
    has_audio: video_facts.HasAudio
    duration_seconds: video_facts.Seconds
    decoder: video_facts.Decoder
    decodable_fraction: video_facts.DecodableFraction
    damaged: video_facts.IsDamaged
    truncated: video_facts.IsTruncated
    pixel_aspect: video_facts.PixelAspect
    dynamic_range: video_facts.FoundRange
    interlaced: video_facts.IsInterlaced
    clock_leaps: video_facts.ClockLeaps
    remarks: video_facts.Remarks
    first_frame: Annotated[int, "the clip's first frame, counted from the video's first, from 0"]
    num_frames: Annotated[int, "frames of the clip, padding included"]
    num_sampled: Annotated[int, "frames before padding; fewer than `num_frames` means padded"]
    num_around: Annotated[
        int, "frames of the padding that are the video's own, from around the part; others repeat"
    ]
    height: Annotated[int, "height of the stored frames", "pixels"]
    width: Annotated[int, "width of the stored frames", "pixels"]
    stored_bytes: Annotated[
        int,
        "length of the entry in the clip store; 0 for a part, whose entry may hold others too",
        "bytes",
    ]
    settings: Annotated[str, "the folder in the clip store that holds the entry", "16 hex digits"]

    @property
    def case(self) -> str:
        """The name of the case, see :func:`manifest_table.case_name`."""
        return columns.case_name(self.video_path, self.start_seconds, self.end_seconds)

    @property
    def facts(self) -> VideoFacts:
        """The facts about the video; they are columns of the row itself."""
        return VideoFacts.model_construct(
            _FACTS, **{name: getattr(self, name) for name in VideoFacts.model_fields}
        )


class RejectedRow(NamedTuple):
    """One refused case."""

    video_path: columns.VideoPath
    class_name: columns.ClassName
    split: columns.SplitName
    content_hash: columns.ContentHash
    reason: Annotated[str, "a code of the list below"]
    detail: Annotated[str, "what was found, in a sentence"]
    start_seconds: columns.StartSeconds = None
    end_seconds: columns.EndSeconds = None

    @classmethod
    def of(cls, row: columns.ManifestRow, refusal: VideoError) -> RejectedRow:
        """The row of a case of the manifest; times that cannot be are a fault of its table."""
        detail = refusal.detail
        if refusal.reason == "past_end" and row.table_row is not None:
            detail = f"row {row.table_row} of the table of labels: {detail}"
        shared = {name: getattr(row, name) for name in cls._fields if hasattr(row, name)}
        return cls(**shared, reason=refusal.reason, detail=detail)

    @property
    def case(self) -> str:
        """The name of the case, see :func:`manifest_table.case_name`."""
        return columns.case_name(self.video_path, self.start_seconds, self.end_seconds)


CLIPS = Table("data/clips.csv", ClipRow, version=4)
REJECTED = Table("data/rejected.csv", RejectedRow, version=2)
