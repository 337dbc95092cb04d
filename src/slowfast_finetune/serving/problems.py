"""Refusals of requests: one exception, with its HTTP status and what the client is told."""

from __future__ import annotations

from slowfast_finetune.serving.answers import Problem


class RequestRefusedError(Exception):
    """A request is refused.

    Attributes:
        status: of HTTP.
        outcome: what /metrics counts it as.
        retry_after: when to come back [s].
    """

    def __init__(
        self, status: int, reason: str, detail: str, *, outcome: str, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.outcome = outcome
        self.retry_after = retry_after
        self.problem = Problem(reason=reason, detail=detail)


def bad_request(detail: str) -> RequestRefusedError:
    """A malformed request."""
    return RequestRefusedError(400, "bad_request", detail, outcome="bad_request")


def too_large(max_bytes: int) -> RequestRefusedError:
    """An upload of more bytes than are taken."""
    detail = f"an upload may have {max_bytes / 1e6:g} MB"
    return RequestRefusedError(413, "upload_too_large", detail, outcome="too_large")


def too_slow(detail: str) -> RequestRefusedError:
    """An upload that takes too long."""
    return RequestRefusedError(408, "upload_too_slow", detail, outcome="too_slow")


def busy(detail: str, *, retry_after: int) -> RequestRefusedError:
    """No room now."""
    return RequestRefusedError(503, "busy", detail, outcome="busy", retry_after=retry_after)


def timed_out(seconds: float) -> RequestRefusedError:
    """A request without an answer within the limit [s]."""
    detail = f"no answer within {seconds:g} s of the upload"
    return RequestRefusedError(504, "timed_out", detail, outcome="timed_out")


def stuck(seconds: float) -> RequestRefusedError:
    """The model has been computing one video for longer than a request may take [s]."""
    detail = f"the model has been computing one video for {seconds:.0f} s; restart the server"
    return RequestRefusedError(503, "stuck", detail, outcome="failed")


def refused_video(reason: str, detail: str) -> RequestRefusedError:
    """A video that cannot be read; a code of docs/formats.md."""
    return RequestRefusedError(422, reason, detail, outcome="refused")


def server_error() -> RequestRefusedError:
    """An error in the server."""
    detail = "internal server error; the traceback is in the log"
    return RequestRefusedError(500, "server_error", detail, outcome="failed")


class ClientLeftError(Exception):
    """The client disconnected before the response."""
