"""Decode many videos at once as tasks of a Ray cluster."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.base.extras import import_extra
from slowfast_finetune.clips.decode_job import DecodeJob, Outcomes, decode_to_store
from slowfast_finetune.clips.workers import job_refusal, settled, timed_out

RAY_RETRIES = 1  # a lost node is not the video's fault; a video that kills twice is refused


def decode_on_ray(jobs: Sequence[DecodeJob]) -> Iterator[Outcomes]:
    """The same function for each video, as tasks of the Ray cluster that RAY_ADDRESS names.

    Without one, of the cluster this machine belongs to, or of one started for the moment.
    """
    ray = _connect_to_ray()
    decode = ray.remote(num_cpus=1, max_retries=RAY_RETRIES, retry_exceptions=False)(
        decode_to_store
    )
    waiting = iter(jobs)
    running: dict[Any, tuple[DecodeJob, float]] = {}
    overdue: set[Any] = set()
    while True:
        # No more than the cluster can run: a task's time counts from when it is handed over.
        slots = max(1, int(ray.cluster_resources().get("CPU", 1)))
        while len(running) < slots and (job := next(waiting, None)):
            running[decode.remote(job)] = (job, time.monotonic() + job.seconds_allowed)
        if not running:
            return
        done, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
        for reference in done:
            job, _ = running.pop(reference)
            outcome = _outcome_on_ray(ray, reference, job, is_overdue=reference in overdue)
            yield settled(job, outcome)
        for reference, (_, deadline) in running.items():
            if time.monotonic() > deadline and reference not in overdue:
                overdue.add(reference)
                ray.cancel(reference, force=True)


def _connect_to_ray() -> Any:
    ray = import_extra("ray", extra="ray", what="runtime.engine: ray")
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            first_line = str(error).split("\n")[0]
            raise DataError(f"runtime.engine: ray cannot be reached: {first_line}") from error
    return ray


def _outcome_on_ray(
    ray: Any, reference: Any, job: DecodeJob, *, is_overdue: bool
) -> Outcomes | VideoError:
    try:
        entries: Outcomes = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return timed_out(job) if is_overdue else job_refusal(error.cause, job)
    except ray.exceptions.RayError as error:
        if is_overdue:
            return timed_out(job)
        return VideoError("crashed", f"the decoder crashed ({type(error).__name__})")
    return entries
