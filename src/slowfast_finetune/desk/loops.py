"""The frames of a case as one picture, which the page of the label desk shows as a loop."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.params import Params
from slowfast_finetune.base.store_location import locate, store_root
from slowfast_finetune.clips.clip_store import EntryError, StoredClips
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.stored_frames import Frames, StoredFrames, encode_jpeg
from slowfast_finetune.decoding.sampled_frames import sampled_frames
from slowfast_finetune.decoding.sampling import DecodeSettings

MOST_FRAMES = 64  # of a loop; a longer case is shown by frames further apart
MOST_SECONDS = 60.0  # of a case, from its start, are shown
QUALITY = 85


@dataclass(frozen=True)
class Loop:
    """A picture of frames, row by row from the top left."""

    jpeg: bytes  # the picture
    count: int  # of its frames
    columns: int  # of its frames
    width: int  # of a frame [px]
    height: int  # of a frame [px]
    start: float  # when the first is shown in the video [s]
    step: float  # from one to the next [s]

    @property
    def facts(self) -> str:
        """All but the picture, as JSON."""
        return json.dumps({name: value for name, value in vars(self).items() if name != "jpeg"})


class LoopMaker:
    """Makes loops, from the clip store or, of what is not there, from the video.

    Args:
        rows: of ``data/clips.csv``.
    """

    def __init__(self, project: Path, params: Params, rows: Sequence[ClipRow]) -> None:
        self._project, self._params = project, params
        self._rows = grouped(rows, key=lambda row: row.video_path)

    def loop(
        self, video_path: str, start: float | None, end: float | None, *, short_side: int
    ) -> Loop:
        """The loop of a video or a part of one.

        Args:
            short_side: frames are scaled down to it [px].

        Raises:
            VideoError: it is not in the store and cannot be decoded, or begins after its end.
        """
        first = start or 0.0
        last = min(math.inf if end is None else end, first + MOST_SECONDS)
        for row in self._rows.get(video_path, ()):
            with suppress(EntryError):
                if found := self._stored(row, first, last):
                    return _loop(*found, short_side=short_side)
        fps = self._params.clip.sample_fps
        settings = DecodeSettings(
            sample_fps=fps,
            short_side=short_side,
            max_megapixels=self._params.cache.max_megapixels,
            max_seconds=last if math.isfinite(last) else MOST_SECONDS,
        )
        path = locate(video_path, project=self._project)
        taken = list(islice(sampled_frames(path, settings=settings), round(first * fps), None))
        if not taken:
            raise VideoError("past_end", f"{video_path}: the video ends before {first:g} s")
        return _loop(taken, range(len(taken)), first, fps, short_side=short_side)

    def _stored(
        self, row: ClipRow, first: float, last: float
    ) -> tuple[StoredFrames, range, float, float] | None:
        """Frames in the store, which of them are shown, when the first is [s], and their rate.

        Raises:
            EntryError: the store has no such frames.
        """
        covers = (row.start_seconds or 0.0) <= first + 1e-6 and (
            row.end_seconds is None or last <= row.end_seconds + 1e-6
        )
        if not covers:
            return None
        clips = StoredClips(store_root(self._project) / row.settings)
        stored, fps = clips.clip(row), clips.settings().sample_fps
        begin = max(0, round(first * fps) - row.first_frame)
        stop = row.num_sampled
        if math.isfinite(last):
            stop = min(stop, max(begin + 1, round(last * fps) - row.first_frame))
        if begin >= stop:
            return None
        return stored, range(begin, stop), (row.first_frame + begin) / fps, fps


def _loop(
    frames: StoredFrames | Sequence[Frames],
    shown: range,
    start: float,
    fps: float,
    *,
    short_side: int,
) -> Loop:
    """The loop of a range of frames, of which the first is shown at ``start`` [s]."""
    count = min(MOST_FRAMES, len(shown))
    chosen = [frames[shown[index * len(shown) // count]] for index in range(count)]
    height, width = chosen[0].shape[:2]
    scale = min(1.0, short_side / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    columns = math.ceil(math.sqrt(count * size[1] / size[0]))
    sheet = Image.new("RGB", (columns * size[0], math.ceil(count / columns) * size[1]))
    for index, frame in enumerate(chosen):
        line, column = divmod(index, columns)
        small = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)
        sheet.paste(small, (column * size[0], line * size[1]))
    jpeg = encode_jpeg(np.asarray(sheet), quality=QUALITY)
    return Loop(jpeg, count, columns, *size, start, len(shown) / count / fps)
