"""How a timeline is made from a model's answers, and the file beside a checkpoint that says it."""

from pathlib import Path
from typing import Annotated

import pydantic

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.base.files import hash_file, write_text

Seconds = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class TimelineSettings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """The parameters of a timeline."""

    # From one window to the next; half a window if None.
    stride_seconds: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] | None = None
    smoothing_seconds: Seconds = 0.0  # probabilities are averaged over so long; 0 for not
    # A less probable answer is "none of these"; None: the checkpoint's threshold.
    threshold: Share | None = None
    shortest_seconds: Seconds = 0.0  # what is shorter goes to a neighbour
    num_videos: pydantic.NonNegativeInt = 0  # validation videos on which they were chosen
    num_left_out: pydantic.NonNegativeInt = 0  # those with labelled parts that cannot be read
    f1_25: Share = 0.0  # highest F1 at IoU 0.25 on these videos; if it is 0, nothing was chosen
    checkpoint: str = ""  # hash of the checkpoint that they were chosen for

    def described(self) -> str:
        """The values that are set, in words."""
        values = (
            ("a window every {:.2f} s", "", self.stride_seconds),
            ("smoothed over {:.2f} s", "no smoothing", self.smoothing_seconds),
            ("threshold {:.2f}", "always answered", self.threshold),
            ("shortest part {:.2f} s", "no shortest part", self.shortest_seconds),
        )
        return ", ".join(
            text.format(value) if value else nothing
            for text, nothing, value in values
            if value is not None
        )

    def choice(self) -> str:
        """What was chosen and on what evidence, or why nothing was, on one line."""
        videos = count(self.num_videos, "validation video")
        missing = f" ({self.num_left_out} more cannot be read)" if self.num_left_out else ""
        if not self.num_videos:
            return (
                "timeline not chosen: no validation video with labelled parts can be read "
                f"({self.num_left_out} left out)"
            )
        if not self.f1_25:
            return (
                f"timeline not chosen: F1 at IoU 0.25 is 0 on {videos}{missing} with all parameters"
            )
        return (
            f"timeline chosen on {videos}{missing}, with F1 at IoU 0.25 of {self.f1_25:.3f} there: "
            f"{self.described()}"
        )


def settings_path(checkpoint: Path) -> Path:
    """The file of a checkpoint: models/best_timeline.json for models/best.pt."""
    return checkpoint.with_name(f"{checkpoint.stem}_timeline.json")


def write_settings(checkpoint: Path, settings: TimelineSettings | None) -> None:
    """Write the settings that were chosen for a checkpoint; an empty object for None."""
    text = "{}"
    if settings is not None:
        settings = settings.model_copy(update={"checkpoint": hash_file(checkpoint)})
        text = settings.model_dump_json(indent=2)
    write_text(settings_path(checkpoint), text + "\n")


def read_settings(checkpoint: Path) -> tuple[TimelineSettings, str]:
    """The settings of a checkpoint, and what is to be said of them, if anything.

    They are the default ones without a file, and where the file is of another checkpoint.

    Raises:
        CheckpointError: the file is not as this project writes it.
    """
    path = settings_path(checkpoint)
    try:
        settings = TimelineSettings.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return TimelineSettings(), ""
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except pydantic.ValidationError as error:
        raise CheckpointError(
            f"{path}: is not as this project writes it; run `dvc repro`, or delete it"
        ) from error
    if settings == TimelineSettings():
        return settings, ""
    if settings.checkpoint != hash_file(checkpoint):
        return TimelineSettings(), f"{path}: is of another checkpoint and is not used"
    return settings, settings.choice()
