"""What a person sees: one console, progress bars, and errors of one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from slowfast_finetune.base.errors import InputError

T = TypeVar("T")


def say(message: str = "") -> None:
    """Print a line for the person, at once, even when the output is a pipe (DVC, CI)."""
    print(message, flush=True)


def plain(text: str) -> str:
    """A name of any kind on one line: file names may hold line breaks and control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def progress(items: Iterable[T], *, total: int, label: str, unit: str = "video") -> Iterator[T]:
    """Yield ``items`` under a bar with count, rate and time left; silent where stderr is a file."""
    with Bar(label, total=total, unit=unit) as bar:
        for item in items:
            yield item
            bar.advance(1)


class Bar:
    """A bar for work that is counted by hand: ``with Bar("epoch 1", total=80) as bar: …``."""

    def __init__(
        self, label: str, *, total: int, unit: str = "video", done: int = 0, hidden: bool = False
    ) -> None:
        from tqdm import tqdm

        # On a pipe or in a log, one line every ten seconds is enough, and none for what is quick.
        interval, delay = (0.2, 0.0) if sys.stderr.isatty() else (10.0, 10.0)
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=unit,
            mininterval=interval,
            maxinterval=interval,
            delay=delay,
            dynamic_ncols=True,
            leave=False,
            file=sys.stderr,
            disable=hidden,
        )

    def advance(self, count: int, *, note: str = "") -> None:
        """Count some more; ``note`` is shown behind the rate."""
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


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
