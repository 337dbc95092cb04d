"""Placeholder."""

from __future__ import annotations

from pathlib import Path

from slowfast_finetune.inference.answers import Prediction, Refused


class Annotator:
    def __init__(self, target: Path, *, num_videos: int) -> None: ...
    def write(self, result: Prediction | Refused) -> Prediction | Refused:
        return result
