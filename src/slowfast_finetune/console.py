"""What a person sees: one console, progress bars, and errors of one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from slowfast_finetune.errors import InputError

T = TypeVar("T")


def say(message: str = "") -> None:
    """Print a line for the person, at once, even when the output is a pipe (DVC, CI)."""
    print(message, flush=True)


def progress(items: Iterable[T], *, total: int, label: str, unit: str = "video") -> Iterator[T]:
    """Yield ``items`` under a bar with count, rate and time left; silent where stderr is a file."""
    from tqdm import tqdm

    # On a pipe or in a log, one line every ten seconds is enough, and none for what is quick.
    interval, delay = (0.2, 0.0) if sys.stderr.isatty() else (10.0, 10.0)
    yield from tqdm(
        items,
        total=total,
        desc=label,
        unit=unit,
        mininterval=interval,
        maxinterval=interval,
        delay=delay,
        dynamic_ncols=True,
        leave=False,
        file=sys.stderr,
    )


def run(main: Callable[[], None]) -> None:
    """Run a stage or command: what the person can mend is one line, exit code 1.

    Anything else is a fault of ours and keeps its traceback.
    """
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr, flush=True)
        sys.exit(130)
    except OSError as error:
        # A full disk or a lost permission strikes anywhere; the traceback says nothing more.
        place = f" {error.filename}" if error.filename else ""
        print(f"error:{place} {error.strerror or error}".strip(), file=sys.stderr, flush=True)
        sys.exit(1)
