"""Counters of the server, in the text format of Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

OUTCOMES = (
    "answered",
    "refused",
    "too_large",
    "too_slow",
    "busy",
    "timed_out",
    "bad_request",
    "left",
    "failed",
)
BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)


class ServerMetrics:
    """Counters of one server; a registry of its own, so that two servers do not mix."""

    def __init__(self, *, queue_length: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "slowfast_requests", "Requests to /predict, by how they ended", ["outcome"],
            registry=registry,
        )  # fmt: skip
        for outcome in OUTCOMES:
            self._requests.labels(outcome)
        self._refused = Counter(
            "slowfast_videos_refused", "Videos that could not be read, by the reason's code",
            ["reason"], registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "slowfast_request_seconds", "From the first byte of a request to its answer",
            buckets=BUCKETS, registry=registry,
        )  # fmt: skip
        queue = Gauge("slowfast_queue_length", "Videos without an answer yet", registry=registry)
        queue.set_function(queue_length)
        memory = Gauge(
            "slowfast_resident_memory_bytes", "Memory of the server and of its decoding processes",
            ["processes"], registry=registry,
        )  # fmt: skip
        memory.labels("server").set_function(lambda: resident_bytes()[0])
        memory.labels("decoders").set_function(lambda: resident_bytes()[1])

    def count(self, outcome: str) -> None:
        """A request has ended."""
        self._requests.labels(outcome).inc()

    def count_refused(self, reason: str) -> None:
        """A video was refused."""
        self._refused.labels(reason).inc()

    def observe(self, seconds: float) -> None:
        """An answer took so long [s]."""
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All counters in the text format of Prometheus."""
        return generate_latest(self._registry)


def resident_bytes() -> tuple[int, int]:
    """Memory held by this process and by those it started."""
    import psutil

    process = psutil.Process()
    children = 0
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            children += child.memory_info().rss
    return process.memory_info().rss, children
