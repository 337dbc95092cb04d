"""Options that several commands have, and types of numbers, for argparse."""

import argparse
import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint``."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("models/best.pt"),
        metavar="FILE",
        help="the trained model [%(default)s]",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to compute [%(default)s]",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add ``--precision``."""
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        default="auto",
        help="int8: on a CPU, after slowfast export --format int8 [as the model was trained]",
    )


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
