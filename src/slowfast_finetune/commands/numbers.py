"""Types of numbers on the command line, for argparse."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable
from typing import TypeVar

Number = TypeVar("Number", int, float)


def number_from(
    kind: type[Number], least: float, most: float = math.inf
) -> Callable[[str], Number]:
    """A type that takes finite numbers of a kind from ``least`` to ``most``."""
    expected = f"a {'whole ' if kind is int else ''}number from {least:g}"
    if most < math.inf:
        expected += f" to {most:g}"

    def parsed(text: str) -> Number:
        with contextlib.suppress(ValueError):
            number = kind(text)
            if least <= number <= most and math.isfinite(number):
                return number
        raise argparse.ArgumentTypeError(f"found {text}, expected {expected}")

    return parsed
