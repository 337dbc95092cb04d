"""The middle clip of a video as an exported model wants it; needs av and numpy, not this project.

docs/exporting.md has the rules. Mirroring and HDR are not heeded here.
"""

import math

import av
import numpy as np


def read_clip(path: str, shape: dict) -> np.ndarray:
    """Read a clip, uint8 (1, T, S, S, 3), RGB; ``shape`` is "preprocessing" of the metadata."""
    frames, shown, start, end = [], None, None, 0.0
    with av.open(path) as video:
        stream = video.streams.video[0]
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1
        # Pixels of such shapes are believed by nobody.
        aspect = aspect if 1 / 4 <= aspect <= 4 else 1
        for frame in video.decode(stream):
            start = frame.time if start is None else start
            # The frame before is shown at all instants k / sample_fps until this one.
            frames += [shown] * (_instants(frame.time - start, shape) - len(frames))
            width, height = round(frame.width * aspect), frame.height
            scale = shape["short_side"] / min(width, height)
            width, height = round(width * scale), round(height * scale)
            shown = frame.reformat(width, height, "rgb24", interpolation="BILINEAR").to_ndarray()
            shown = np.rot90(shown, frame.rotation // 90 if frame.rotation % 90 == 0 else 0)
            end = frame.time + float((frame.duration or 0) * frame.time_base)
    frames += [shown] * (max(1, _instants(end - start, shape)) - len(frames))
    length, side = shape["num_frames"], shape["crop_size"]
    first = max(0, len(frames) - length) // 2
    indices = range(first, first + length)
    if shape["padding"] == "loop":
        chosen = [frames[index % len(frames)] for index in indices]
    else:
        chosen = [frames[min(index, len(frames) - 1)] for index in indices]
    top, left = ((extent - side) // 2 for extent in shown.shape[:2])
    return np.stack(chosen)[None, :, top : top + side, left : left + side]


def _instants(seconds: float, shape: dict) -> int:
    """How many instants lie before a time; half a millisecond is forgiven."""
    return math.ceil((seconds - 0.0005) * shape["sample_fps"])
