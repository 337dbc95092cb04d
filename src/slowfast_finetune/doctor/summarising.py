"""Summarise video files in killable worker processes, or from the clip store if it holds them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from slowfast_finetune.base.console import progress
from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.params import Params
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.clips.caching import clip_row, entries_of
from slowfast_finetune.clips.clip_store import ClipStore, EntryInfo, stored_size
from slowfast_finetune.clips.clip_tables import RejectedRow
from slowfast_finetune.clips.decode_job import VideoJob, check_bytes, within_limits
from slowfast_finetune.clips.parts import part_range, place_clip
from slowfast_finetune.clips.stored_frames import SPAN_BYTES
from slowfast_finetune.clips.workers import outcome_here, run_killable, worker_count
from slowfast_finetune.decoding.sampling import (
    DecodeSettings,
    FrameRange,
    exact_rate,
    instants_before,
)
from slowfast_finetune.decoding.video_facts import DecodeReport, VideoFacts
from slowfast_finetune.inspection.video_summary import (
    NUM_FRAMES,
    Frames,
    VideoSummary,
    make_summary,
    middle_indices,
    summarise_entry,
)
from slowfast_finetune.pictures.contact_sheets import strip

STRIP_HEIGHT = 84  # of the frames [px]
# The thresholds for copies, scenes and labels were measured on frames of this size, whatever size
# the clip store's frames have [px].
SUMMARY_SIDE = 84


@dataclass
class Summaries:
    """Summaries of videos; every video is in ``videos`` or ``rejected``."""

    videos: list[VideoSummary]
    rejected: list[RejectedRow]
    strips: dict[str, bytes]  # JPEG with the frames of a video in a row, by its path


@dataclass(frozen=True)
class _Task(VideoJob):
    row: ManifestRow
    store: ClipStore
    info: EntryInfo | None  # of the entry in the clip store, if it is there
    wants_strip: bool


def summarise_videos(
    rows: Sequence[ManifestRow],
    *,
    params: Params,
    store: ClipStore,
    project: Path,
    with_strips: Collection[str],
    label: str,
) -> Summaries:
    """Summarise every video: from the clip store if it is there, else from its file.

    Args:
        project: folder that relative paths in ``rows`` refer to.
        with_strips: paths of the videos to make a strip of.
        label: of the progress bar.
    """
    keys, held = entries_of(rows, store)
    tasks = [
        _Task(
            video=locate(row.video_path, project=project),
            cache=params.cache,
            row=row,
            store=store,
            info=held.get(keys[row.case]),
            wants_strip=row.case in with_strips,
        )
        for row in rows
    ]
    found = Summaries([], [], {})
    if not tasks:
        return found
    workers = min(len(tasks), worker_count(params.runtime.num_workers))
    results = run_killable(tasks, summarise, workers=workers)
    for task, future in progress(results, total=len(tasks), label=label):
        outcome = outcome_here(future, task)
        if isinstance(outcome, VideoError):
            found.rejected.append(RejectedRow.of(task.row, outcome))
            continue
        summary, jpeg = outcome
        found.videos.append(summary)
        if jpeg is not None:
            found.strips[task.row.case] = jpeg
    # Workers finish in any order, on which the result must not depend.
    found.videos.sort(key=lambda video: (video.class_name, video.case))
    found.rejected.sort(key=lambda video: (video.class_name, video.case))
    return found


def summarise(task: _Task) -> tuple[VideoSummary, bytes | None]:
    """Summarise one video. Runs in a worker; the decoder is imported only there.

    Raises:
        VideoError: the video is rejected, with a reason code.
    """
    with within_limits(task):
        if task.info is not None:
            stored = clip_row(task.row, task.info, task.store)
            summary, frames = summarise_entry(stored, task.store)
        else:
            check_bytes(task.video, content_hash=None)
            summary, frames = _from_file(task)
        wanted = strip(np.stack(frames), height=STRIP_HEIGHT) if task.wants_strip else None
        return summary, wanted


def _from_file(task: _Task) -> tuple[VideoSummary, list[Frames]]:
    from slowfast_finetune.doctor.glimpses import glimpses

    clip, cache = task.store.params, task.cache
    settings = DecodeSettings.from_clip(
        clip, short_side=max(SUMMARY_SIDE, clip.short_side), max_megapixels=cache.max_megapixels
    )
    if task.row.start_seconds is None:
        decoded, facts = glimpses(task.video, count=NUM_FRAMES, settings=settings)
        seconds = min(facts.duration_seconds, clip.max_seconds)
        instants = instants_before(Fraction(seconds), sample_fps=exact_rate(clip.sample_fps))
    else:
        decoded, facts, instants = _of_part(task, settings)
    facts.check_decodable(min_fraction=cache.min_decodable_fraction)
    sampled = max(1, instants)
    stored = [_scaled(frame, clip.short_side) for frame in decoded]
    size = float(np.mean([stored_size(frame, clip) for frame in stored]))
    if clip.encoding == "jpeg":
        share = _share_stored(stored, sampled, facts.source_fps / clip.sample_fps)
        size = size * share + SPAN_BYTES
    frames = [_scaled(frame, SUMMARY_SIDE) for frame in decoded]
    summary = make_summary(
        task.row,
        frames,
        facts=facts,
        num_sampled=sampled,
        frame_bytes=size,
    )
    return summary, frames


def _share_stored(shown: Sequence[Frames], num_sampled: int, rate: float) -> float:
    """Estimate which share of the sampled frames differ from the one before.

    Between two equal frames of ``shown`` the picture is taken to stand still.

    Args:
        shown: frames spread evenly over what is sampled, as they would be stored.
        rate: of the video's own frames, as a multiple of the sampled ones; 0: unknown.
    """
    changes = sum(not np.array_equal(a, b) for a, b in pairwise(shown))
    moving = changes / (len(shown) - 1) * (min(1.0, rate) or 1.0)
    return min(1.0, max(moving, (changes + 1) / num_sampled))


def _of_part(task: _Task, settings: DecodeSettings) -> tuple[list[Frames], VideoFacts, int]:
    """Frames spread over a part of a video, facts about it, and its sampled frames.

    Raises:
        VideoError: nothing can be decoded, or the part reaches past the end of the video.
    """
    from slowfast_finetune.decoding.frame_ranges import sampled_ranges

    clip, row = task.store.params, task.row
    part = place_clip(row, clip, video_end=None)
    first = part_range(row, clip).first
    while True:
        indices = [first + index for index in middle_indices(part.num_sampled, NUM_FRAMES)]
        chosen = sorted(set(indices))
        report = DecodeReport()
        found = sampled_ranges(
            task.video,
            [FrameRange(index, index + 1) for index in chosen],
            settings=settings,
            report=report,
        )
        frames = {chosen[position]: frame for position, frame, _ in found}
        if len(frames) == len(chosen):
            break
        end = Fraction(report.duration_seconds).limit_denominator(1_000_000)
        video_end = max(1, instants_before(end, sample_fps=exact_rate(clip.sample_fps)))
        # It is shorter now than what was looked for, or the part is refused.
        part = place_clip(row, clip, video_end=min(video_end, chosen[-1]))
    facts = {"duration_seconds": part.duration_seconds, "truncated": part.truncated}
    decoded = [frames[index] for index in indices]
    return decoded, report.facts().model_copy(update=facts), part.num_sampled


def _scaled(frame: Frames, short_side: int) -> Frames:
    """Scale a frame, uint8 (H, W, 3), so that its shorter side has ``short_side`` pixels."""
    from PIL import Image

    height, width, _ = frame.shape
    scale = short_side / min(height, width)
    if scale == 1:
        return frame
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
