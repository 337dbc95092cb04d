"""One training at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slowfast_finetune.base.errors import TrainingError


@contextmanager
def run_lock(models: Path) -> Iterator[None]:
    """Let one process train into a folder at a time: a killed `dvc repro` leaves its child alive.

    Raises:
        TrainingError: another process does; says which.
    """
    from filelock import FileLock, Timeout

    models.mkdir(parents=True, exist_ok=True)
    path, owner = models / ".training.lock", models / ".training.pid"
    try:
        with FileLock(path, blocking=False):
            owner.write_text(str(os.getpid()))
            yield
    except Timeout as error:
        process = owner.read_text() if owner.exists() else "?"
        raise TrainingError(
            f"process {process} is training into {models}, perhaps left over from "
            f"a killed `dvc repro`; wait for it, or stop it: kill {process}"
        ) from error
