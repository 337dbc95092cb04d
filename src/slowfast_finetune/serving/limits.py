"""Limits of the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServeLimits:
    """What one request may cost, and how many there may be at once.

    Attributes:
        max_bytes: of an upload, form and all.
        max_seconds: of a video that are predicted; the rest is left out [s].
        queue: videos that wait for the model.
        uploads: that arrive at once.
        connections: open at once, idle ones too.
        header_seconds: from a connection to its first request [s].
        idle_seconds: an upload that sends nothing for this long is refused [s].
        upload_seconds: an upload takes no longer [s].
        answer_seconds: from the end of the upload to the answer, waiting included [s].
        decoder_seconds: a decoder that sends no frame for this long has hung [s].
        worker_memory_mb: of a decoding process.
    """

    max_bytes: int = 200_000_000
    max_seconds: float = 600.0
    queue: int = 16
    uploads: int = 32
    connections: int = 256
    header_seconds: float = 10.0
    idle_seconds: float = 10.0
    upload_seconds: float = 300.0
    answer_seconds: float = 300.0
    decoder_seconds: float = 15.0
    worker_memory_mb: int = 2048
