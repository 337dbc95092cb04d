"""Schemas of the server's JSON responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

Rounded = Annotated[float, AfterValidator(lambda number: round(number, 6))]
Milliseconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3))]


class SegmentAnswer(BaseModel):
    """A stretch of the video with one answer."""

    answer: str | None = Field(description="a class, or null for none of these")
    start_seconds: Rounded
    end_seconds: Rounded
    confidence: Rounded = Field(description="mean probability of the answer over the stretch")


class ExplainedFrame(BaseModel):
    """A frame with high Grad-CAM weight, and its maps for the label."""

    seconds: float = Field(description="from the first frame")
    weight: float = Field(description="its share of the evidence, against the strongest frame")
    frame: str = Field(description="a JPEG as a data: address")
    slow: str = Field(description="the frame overlaid with the slow pathway's Grad-CAM map")
    fast: str = Field(description="the frame overlaid with the fast pathway's Grad-CAM map")


class Explanation(BaseModel):
    """Grad-CAM of the clip with the highest probability of the label."""

    start_seconds: float | None = Field(description="where the clip begins")
    frames: list[ExplainedFrame]
    note: str | None = Field(description="why there are no frames")


class ModelInfo(BaseModel):
    """Which model answered."""

    name: str
    digest: str = Field(description="BLAKE2b-128 of the checkpoint file")
    class_names: list[str]
    threshold: float = Field(description="an answer less probable is none of these")


class Timing(BaseModel):
    """Where the time went."""

    upload_seconds: Milliseconds
    waiting_seconds: Milliseconds = Field(description="in the queue")
    predicting_seconds: Milliseconds = Field(description="decoding, the model, and the explanation")


class Answer(BaseModel):
    """What a video shows."""

    name: str | None = Field(description="the file's name as the client gave it; text, not a path")
    label: str = Field(description="the most probable class")
    answer: str | None = Field(description="label, or null where it is below the threshold")
    confidence: Rounded = Field(description="the probability of label")
    probabilities: dict[str, Rounded] = Field(description="of every class, surest first")
    segments: list[SegmentAnswer]
    duration_seconds: Rounded = Field(description="of what was predicted")
    truncated: bool = Field(description="longer than the server predicts; the rest was left out")
    explanation: Explanation | None = Field(description="null unless asked for")
    model: ModelInfo
    timing: Timing


class Problem(BaseModel):
    """Why there is no answer."""

    reason: str = Field(
        description="of a refused video (422) a code of docs/formats.md; else bad_request, "
        "upload_too_large, upload_too_slow, busy, stuck, timed_out, not_found, forbidden, "
        "server_error"
    )
    detail: str


class Health(BaseModel):
    """Whether the server works, and how busy it is."""

    status: Literal["ok"]
    model: str
    digest: str
    queue_length: int
    queue_room: int


class UploadLimits(BaseModel):
    """What an upload may be."""

    max_bytes: int
    max_seconds: float


class ModelCard(BaseModel):
    """The model and what is known of it."""

    model: ModelInfo
    limits: UploadLimits
    card: str = Field(description="Markdown; from README.md beside the checkpoint if there is one")
