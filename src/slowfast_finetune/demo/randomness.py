"""Random numbers that depend on names only, never on order, worker or time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def named_generator(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for each seed and list of names, the same on every run."""
    # Python's own hash() differs from process to process.
    text = "/".join(str(part) for part in (seed, *names))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()))


def choose(options: Sequence[T], *, rng: np.random.Generator) -> T:
    """One of the options; unlike `rng.choice`, it keeps their type."""
    return options[int(rng.integers(len(options)))]
