"""data/clips.csv and data/rejected.csv: every video of the manifest is a row in one of them."""

from __future__ import annotations

from slowfast_finetune.base.files import Row
from slowfast_finetune.base.manifest_table import Split


class ClipRow(Row):
    """One usable video.

    Attributes:
        num_frames: frames in the store, padding included.
        num_sampled: frames before padding; fewer than ``num_frames`` means padded.
        height, width: of the stored frames [px].
        source_height, source_width: of the upright original [px].
        source_fps: frames a second as the file states it; 0 where it does not.
        has_audio: there is a sound track.
        duration_seconds: of what was decoded.
        decoder: what decoded it, "pyav/" and FFmpeg's name of the codec.
        decodable_fraction: share of the claimed frames that decoded, rounded to 4 digits.
        damaged: frames were lost or decoded with faults.
        truncated: the video is longer than ``clip.max_seconds``; the rest was left out.
        settings: digest of the clip settings, the folder in the clip store.
    """

    video_path: str
    class_name: str
    label: int
    split: Split
    group: str | None
    content_hash: str
    num_frames: int
    num_sampled: int
    height: int
    width: int
    source_height: int
    source_width: int
    source_fps: float
    has_audio: bool
    duration_seconds: float
    decoder: str
    decodable_fraction: float
    damaged: bool
    truncated: bool
    settings: str


class RejectedRow(Row):
    """One refused video: ``reason`` is a code, ``detail`` a sentence."""

    video_path: str
    class_name: str
    split: Split
    content_hash: str
    reason: str
    detail: str
