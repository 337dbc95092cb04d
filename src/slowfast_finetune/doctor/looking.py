"""Looks at video files, before anything else has run: a few frames of each, in killable workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.base.params import CacheParams, ClipParams
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.clips.caching import held_entries
from slowfast_finetune.clips.clip_store import ClipStore, stored_size
from slowfast_finetune.clips.decode_job import (
    check_bytes,
    memory_refused,
    seconds_allowed,
    within_limits,
)
from slowfast_finetune.clips.workers import outcome_here, refusal_of, run_killable, worker_count
from slowfast_finetune.decoding.decode_settings import DecodeSettings
from slowfast_finetune.decoding.sampling import exact_rate, instants_before
from slowfast_finetune.inspection.looks import (
    NUM_FRAMES,
    Frames,
    Look,
    Refused,
    frames_of_entry,
    look_at_entry,
    make_look,
)
from slowfast_finetune.pictures.contact_sheets import strip

STRIP_HEIGHT = 84  # of the frames on a contact sheet [px]


@dataclass(frozen=True)
class Seen:
    """A look at a video and, if it was asked for, a JPEG of the frames side by side."""

    look: Look
    strip: bytes | None


@dataclass(frozen=True)
class _Task:
    row: ManifestRow
    video: Path
    clip: ClipParams
    cache: CacheParams
    store: ClipStore
    is_held: bool
    wants_strip: bool

    @property
    def seconds_allowed(self) -> float:
        return seconds_allowed(self.video, timeout_seconds=self.cache.timeout_seconds)


def look_at_videos(
    rows: Sequence[ManifestRow],
    *,
    clip: ClipParams,
    cache: CacheParams,
    store: ClipStore,
    project: Path,
    num_workers: int | Literal["auto"],
    with_strips: frozenset[str] = frozenset(),
) -> Iterator[Seen | Refused]:
    """Look at every video, in any order: in the clip store if it is there, else in its file.

    Args:
        project: folder that relative paths in ``rows`` start from.
        with_strips: paths of the videos whose frames are wanted side by side.
    """
    held = held_entries(store, {row.content_hash for row in rows})
    tasks = [
        _Task(
            row=row,
            video=locate(row.video_path, project=project),
            clip=clip,
            cache=cache,
            store=store,
            is_held=row.content_hash in held,
            wants_strip=row.video_path in with_strips,
        )
        for row in rows
    ]
    if tasks:
        workers = min(len(tasks), worker_count(num_workers))
        for task, future in run_killable(tasks, look, workers=workers):
            yield _outcome(task, future)


def _outcome(task: _Task, future: Future[Seen]) -> Seen | Refused:
    outcome = outcome_here(future, task, refusal=lambda error, _: refusal_of(error))
    if isinstance(outcome, Seen):
        return outcome
    row = task.row
    return Refused(row.video_path, row.class_name, row.split, outcome.reason, outcome.detail)


def look(task: _Task) -> Seen:
    """Look at one video. Runs in a worker; the decoder is imported only there.

    Raises:
        VideoError: the video is refused, with a reason code.
    """
    with within_limits(task.cache.worker_memory_mb, seconds=task.seconds_allowed):
        if task.is_held:
            return _look_in_store(task)
        check_bytes(task.video, content_hash=None)
        with memory_refused(task.cache.worker_memory_mb):
            return _look_in_file(task)


def _look_in_store(task: _Task) -> Seen:
    info = task.store.info(task.row.content_hash)
    frames = frames_of_entry(task.row, info, task.store)
    return Seen(look_at_entry(task.row, info, task.store), _strip(frames, task))


def _look_in_file(task: _Task) -> Seen:
    from slowfast_finetune.decoding.glimpses import glimpses

    settings = DecodeSettings.from_clip(task.clip, max_megapixels=task.cache.max_megapixels)
    frames, facts = glimpses(task.video, count=NUM_FRAMES, settings=settings)
    facts.check_decodable(min_fraction=task.cache.min_decodable_fraction)
    seconds = min(facts.duration_seconds, task.clip.max_seconds)
    instants = instants_before(Fraction(seconds), sample_fps=exact_rate(task.clip.sample_fps))
    found = make_look(
        task.row,
        frames,
        facts=facts,
        num_sampled=max(1, instants),
        frame_bytes=float(np.mean([stored_size(frame, task.clip) for frame in frames])),
    )
    return Seen(found, _strip(frames, task))


def _strip(frames: Sequence[Frames], task: _Task) -> bytes | None:
    return strip(np.stack(frames), height=STRIP_HEIGHT) if task.wants_strip else None
