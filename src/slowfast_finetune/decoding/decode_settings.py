"""How frames are taken from a video."""

from __future__ import annotations

from dataclasses import dataclass

from slowfast_finetune.base.params import ClipParams

# Damaged files may claim any length; what would come later than this is left out.
FOREVER_SECONDS = 7 * 86_400


@dataclass(frozen=True)
class DecodeSettings:
    """How frames are taken from a video."""

    sample_fps: float  # instants a second
    short_side: int | None  # shorter side of the upright, scaled frame; None for as filmed [px]
    max_megapixels: float = 36.0  # larger frames are refused before memory is taken [10⁶ px]
    max_seconds: float = FOREVER_SECONDS  # what lies later is left out [s]

    @classmethod
    def from_clip(
        cls, clip: ClipParams, *, max_megapixels: float, short_side: int | None = None
    ) -> DecodeSettings:
        """The settings of the ``clip:`` parameters; ``short_side`` in place of theirs [px]."""
        return cls(
            sample_fps=clip.sample_fps,
            short_side=clip.short_side if short_side is None else short_side,
            max_megapixels=max_megapixels,
            max_seconds=clip.max_seconds,
        )
