"""The facts about one video, from the decoder to the report, and their record while decoding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pydantic

from slowfast_finetune.base.errors import VideoError

DAMAGED_BELOW = 0.95
# Above it, a stated rate may be but the tick of the file's clock: Matroska's milliseconds, DV's.
MOST_FRAMES_A_SECOND = 240


class VideoFacts(pydantic.BaseModel):
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
        pixel_aspect: width of a coded pixel by its height; ``source_width`` is in square ones.
        dynamic_range: "sdr"; "hlg" or "pq" where HDR was mapped to SDR.
        interlaced: a frame was filmed in two fields.
        clock_leaps: leaps of the file's clock that were closed.
        remarks: what else a person may want to know; None if nothing.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    source_height: int
    source_width: int
    source_fps: float
    has_audio: bool
    duration_seconds: float
    decoder: str
    decodable_fraction: float
    damaged: bool
    truncated: bool
    pixel_aspect: float
    dynamic_range: Literal["sdr", "hlg", "pq"]
    interlaced: bool
    clock_leaps: int
    remarks: str | None

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
        num_packets: packets that hold frames to show, as far as was read, and those missing.
        num_lost: packets among them that gave no frame and should have.
        num_decoded: frames that were decoded.
        num_errors: packets that failed to decode, and frames decoded with faults.
        duration_seconds: from the first frame shown to the end of the last, as far as was read.
        truncated: the video goes on after ``max_seconds``.
        pixel_aspect, dynamic_range, interlaced: as in :class:`VideoFacts`.
        num_leaps: leaps of the file's clock that were closed.
        remarks: what else a person may want to know.
    """

    codec: str = ""
    source_width: int = 0
    source_height: int = 0
    source_fps: float = 0.0
    has_audio: bool = False
    num_packets: int = 0
    num_lost: int = 0
    num_decoded: int = 0
    num_errors: int = 0
    duration_seconds: float = 0.0
    truncated: bool = False
    pixel_aspect: float = 1.0
    dynamic_range: Literal["sdr", "hlg", "pq"] = "sdr"
    interlaced: bool = False
    num_leaps: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def decodable_fraction(self) -> float:
        """Share of the packets that were not lost, from 0 to 1, however many make a frame."""
        if self.num_decoded == 0:
            return 0.0
        return max(0.0, 1 - self.num_lost / max(self.num_packets, self.num_lost, 1))

    def remark(self, text: str) -> None:
        """Note something once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def _believable_fps(self) -> float:
        """The stated rate; where that is a mere tick of the clock, what was counted."""
        if self.source_fps <= MOST_FRAMES_A_SECOND or not self.duration_seconds:
            return self.source_fps
        counted = self.num_decoded / self.duration_seconds
        return self.source_fps if counted > self.source_fps / 2 else round(counted, 3)

    def facts(self) -> VideoFacts:
        """The facts, once the frames are exhausted."""
        return VideoFacts(
            source_height=self.source_height,
            source_width=self.source_width,
            source_fps=self._believable_fps(),
            has_audio=self.has_audio,
            duration_seconds=round(self.duration_seconds, 6),
            decoder=f"pyav/{self.codec}",
            decodable_fraction=round(self.decodable_fraction, 4),
            damaged=self.num_errors > 0 or self.decodable_fraction < DAMAGED_BELOW,
            truncated=self.truncated,
            pixel_aspect=round(self.pixel_aspect, 4),
            dynamic_range=self.dynamic_range,
            interlaced=self.interlaced,
            clock_leaps=self.num_leaps,
            remarks="; ".join(self.remarks) or None,
        )
