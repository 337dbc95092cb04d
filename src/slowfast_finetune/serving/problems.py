"""Refusals of requests: one exception, with its HTTP status and what the client is told."""

from starlette.responses import JSONResponse

from slowfast_finetune.serving.answers import Problem

# HTTP status of each reason, and what /metrics counts the request as.
STATUS_AND_OUTCOME = {
    "bad_request": (400, "bad_request"),
    "forbidden": (403, "bad_request"),
    "upload_too_slow": (408, "too_slow"),
    "upload_too_large": (413, "too_large"),
    "client_left": (499, "left"),  # never read: the client has gone
    "server_error": (500, "failed"),
    "busy": (503, "busy"),
    "stuck": (503, "failed"),
    "timed_out": (504, "timed_out"),
}
REFUSED_VIDEO = (422, "refused")  # any other reason is the code of an unreadable video


class RequestRefusedError(Exception):
    """A request is refused.

    Args:
        reason: a key of STATUS_AND_OUTCOME, or the code of docs/formats.md for a video that
            cannot be read.
        retry_after: when to come back [s].
    """

    def __init__(self, reason: str, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.status, self.outcome = STATUS_AND_OUTCOME.get(reason, REFUSED_VIDEO)
        self.retry_after = retry_after

    def response(self) -> JSONResponse:
        """The refusal as JSON, with Retry-After where it helps to come back."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        problem = Problem(reason=self.reason, detail=str(self))
        return JSONResponse(problem.model_dump(), self.status, headers=headers)
