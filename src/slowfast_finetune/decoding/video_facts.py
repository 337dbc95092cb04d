"""The facts about one video, from the decoder to the report, and their record while decoding."""

from __future__ import annotations

from dataclasses import dataclass

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.files import Row

DAMAGED_BELOW = 0.95


class VideoFacts(Row):
    """Facts about one decoded video; columns of clips.csv and part of every clip store entry.

    Attributes:
        source_height, source_width: of the upright original [px].
        source_fps: frames a second as the file states it; 0 where it does not.
        has_audio: there is a sound track.
        duration_seconds: from the first frame shown to the end of the last, as far as was read.
        decoder: what decoded it, "pyav/" and FFmpeg's name of the codec.
        decodable_fraction: share of the claimed frames that decoded, rounded to 4 digits.
        damaged: frames were lost or decoded with faults.
        truncated: the video is longer than ``clip.max_seconds``; the rest was left out.
    """

    source_height: int
    source_width: int
    source_fps: float
    has_audio: bool
    duration_seconds: float
    decoder: str
    decodable_fraction: float
    damaged: bool
    truncated: bool

    @property
    def size_text(self) -> str:
        """The size of the upright original, as a person reads it: "640×480"."""
        return f"{self.source_width}×{self.source_height}"

    def check_decodable(self, *, min_fraction: float) -> None:
        """Refuse a video of which too little decodes.

        Raises:
            VideoError: with the reason ``mostly_damaged``.
        """
        if self.decodable_fraction < min_fraction:
            raise VideoError(
                "mostly_damaged",
                f"{self.decodable_fraction:.1%} of the frames decode; "
                f"cache.min_decodable_fraction is {min_fraction:g}",
            )


@dataclass
class DecodeReport:
    """What is found while a video is decoded; complete once the frames are exhausted.

    Attributes:
        codec: FFmpeg's name of the decoder.
        source_width, source_height: of the upright picture [px].
        source_fps: frames a second as the file states it; 0 where it does not.
        has_audio: there is a sound track.
        num_packets: frames the file claims to show, as far as it was read.
        num_decoded: frames that were really decoded.
        num_errors: packets that failed to decode, and frames decoded with faults.
        duration_seconds: from the first frame shown to the end of the last, as far as was read.
        truncated: the video goes on after ``max_seconds``.
    """

    codec: str = ""
    source_width: int = 0
    source_height: int = 0
    source_fps: float = 0.0
    has_audio: bool = False
    num_packets: int = 0
    num_decoded: int = 0
    num_errors: int = 0
    duration_seconds: float = 0.0
    truncated: bool = False

    @property
    def decodable_fraction(self) -> float:
        """Share of the claimed frames that were decoded, from 0 to 1."""
        return min(1.0, self.num_decoded / max(self.num_packets, self.num_decoded, 1))

    def facts(self) -> VideoFacts:
        """The facts, once the frames are exhausted."""
        return VideoFacts(
            source_height=self.source_height,
            source_width=self.source_width,
            source_fps=self.source_fps,
            has_audio=self.has_audio,
            duration_seconds=round(self.duration_seconds, 6),
            decoder=f"pyav/{self.codec}",
            decodable_fraction=round(self.decodable_fraction, 4),
            damaged=self.num_errors > 0 or self.decodable_fraction < DAMAGED_BELOW,
            truncated=self.truncated,
        )
