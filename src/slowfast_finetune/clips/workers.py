"""Decode many videos at once in processes that can be killed."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from typing import Literal, Protocol, TypeVar

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.clips.decode_job import DecodeJob, Outcomes, decode_to_store

DECODER_MODULE = "slowfast_finetune.decoding.sampled_frames"


class HasTimeLimit(Protocol):
    """What a worker may be given: a job that knows how long it may take."""

    @property
    def seconds_allowed(self) -> float: ...


JobT = TypeVar("JobT", bound=HasTimeLimit)
ResultT = TypeVar("ResultT")


def decode_all(jobs: Sequence[DecodeJob], *, runtime: RuntimeParams) -> Iterator[Outcomes]:
    """Decode in worker processes; yield what became of the entries of each job, as it ends.

    A worker that hangs or dies costs its video, not the run.

    ``num_workers`` are processes on this machine; a cluster uses all of its cores.

    Raises:
        DataError: the store cannot be written, or the cluster cannot be used.
    """
    if jobs and runtime.engine == "ray":
        from slowfast_finetune.clips.ray_workers import decode_on_ray

        yield from decode_on_ray(jobs)
    elif jobs:
        workers = min(len(jobs), worker_count(runtime.num_workers))
        yield from _decode_here(jobs, workers=workers)


def worker_count(num_workers: int | Literal["auto"]) -> int:
    """How many processes to start: as many as asked for, or one for each core that is ours."""
    if num_workers != "auto":
        return max(1, num_workers)
    # A container or a scheduler may grant fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _decode_here(jobs: Sequence[DecodeJob], *, workers: int) -> Iterator[Outcomes]:
    try:
        with closing(run_killable(jobs, decode_to_store, workers=workers)) as ended:
            for job, future in ended:
                refusal = partial(job_refusal, job=job)
                outcome: Outcomes | VideoError = outcome_here(future, job, refusal=refusal)
                yield settled(job, outcome)
    except BaseException:
        # The workers are killed by now; on a full disk what they leave would only fill it.
        for job in jobs:
            _discard_temporary(job)
        raise


def settled(job: DecodeJob, outcome: Outcomes | VideoError) -> Outcomes:
    """What became of a job's entries; what a killed worker left of them is removed."""
    _discard_temporary(job)
    return dict.fromkeys(job.keys, outcome) if isinstance(outcome, VideoError) else outcome


def _discard_temporary(job: DecodeJob) -> None:
    for key in job.keys:
        job.store.discard_temporary(key)


def run_killable(
    jobs: Sequence[JobT], work: Callable[[JobT], ResultT], *, workers: int
) -> Generator[tuple[JobT, Future[ResultT]]]:
    """Do ``work`` in processes that are killed after their job's time; yield jobs as they end."""
    from pebble import ProcessFuture, ProcessPool

    # forkserver: workers start from a small clean process, not from one with threads.
    context = get_context("forkserver")
    # What every worker needs is imported once, and there again when one has been killed.
    context.set_forkserver_preload([DECODER_MODULE, __name__, work.__module__])
    with ProcessPool(max_workers=workers, context=context) as pool:
        waiting = iter(jobs)
        running: dict[ProcessFuture[ResultT], JobT] = {}
        try:
            while True:
                while len(running) < 2 * workers and (job := next(waiting, None)):
                    future = pool.schedule(work, args=[job], timeout=job.seconds_allowed)
                    running[future] = job
                if not running:
                    return
                wait(running, return_when=FIRST_COMPLETED)
                for future in [future for future in running if future.done()]:
                    yield running.pop(future), future
        finally:
            # Also when the person or a full disk stops the loop: no worker outlives it.
            pool.stop()  # type: ignore[no-untyped-call]


def refusal_of(error: BaseException) -> VideoError:
    """What an exception says of the video."""
    if isinstance(error, VideoError):
        return error
    return VideoError("decoder_error", f"{type(error).__name__}: {' '.join(str(error).split())}")


def outcome_here(
    future: Future[ResultT],
    job: HasTimeLimit,
    *,
    refusal: Callable[[BaseException], VideoError] = refusal_of,
) -> ResultT | VideoError:
    """What a worker gave back, or why it gave nothing; ``refusal`` words what the work raised."""
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        return timed_out(job)
    except ProcessExpired as error:
        return VideoError("crashed", f"the decoder crashed (exit code {error.exitcode})")
    except Exception as error:
        return refusal(error)


def timed_out(job: HasTimeLimit) -> VideoError:
    limit = f"{job.seconds_allowed:.0f} s"
    return VideoError("timeout", f"decoding took longer than {limit} and was stopped")


def job_refusal(error: BaseException, job: DecodeJob) -> VideoError:
    """What an exception in the worker says of the video.

    Raises:
        DataError: it says nothing of the video: the store cannot be written.
    """
    if isinstance(error, OSError):
        # Without a place to write, going on would refuse all the others too.
        raise DataError(f"the clip store {job.store.folder}: {error.strerror or error}") from error
    return refusal_of(error)
