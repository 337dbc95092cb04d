"""The facts about one video, from the decoder to the report, and their record while decoding."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pydantic

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.tables import SHARE

DAMAGED_BELOW = 0.95
# A higher stated rate may be the resolution of the file's time stamps: 1000 in Matroska.
MOST_FRAMES_A_SECOND = 240


# What is found out about a video: columns of clips.csv, with their meaning and unit.
SourceHeight = Annotated[int, "height of the upright original", "pixels"]
SourceWidth = Annotated[int, "width of the upright original, in square pixels", "pixels"]
SourceFps = Annotated[float, "as the file states it; 0 where it does not", "frames a second"]
HasAudio = Annotated[bool, "there is a sound track"]
Seconds = Annotated[
    float,
    "from the first frame shown to the end of the last that was read; of a part its own length",
    "seconds",
]
Decoder = Annotated[str, "`pyav/` and FFmpeg's name of the codec"]
DecodableFraction = Annotated[
    float,
    "packets that decoded as a share of those there should be, however many make a frame",
    SHARE,
]
IsDamaged = Annotated[bool, "packets failed to decode, or under 0.95 of them decoded"]
IsTruncated = Annotated[bool, "longer than `clip.max_seconds`; the rest was left out"]
PixelAspect = Annotated[
    float, "width of a coded pixel by its height; frames are scaled to square ones"
]
DynamicRange = Literal["sdr", "hlg", "pq"]
FoundRange = Annotated[DynamicRange, "HDR (HLG, PQ) is mapped to SDR"]
IsInterlaced = Annotated[bool, "a frame was filmed in two fields"]
ClockLeaps = Annotated[int, "leaps of the file's clock that were closed"]
Remarks = Annotated[
    str | None,
    "which of several video streams was used, a pixel shape that cannot be true, a picture that "
    "changes its shape",
]


class VideoFacts(pydantic.BaseModel):
    """Facts about one decoded video; columns of clips.csv and part of every clip store entry."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    source_height: SourceHeight
    source_width: SourceWidth
    source_fps: SourceFps
    has_audio: HasAudio
    duration_seconds: Seconds
    decoder: Decoder
    decodable_fraction: DecodableFraction
    damaged: IsDamaged
    truncated: IsTruncated
    pixel_aspect: PixelAspect
    dynamic_range: FoundRange
    interlaced: IsInterlaced
    clock_leaps: ClockLeaps
    remarks: Remarks

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

    The fields without a comment are those of :class:`VideoFacts`.
    """

    codec: str = ""  # FFmpeg's name of the decoder
    source_width: int = 0
    source_height: int = 0
    source_fps: float = 0.0
    has_audio: bool = False
    num_packets: int = 0  # that hold frames to show, as far as was read, and those missing
    num_lost: int = 0  # packets among them that gave no frame and should have
    num_decoded: int = 0  # frames that were decoded
    num_errors: int = 0  # packets that failed to decode, and frames decoded with faults
    duration_seconds: float = 0.0
    truncated: bool = False
    pixel_aspect: float = 1.0
    dynamic_range: DynamicRange = "sdr"
    interlaced: bool = False
    num_leaps: int = 0  # leaps of the file's clock that were closed
    in_ranges: bool = False  # parts are read; frames held back at the end of one are not lost
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
