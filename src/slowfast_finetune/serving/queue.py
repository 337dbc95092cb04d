"""Videos that wait for the model: a queue of limited length, and the one thread that computes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from slowfast_finetune.predicting.decoder_pool import DecodedVideo
from slowfast_finetune.serving.answers import Answer

POLL_SECONDS = 0.01  # a video whose first frame has come is found so late at most
FIRST_GUESS_SECONDS = 2.0  # a video takes, before one has been measured
MAX_RETRY_SECONDS = 300
NEWEST_SHARE = 0.2  # of the newest video in the mean of seconds a video


@dataclass
class Job:
    """A video to be looked at, and where its answer will be.

    Attributes:
        is_given_up: nobody waits for the answer any more.
        waited_seconds: until the model turned to it.
    """

    path: Path
    name: str | None
    upload_seconds: float
    explain: bool
    future: Future[Answer] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    is_given_up: bool = False
    waited_seconds: float = 0.0
    video: DecodedVideo | None = None


class Looker(Protocol):
    """What looks at videos; called by the thread of the queue alone."""

    def open(self, path: Path) -> DecodedVideo: ...

    def look(self, job: Job) -> Answer: ...


class QueueFullError(Exception):
    """No room in the queue."""


class ModelQueue:
    """Takes jobs, opens as many videos as there are decoders, and looks at one after the other.

    Of those that are open, the first whose frames have begun to come is next: a decoder that hangs
    holds nobody up.
    """

    def __init__(self, looker: Looker, *, length: int, decoders: int) -> None:
        self._looker = looker
        self._length = length
        self._decoders = decoders
        self._waiting: deque[Job] = deque()
        self._open: list[Job] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._busy_since: float | None = None
        self._seconds_per_video = FIRST_GUESS_SECONDS
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self, *, timeout: float) -> None:
        """Take no more, give up what waits, and wait for the thread to end [s]."""
        with self._changed:
            self._is_closed = True
            for job in [*self._open, *self._waiting]:
                job.is_given_up = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def __len__(self) -> int:
        """Jobs that have no answer yet."""
        return len(self._waiting) + len(self._open)

    @property
    def busy_seconds(self) -> float:
        """How long the thread has been computing for the present job; 0 where it has none [s]."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def room(self) -> int:
        """How many more jobs would be taken; beside those that wait, one is being looked at."""
        return 0 if self._is_closed else max(0, self._length + 1 - len(self))

    @property
    def retry_after(self) -> int:
        """When there will be room, by what a video has taken lately [s]."""
        needed = self._seconds_per_video * max(1, len(self) - self._length + 1)
        return max(1, min(MAX_RETRY_SECONDS, round(needed + 0.5)))

    def submit(self, job: Job) -> None:
        """Put a job at the end.

        Raises:
            QueueFullError: no room.
        """
        with self._changed:
            if not self.room:
                raise QueueFullError
            self._waiting.append(job)
            self._open_more()
            self._changed.notify_all()

    def give_up(self, job: Job) -> None:
        """Nobody waits for this job any more: its place is free, or the work on it ends soon."""
        with self._changed:
            job.is_given_up = True
            with contextlib.suppress(ValueError):
                self._waiting.remove(job)
            self._changed.notify_all()

    def _open_more(self) -> None:
        # In order, and never more than decoders: each that is open has one.
        while self._waiting and len(self._open) < self._decoders:
            job = self._waiting.popleft()
            job.video = self._looker.open(job.path)
            self._open.append(job)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            began = self._busy_since = time.monotonic()
            job.waited_seconds = began - job.submitted
            _settle(job, self._looker)
            seconds = time.monotonic() - began
            self._busy_since = None
            with self._changed:
                self._seconds_per_video += NEWEST_SHARE * (seconds - self._seconds_per_video)
                self._close(job)
        with self._changed:
            for job in [*self._open, *self._waiting]:
                self._close(job)
                job.future.cancel()
            self._waiting.clear()

    def _next(self) -> Job | None:
        """The next job whose frames have begun to come; None when all is over."""
        with self._changed:
            while not self._is_closed:
                for job in [job for job in self._open if job.is_given_up]:
                    self._close(job)
                    job.future.cancel()
                for job in self._open:
                    if job.video is not None and job.video.is_ready:
                        return job
                self._changed.wait(POLL_SECONDS if self._open else None)
        return None

    def _close(self, job: Job) -> None:
        if job.video is not None:
            job.video.close()
        if job in self._open:
            self._open.remove(job)
        self._open_more()


def _settle(job: Job, looker: Looker) -> None:
    """Give a job its answer, or what went wrong."""
    # The one who waits may have cancelled it in the meantime.
    with contextlib.suppress(InvalidStateError):
        try:
            job.future.set_result(looker.look(job))
        except Exception as error:
            job.future.set_exception(error)
