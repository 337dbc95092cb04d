"""Every error a person can cause, in one place.

``InputError``                 what the person gave cannot be used; one clear line, exit code 1
├── ``ParamsError``            params.yaml: unknown, missing or impossible values
├── ``DataError``              the videos folder, manifest.csv, clips.csv
│   └── ``VideoError``         one video cannot be decoded; carries a reason code
├── ``WeightsError``           pretrained weights: download, format, architecture
├── ``CheckpointError``        a models/best.pt that cannot be used
├── ``ExportError``            an exported file that is refused, or that answers otherwise
└── ``TrainingError``          training cannot go on: failed sanity check, non-finite loss
"""

from __future__ import annotations


class InputError(ValueError):
    """Invalid user input. The message says what, where, the value found and those allowed."""


class ParamsError(InputError):
    """params.yaml holds an unknown, missing or impossible value."""


class DataError(InputError):
    """The videos or one of the tables made from them cannot be used."""


class VideoError(DataError):
    """One video is refused. ``reason`` is a code of docs/formats.md, the message a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        # Exceptions pickle by their args; ours has two where ValueError keeps one.
        return (VideoError, (self.reason, self.detail))


def frame_too_large(width: int, height: int, *, max_megapixels: float) -> VideoError:
    """The refusal of a video whose frames [px] are larger than is allowed [10⁶ px]."""
    return VideoError(
        "too_large",
        f"frames of {width}×{height} px; at most {max_megapixels:g} million pixels "
        "(in the pipeline cache.max_megapixels)",
    )


class WeightsError(InputError):
    """Pretrained weights cannot be fetched, read or fitted to the model."""


class CheckpointError(InputError):
    """A checkpoint is missing, truncated, or not written by this project."""


class ExportError(InputError):
    """An exported file is damaged, holds code, is foreign, or gives other probabilities."""


class TrainingError(InputError):
    """Training stops: the sanity check failed or the loss is not finite."""
