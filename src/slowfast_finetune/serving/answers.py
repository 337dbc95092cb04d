"""Schemas of the server's JSON responses."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from slowfast_finetune.predicting.prediction import Doubt

Rounded = Annotated[float, AfterValidator(lambda number: round(number, 6))]
Milliseconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3))]


class SegmentAnswer(BaseModel):
    """A part of the video with one predicted class."""

    answer: str | None = Field(description="a class, or null (none of these)")
    start_seconds: Rounded
    end_seconds: Rounded
    confidence: Rounded = Field(description="mean probability of the answer over the part")


class ExplainedFrame(BaseModel):
    """A frame with high Grad-CAM weight, and its maps for the label."""

    seconds: float = Field(description="from the first frame")
    weight: float = Field(description="its Grad-CAM weight, relative to the highest of all frames")
    frame: str = Field(description="the frame, a JPEG as a data: URI")
    slow: str = Field(description="the frame overlaid with the slow pathway's Grad-CAM map")
    fast: str = Field(description="the frame overlaid with the fast pathway's Grad-CAM map")


class Explanation(BaseModel):
    """Grad-CAM of the clip with the highest probability of the label."""

    start_seconds: float | None = Field(description="start of the clip")
    frames: list[ExplainedFrame]
    note: str | None = Field(description="why there are no frames, if there are none")


class ModelInfo(BaseModel):
    """The model that made the prediction."""

    name: str
    digest: str = Field(description="BLAKE2b-128 of the checkpoint file")
    class_names: list[str]
    threshold: float = Field(description="below this probability the answer is null")


class Timing(BaseModel):
    """How long each step took."""

    upload_seconds: Milliseconds
    waiting_seconds: Milliseconds = Field(description="in the queue")
    predicting_seconds: Milliseconds = Field(description="decoding, the model, and the explanation")


class Answer(BaseModel):
    """The prediction for a video."""

    name: str | None = Field(description="the file's name as the client gave it; text, not a path")
    label: str = Field(description="the most probable class")
    answer: str | None = Field(description="label, or null for the reason in doubt")
    confidence: Rounded = Field(description="the probability of label")
    doubt: Doubt | None = Field(
        description="why there is no answer: novelty above 1, or confidence below the threshold"
    )
    novelty: Rounded | None = Field(
        description="distance from the training videos; null if the model cannot tell"
    )
    probabilities: dict[str, Rounded] = Field(description="of every class, in descending order")
    segments: list[SegmentAnswer]
    duration_seconds: Rounded = Field(description="length of the part that was predicted")
    truncated: bool = Field(description="whether the rest of a longer video was not predicted")
    explanation: Explanation | None = Field(description="null unless requested with explain")
    model: ModelInfo
    timing: Timing


class Problem(BaseModel):
    """Why a request was refused."""

    reason: str = Field(
        description="for an unreadable video (422) a code of docs/formats.md; else bad_request, "
        "upload_too_large, upload_too_slow, busy, stuck, timed_out, not_found, forbidden, "
        "server_error"
    )
    detail: str


class Health(BaseModel):
    """The state of the server and of its queue."""

    status: Literal["ok"]
    model: str
    digest: str
    queue_length: int
    queue_room: int


class UploadLimits(BaseModel):
    """Limits of an upload."""

    max_bytes: int
    max_seconds: float


class ModelCard(BaseModel):
    """The model, the limits of an upload, and the model card."""

    model: ModelInfo
    limits: UploadLimits
    card: str = Field(description="Markdown; from README.md beside the checkpoint if there is one")
