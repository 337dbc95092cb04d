"""Write frames to an H.264 .mp4 file whose bytes depend on the frames alone."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray

# Without mbtree, which on some CPUs reads memory that x264 never wrote: the same frames then
# give other bytes on every run.
X264_OPTIONS = {"preset": "veryfast", "x264-params": "mbtree=0"}


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    frame_rate: Fraction,
    size: tuple[int, int],
    crf: int,
) -> None:
    """Encode frames, each uint8 (H, W, 3), of an even size (width, height).

    Frame number n is shown at exactly n / frame_rate seconds.
    """
    # Several threads would split the work, and so the bytes, by machine; without bitexact the
    # file names the versions that wrote it.
    with av.open(path, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=frame_rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        stream.codec_context.time_base = 1 / frame_rate
        stream.options = {**X264_OPTIONS, "crf": str(crf)}
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, 1 / frame_rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
