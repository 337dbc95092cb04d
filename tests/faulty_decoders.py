"""A decoding process that goes wrong. Others import it by name: it must import little itself."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def decode_or_go_wrong(pipe: Any, limits: Any) -> None:
    """Decode, but hang on a file that begins with HANG, and die of one that begins with CRASH."""
    from slowfast_finetune.inference.streams import _serve
    from slowfast_finetune.videos import decoding

    really = decoding.sampled_frames

    def frames(path: Path, **values: Any) -> Any:
        start = path.read_bytes()[:5]
        if start.startswith(b"HANG"):
            time.sleep(600)
        if start.startswith(b"CRASH"):
            os.abort()
        yield from really(path, **values)

    decoding.sampled_frames = frames
    _serve(pipe, limits)
