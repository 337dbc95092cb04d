"""Counters of the server, in the text format of Prometheus."""

import contextlib
from collections.abc import Callable

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from slowfast_finetune.serving.problems import STATUS_AND_OUTCOME

BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)


class ServerMetrics:
    """Counters of one server; a registry of its own, so that two servers do not mix."""

    def __init__(self, *, queue_length: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "slowfast_requests", "Requests to /predict, by how they ended", ["outcome"],
            registry=registry,
        )  # fmt: skip
        for outcome in ("answered", "refused", *{kind for _, kind in STATUS_AND_OUTCOME.values()}):
            self.requests.labels(outcome)
        self.refused = Counter(
            "slowfast_videos_refused", "Videos that could not be read, by the reason's code",
            ["reason"], registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "slowfast_request_seconds", "From the first byte of a request to its answer",
            buckets=BUCKETS, registry=registry,
        )  # fmt: skip
        queue = Gauge("slowfast_queue_length", "Videos without an answer yet", registry=registry)
        queue.set_function(queue_length)
        memory = Gauge(
            "slowfast_resident_memory_bytes", "Memory of the server and of its decoding processes",
            ["processes"], registry=registry,
        )  # fmt: skip
        process = psutil.Process()
        memory.labels("server").set_function(lambda: process.memory_info().rss)
        memory.labels("decoders").set_function(lambda: _bytes_of_children(process))


def _bytes_of_children(process: psutil.Process) -> int:
    """Memory held by the processes that this one started."""
    held = 0
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            held += child.memory_info().rss
    return held
