"""Limits of the server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServeLimits:
    """What one request may cost, and how many there may be at once."""

    max_bytes: int = 200_000_000  # of an upload, form and all
    max_seconds: float = 600.0  # of a video that are predicted; the rest is left out [s]
    queue: int = 16  # videos that wait for the model
    uploads: int = 32  # that arrive at once
    connections: int = 256  # open at once, idle ones too
    header_seconds: float = 10.0  # from a connection to its first request [s]
    idle_seconds: float = 10.0  # an upload that sends nothing for this long is refused [s]
    upload_seconds: float = 300.0  # an upload takes no longer [s]
    answer_seconds: float = 300.0  # from the end of the upload to the answer, waiting included [s]
    decoder_seconds: float = 15.0  # a decoder that sends no frame for this long has hung [s]
    worker_memory_mb: int = 2048  # of a decoding process
