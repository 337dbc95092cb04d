"""One video to the clip store: what a worker does. Imports no torch, and the decoder only here."""

import contextlib
import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.base.files import hash_file
from slowfast_finetune.base.hash_memo import Fingerprint, fingerprint
from slowfast_finetune.base.params import CacheParams, ClipParams
from slowfast_finetune.clips.clip_store import ClipStore, EntryInfo, EntryWriter, range_key
from slowfast_finetune.clips.stored_frames import Frames
from slowfast_finetune.decoding.sampling import DecodeSettings, FrameRange, padded_indices
from slowfast_finetune.decoding.video_facts import DecodeReport

TIMEOUT_SECONDS_PER_MEGABYTE = 2.0
CHANGED = "the file changed since it was indexed; run the index again"


@dataclass(frozen=True)
class VideoJob:
    """A video for a worker, and the limits of the work on it."""

    video: Path
    cache: CacheParams

    @property
    def seconds_allowed(self) -> float:
        """The time limit, longer for larger files."""
        try:
            megabytes = self.video.stat().st_size / 1e6
        except OSError:
            megabytes = 0.0
        return self.cache.timeout_seconds + megabytes * TIMEOUT_SECONDS_PER_MEGABYTE


@dataclass(frozen=True)
class DecodeJob(VideoJob):
    """One video to decode: everything a worker needs, small enough to send."""

    content_hash: str
    hashed_as: Fingerprint | None  # what the file looked like when it was hashed, if that is known
    store: ClipStore
    # What to store of it, each as an entry, sorted and without overlap; empty for all.
    ranges: tuple[FrameRange, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the entries to make."""
        ranges = tuple(range_key(self.content_hash, each) for each in self.ranges)
        return ranges or (self.content_hash,)


Outcomes = dict[str, EntryInfo | VideoError]  # what became of entries, by their keys


def decode_to_store(job: DecodeJob) -> Outcomes:
    """Decode one video into the store. Runs in a worker; imports the decoder only there.

    Returns:
        what became of each entry, by its key.

    Raises:
        VideoError: the video is refused, with a reason code.
        OSError: the store cannot be written.
    """
    found = check_bytes(job.video, content_hash=job.content_hash, hashed_as=job.hashed_as)
    with within_limits(job):
        return _decode(job, found)


def _decode(job: DecodeJob, found: Fingerprint) -> Outcomes:
    """Decode a video, or ranges of it, in one pass; its entries appear together, at its end."""
    report = DecodeReport()
    outcomes: Outcomes = {}
    with contextlib.ExitStack() as stack:
        writers: list[EntryWriter] = []
        for position, frame, length in _sampled(job, report):
            while len(writers) <= position:
                writers.append(stack.enter_context(job.store.writer(job.keys[len(writers)])))
            for _ in range(length):
                writers[position].append(frame)
        if not job.video.exists() or fingerprint(job.video) != found:
            raise VideoError("changed", CHANGED)
        facts = report.facts()
        for position, writer in enumerate(writers):
            num_sampled = writer.num_frames
            if not job.ranges or job.ranges[position].first == 0:
                _pad(writer, job.store.params)
            outcomes[job.keys[position]] = writer.finish(facts, num_sampled=num_sampled)
    detail = f"the part begins after the end of the video at {facts.duration_seconds:.2f} s"
    return {key: outcomes.get(key, VideoError("past_end", detail)) for key in job.keys}


def _sampled(job: DecodeJob, report: DecodeReport) -> Iterator[tuple[int, Frames, int]]:
    """Position of an entry, a frame of it, and at how many sampled instants in a row it shows."""
    from slowfast_finetune.decoding.frame_ranges import sampled_ranges
    from slowfast_finetune.decoding.sampled_frames import sampled_runs

    settings = DecodeSettings.from_clip(job.store.params, max_megapixels=job.cache.max_megapixels)
    if job.ranges:
        return sampled_ranges(job.video, job.ranges, settings=settings, report=report)
    runs = sampled_runs(job.video, settings=settings, report=report)
    return ((0, frame, length) for frame, length in runs)


def _pad(writer: EntryWriter, clip: ClipParams) -> None:
    """Bring an entry that holds all of a short video to the length of a clip."""
    num_sampled = writer.num_frames
    indices = padded_indices(num_sampled, min_frames=clip.num_frames, padding=clip.padding)
    for index in indices[num_sampled:]:
        writer.repeat(index)


@contextlib.contextmanager
def within_limits(job: VideoJob) -> Iterator[None]:
    """Limit memory, and end this process some time after its limit if nobody else does.

    The stage stops a worker that takes too long; if the stage itself was killed, the system's
    alarm clock does it, whatever the decoder is busy with.

    Raises:
        VideoError: the memory allowed was not enough.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit_memory(job.cache.worker_memory_mb)
    signal.setitimer(signal.ITIMER_REAL, job.seconds_allowed * 1.5 + 5)
    try:
        yield
    except (MemoryError, BlockingIOError) as error:
        # BlockingIOError is FFmpeg's "try again" inside a decoder that could not start a thread
        # or get a buffer.
        detail = f"decoding needs more than cache.worker_memory_mb: {job.cache.worker_memory_mb}"
        raise VideoError("out_of_memory", detail) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def limit_memory(megabytes: int) -> None:
    """Let this process allocate no more; where the system cannot limit it (macOS), do nothing."""
    import resource

    # Private writable memory, so that libraries and mapped files do not count.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = megabytes * 2**20
    if hard == resource.RLIM_INFINITY or wanted <= hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def check_bytes(
    video: Path, *, content_hash: str | None, hashed_as: Fingerprint | None = None
) -> Fingerprint:
    """Refuse a file that is not there, not readable, empty, or of other bytes than indexed.

    Args:
        content_hash: of the bytes expected; None where any will do.
        hashed_as: a file that still looks so is not read again to hash it.

    Returns:
        what the file looks like.

    Raises:
        VideoError: with the reason.
    """
    try:
        looks = fingerprint(video)
        if looks[0] == 0:
            raise VideoError("empty_file", "the file has no bytes")
        if not os.access(video, os.R_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
        is_known = content_hash is None or looks == hashed_as
        found = content_hash if is_known else hash_file(video)
    except FileNotFoundError as error:
        raise VideoError("missing", "there is no such file") from error
    except (OSError, DataError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError("unreadable", f"the file cannot be read: {error}") from error
    if found != content_hash:
        raise VideoError("changed", CHANGED)
    return looks
