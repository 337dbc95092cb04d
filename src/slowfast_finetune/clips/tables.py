"""data/clips.csv and data/rejected.csv: every video of the manifest is a row in one of them."""

from __future__ import annotations

from slowfast_finetune.base.files import Row
from slowfast_finetune.base.manifest_table import ManifestRow, Split
from slowfast_finetune.decoding.video_facts import VideoFacts


class ClipRow(VideoFacts, ManifestRow):
    """One usable video: its row of the manifest, the facts about it, and its clip in the store.

    Attributes:
        num_frames: frames in the store, padding included.
        num_sampled: frames before padding; fewer than ``num_frames`` means padded.
        height, width: of the stored frames [px].
        settings: digest of the clip settings, the folder in the clip store.
    """

    num_frames: int
    num_sampled: int
    height: int
    width: int
    settings: str

    @property
    def facts(self) -> VideoFacts:
        """The facts about the video; they are columns of the row itself."""
        return self


class RejectedRow(Row):
    """One refused video: ``reason`` is a code, ``detail`` a sentence."""

    video_path: str
    class_name: str
    split: Split
    content_hash: str
    reason: str
    detail: str
