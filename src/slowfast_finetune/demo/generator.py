"""Generate the demo data set: a folder of videos, complete or not there at all."""

import math
import os
import re
import shutil
import string
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from slowfast_finetune.base.console import progress
from slowfast_finetune.base.errors import InputError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.tables import csv_text

CLASS_NAMES = ("jumping_jacks", "sitting_down", "squatting", "standing_up", "walking", "waving")
LONG_COLUMNS = ("video", "label", "start", "end")
LETTERS = string.ascii_lowercase


def generate_demo(
    folder: Path,
    *,
    people: int = 40,
    videos_per_person: int = 2,
    seed: int = 0,
    num_workers: int | None = None,
    long: bool = False,
) -> list[Path]:
    """Write the demo data set to a folder and return its videos, sorted.

    Each person performs each of the six classes `videos_per_person` times; or, in one `long` video,
    some of them one after the other, of which labels.csv then tells the times. The same people,
    videos per person and seed give the same bytes for any number of worker processes, by
    default one for each CPU. A folder that exists is replaced only if it is empty or holds
    nothing but videos of this generator.

    Raises:
        InputError: a number is out of its range, or the folder holds something else.
    """
    workers = (os.cpu_count() or 1) if num_workers is None else num_workers
    for name, value, least, most in (
        ("people", people, 1, 999),
        ("videos per person", videos_per_person, 1, len(LETTERS)),
        ("seed", seed, 0, math.inf),
        ("workers", workers, 1, math.inf),
    ):
        if not least <= value <= most:
            allowed = f"at least {least}" if most == math.inf else f"from {least} to {most}"
            raise InputError(f"{name} must be {allowed}, not {value}")
    target = folder.resolve()
    _check_replaceable(target)
    names = [
        f"{class_name}/person_{person:03d}_{letter}.mp4"
        for class_name in CLASS_NAMES
        for person in range(1, people + 1)
        for letter in LETTERS[:videos_per_person]
    ]
    if long:
        names = [f"person_{person:03d}.mp4" for person in range(1, people + 1)]
    with _built_aside(target) as unfinished:
        for class_name in () if long else CLASS_NAMES:
            (unfinished / class_name).mkdir()
        paths = [unfinished / name for name in names]
        filmed = _film_all(paths, seed=seed, num_workers=workers, long=long)
        if long:
            rows = [
                (name, *part) for name, parts in zip(names, filmed, strict=True) for part in parts
            ]
            write_text(unfinished / "labels.csv", csv_text([LONG_COLUMNS, *rows]))
    return [folder / name for name in names]


def _check_replaceable(target: Path) -> None:
    """Refuse a target that holds anything this generator did not write."""
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; give a new or empty folder")
    ours = re.compile(
        rf"({'|'.join(CLASS_NAMES)})(/person_\d{{3}}_[a-z]\.mp4)?|person_\d{{3}}\.mp4|labels\.csv"
    )
    for found in sorted(target.rglob("*")):
        name = found.relative_to(target).as_posix()
        if ours.fullmatch(name) is None:
            raise InputError(
                f"{target} is not empty and holds {name}, which is no demo video; "
                "give a new or empty folder"
            )


@contextmanager
def _built_aside(target: Path) -> Iterator[Path]:
    """A new folder beside the target that takes its place when the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # On the same disk as the target, so that moving it into place is a single rename.
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        # A folder inside: the temporary one itself can be read by its owner only.
        unfinished = aside / "new"
        unfinished.mkdir()
        yield unfinished
        if target.exists():
            target.rename(aside / "old")
        unfinished.rename(target)
    finally:
        shutil.rmtree(aside)


def _film_all(paths: list[Path], *, seed: int, num_workers: int, long: bool) -> list[Any]:
    # Here, not above: PyAV, Pillow and NumPy take a while, and --help needs none of them.
    from slowfast_finetune.demo.filming import film_long_video, film_video

    film_one: Callable[[Path], Any] = partial(film_long_video if long else film_video, seed=seed)
    with ExitStack() as stack:
        films: Iterator[Any] = map(film_one, paths)
        if num_workers > 1:
            # Spawned, not forked: a caller's threads or GPU would not survive a fork.
            pool = ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"))
            films = stack.enter_context(pool).map(film_one, paths, chunksize=4)
        return list(progress(films, total=len(paths), label="demo videos"))
