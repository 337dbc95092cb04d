"""How a timeline is made from a model's answers, and the file beside a checkpoint that says it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.base.files import hash_file, write_text


@dataclass(frozen=True)
class TimelineSettings:
    """The parameters of a timeline.

    Attributes:
        stride_seconds: from one window to the next; half a window if None.
        smoothing_seconds: probabilities are averaged over so long; 0 for not.
        threshold: an answer less probable is "none of these"; the checkpoint's if None.
        shortest_seconds: what is shorter goes to a neighbour.
    """

    stride_seconds: float | None = None
    smoothing_seconds: float = 0.0
    threshold: float | None = None
    shortest_seconds: float = 0.0

    def described(self) -> str:
        """The values that are set, in words."""
        values = {
            "a window every {:.2f} s": self.stride_seconds,
            "smoothed over {:.2f} s": self.smoothing_seconds,
            "threshold {:.2f}": self.threshold,
            "shortest part {:.2f} s": self.shortest_seconds,
        }
        return ", ".join(text.format(value) for text, value in values.items() if value is not None)


def settings_path(checkpoint: Path) -> Path:
    """The file of a checkpoint: models/best_timeline.json for models/best.pt."""
    return checkpoint.with_name(f"{checkpoint.stem}_timeline.json")


def write_settings(path: Path, settings: TimelineSettings | None, *, checkpoint: Path) -> None:
    """Write the settings that were chosen for a checkpoint; an empty object for None."""
    content = {} if settings is None else {"checkpoint": hash_file(checkpoint), **asdict(settings)}
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_settings(checkpoint: Path) -> tuple[TimelineSettings, str]:
    """The settings of a checkpoint, and what is to be said of them, if anything.

    They are the default ones without a file, and where the file is of another checkpoint.

    Raises:
        CheckpointError: the file is not as this project writes it.
    """
    path = settings_path(checkpoint)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not content:
            return TimelineSettings(), ""
        if content.pop("checkpoint") != hash_file(checkpoint):
            return TimelineSettings(), f"{path}: is of another checkpoint and is not used"
        settings = TimelineSettings(**content)
        values = [value for value in asdict(settings).values() if value is not None]
        if not all(0 <= value < math.inf for value in values) or settings.stride_seconds == 0:
            raise ValueError("out of range")
    except FileNotFoundError:
        return TimelineSettings(), ""
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: is not as this project writes it; run `dvc repro`, or delete it"
        ) from error
    return settings, f"timeline chosen on validation videos: {settings.described()}"
