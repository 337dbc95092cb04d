"""How names of files and classes are compared."""

from __future__ import annotations

import unicodedata


def composed(text: str) -> str:
    """Unicode's composed form (NFC); macOS writes é as e and an accent (NFD)."""
    return unicodedata.normalize("NFC", text)
