"""Console output: lines, progress bars, and errors of one line."""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Self, TypeVar

from slowfast_finetune.base.errors import InputError

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 30  # of progress, where there is no terminal
_PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that this process gets when its parent has ended


def say(message: str = "") -> None:
    """Print a line for the person, at once, even when the output is a pipe (DVC, CI)."""
    print(message, flush=True)


def printable(text: str) -> str:
    """A name on one line: file names may hold line breaks and control characters."""
    # The narrow space between number and unit is no "printable" character to Python.
    return "".join(c if c.isprintable() or c == "\u202f" else repr(c)[1:-1] for c in text)


def count(number: int, noun: str, plural: str = "") -> str:
    """Format a number of things: "1 video", "12 videos"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}".replace(",", "\u202f")


def readable_bytes(number: int) -> str:
    """1536 → "1.5 KB"; powers of 1024."""
    size = float(number)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def progress(items: Iterable[T], *, total: int, label: str, unit: str = "video") -> Iterator[T]:
    """Yield ``items`` while a :class:`ProgressBar` counts them."""
    with ProgressBar(label, total=total, unit=unit) as bar:
        for item in items:
            yield item
            bar.advance(1)


class ProgressBar:
    """Shows how far work has come: ``with ProgressBar("epoch 1", total=80) as bar: …``.

    On a terminal it is a bar with count, rate and time left, which disappears at the end. Where
    stderr is a file or a pipe it is a line every 30 seconds, and none for what takes less.

    Args:
        total: the number of units to do; None if unknown.
        done: units of these that were done before.
        hidden: show nothing.
    """

    def __init__(
        self,
        label: str,
        *,
        total: int | None,
        unit: str = "video",
        done: int = 0,
        hidden: bool = False,
    ) -> None:
        self._label, self._total, self._unit, self._hidden = label, total, unit, hidden
        self._before = self._done = done
        self._started = self._last = time.monotonic()
        self._bar: Any = None
        if hidden or not sys.stderr.isatty():
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=unit,
            unit_scale=unit == "B",
            mininterval=0.2,
            maxinterval=0.2,
            dynamic_ncols=True,
            leave=False,
            file=sys.stderr,
        )

    def advance(self, count: int, *, note: str = "") -> None:
        """Count what was done; ``note`` is shown behind the rate."""
        self._done += count
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif not self._hidden and time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(self._line(note), file=sys.stderr, flush=True)

    def _line(self, note: str) -> str:
        rate = (self._done - self._before) / (self._last - self._started)
        line = f"{self._label}: {self._done:,}"
        if self._total is not None:
            line += f" of {self._total:,}"
        line += f", {rate:,.3g} {self._unit}/s"
        if self._total is not None and rate > 0:
            left = max(0, round((self._total - self._done) / rate))
            line += f", {timedelta(seconds=left)} left"
        return line + (f", {note}" if note else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def run(main: Callable[[], None]) -> None:
    """Run a stage or command: what the person can mend is one line, exit code 1.

    Where the output is a pipe that is closed (``| head``), it ends without a word, with the code
    that a shell gives to a command that SIGPIPE ended. Any other error keeps its traceback.
    """
    _end_with_dvc()
    try:
        try:
            main()
        finally:
            sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr, flush=True)
        sys.exit(130)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _is_output_closed():
            # Else Python reports that it cannot write what is left in the buffer when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        # A full disk or a lost permission strikes anywhere; the traceback says nothing more.
        place = f" {error.filename}:" if error.filename else ""
        print(f"error:{place} {error.strerror or error}".strip(), file=sys.stderr, flush=True)
        sys.exit(1)


def _end_with_dvc() -> None:
    """Have Linux end this process with the DVC that started it, also if that is killed.

    Else a stage would go on writing. DVC sets DVC_STAGE; what a shell starts, it does not end.
    """
    if sys.platform == "linux" and "DVC_STAGE" in os.environ:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _is_output_closed() -> bool:
    poll = select.poll()
    poll.register(sys.stdout, 0)  # errors are always reported
    return bool(poll.poll(0))
