"""Which frames of a video the clip of a part of it needs. Pure."""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.manifest_table import HasTimes, ManifestRow
from slowfast_finetune.base.params import ClipParams
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.decoding.sampling import FrameRange, exact_rate, instants_before

# Boundaries are set by eye and corrected by a second or so: what is kept on both sides of a part
# saves decoding the video again, for four seconds more of store a part.
MARGIN_SECONDS = Fraction(2)
# Lists round times, and a sound track may outlast the pictures: so far past the end of the video
# a part may end.
PAST_END_SECONDS = Fraction(1)


class PartClip(NamedTuple):
    """Where the clip of a part lies in its video, in frames; as in :class:`ClipRow`."""

    first_frame: int
    num_frames: int
    num_sampled: int
    num_around: int
    truncated: bool
    duration_seconds: float


def part_range(row: HasTimes, clip: ClipParams) -> FrameRange:
    """The sampled instants in a part, at least one, and at most ``max_seconds`` of them."""
    fps = exact_rate(clip.sample_fps)
    most = instants_before(Fraction(clip.max_seconds), sample_fps=fps)
    first = instants_before(_exact(row.start_seconds or 0.0), sample_fps=fps)
    end = first + most
    if row.end_seconds is not None:
        end = min(end, instants_before(_exact(row.end_seconds), sample_fps=fps))
    return FrameRange(first, max(end, first + 1))


def needed_range(part: FrameRange, clip: ClipParams, *, is_open: bool) -> FrameRange:
    """What has to be stored of a part: it, and what may pad it if it is shorter than a clip.

    Args:
        is_open: the part has no end of its own, so that the video may end anywhere in it.
    """
    # If the video ends before the part does, more may be taken from before it.
    past_end = math.ceil(PAST_END_SECONDS * exact_rate(clip.sample_fps))
    shortest = 1 if is_open else part.end - part.first - past_end
    around = max(0, clip.num_frames - shortest)
    return FrameRange(max(0, part.first - around), part.end + around)


def ranges_to_store(needed: Iterable[FrameRange], clip: ClipParams) -> list[FrameRange]:
    """Ranges that hold the needed ones and a margin on both sides; what touches is one."""
    margin = math.ceil(MARGIN_SECONDS * exact_rate(clip.sample_fps))
    merged: list[FrameRange] = []
    for first, end in sorted(needed):
        wanted = FrameRange(max(0, first - margin), end + margin)
        if merged and wanted.first <= merged[-1].end:
            wanted = FrameRange(merged[-1].first, max(merged.pop().end, wanted.end))
        merged.append(wanted)
    return merged


def place_clip(row: ManifestRow | ClipRow, clip: ClipParams, *, video_end: int | None) -> PartClip:
    """The frames of a part's clip; a short part is padded by what lies around it, equally.

    Args:
        video_end: how many frames the video has; None if more than the part needs.

    Raises:
        VideoError: the part begins or ends after the end of the video.
    """
    fps = exact_rate(clip.sample_fps)
    first, end = part_range(row, clip)
    if is_cut := video_end is not None and video_end < end:
        # Not `end`, which is never later than clip.max_seconds after the beginning.
        late = _exact(row.end_seconds or 0) - video_end / fps
        if first >= video_end or late > PAST_END_SECONDS:
            is_begin = first >= video_end
            written = row.start_seconds if is_begin else row.end_seconds
            raise VideoError(
                "past_end",
                f"the part {'begins' if is_begin else 'ends'} at {written or 0:.2f} s, "
                f"the video ends at {float(video_end / fps):.2f} s",
            )
        end = video_end
    length = end - first
    if row.end_seconds is None or is_cut:
        seconds, truncated = float(length / fps), video_end != end
    else:
        seconds = row.end_seconds - (row.start_seconds or 0.0)
        truncated = seconds > clip.max_seconds
    around = max(0, clip.num_frames - length)
    start = max(0, first - around // 2)
    stop = max(end, start + clip.num_frames) if around else end
    if video_end is not None and stop > video_end:
        start, stop = max(0, start - (stop - video_end)), video_end
    return PartClip(
        first_frame=start,
        num_frames=max(stop - start, clip.num_frames),
        num_sampled=length,
        num_around=stop - start - length,
        truncated=truncated,
        duration_seconds=round(min(seconds, clip.max_seconds), 6),
    )


def _exact(seconds: float) -> Fraction:
    """A time of a table, which has milliseconds, as the fraction that was meant."""
    return Fraction(seconds).limit_denominator(1000)
