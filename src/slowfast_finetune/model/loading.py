"""Read a torch file without running code, and say in a few words why it cannot be read."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch


class UnreadableError(Exception):
    """The file is not what torch.save writes; the message says in which way."""


def load_plain(path: Path) -> Any:
    """Load tensors and plain values to the CPU.

    Raises:
        UnreadableError: cut short, of another kind, or carrying code.
        OSError: it cannot be read at all.
    """
    try:
        with warnings.catch_warnings():
            # Notices to torch's own developers about the pickle protocol of foreign files.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text advises to load it unsafely.
        if "GLOBAL" in str(error):
            raise UnreadableError("it carries code, which is not run") from error
        raise UnreadableError("it is not a file of tensors") from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UnreadableError("it is cut short or damaged, or not a file of tensors") from error
