"""The content hash of a file: BLAKE2b-128 of its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from slowfast_finetune.base.errors import DataError

HASH_BYTES = 16  # of BLAKE2b: 32 hex digits, no accidental collision in any collection


def hash_file(path: Path) -> str:
    """BLAKE2b-128 of one file's bytes, as 32 hex digits."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(
                file, lambda: hashlib.blake2b(digest_size=HASH_BYTES)
            ).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
