"""What surrounds every request: headers, who may ask, and answers that arrive before the upload."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response

from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.problems import RequestRefusedError, server_error

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LINGER_UPLOADS = 2  # of the largest size are thrown away at most, of a refused request
LINGER_SECONDS = 10.0  # in which a refused upload may go on being sent, and is thrown away

# Nothing is loaded from elsewhere, and nobody shows the page in a frame of theirs.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; media-src blob:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI layer around the app."""

    def __init__(self, app: App, *, limits: ServeLimits, names: frozenset[str] | None) -> None:
        """``names`` are those that the server answers to; None is any."""
        self._app = app
        self._limits = limits
        self._names = names

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = _Body(receive, headers)
        answer = _Answer(send, body, limits=self._limits)
        refusal = _foreign(headers, method=scope["method"], names=self._names)
        app: Any = self._app if refusal is None else problem_response(refusal)
        try:
            await app(scope, body.receive, answer.send)
        except Exception:
            if answer.has_begun:
                raise
            logging.getLogger("uvicorn.error").exception("a fault of the server")
            response: Any = problem_response(server_error())
            await response(scope, body.receive, answer.send)


def problem_response(error: RequestRefusedError) -> Response:
    """A refusal as JSON, with Retry-After where it helps to come back."""
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return JSONResponse(error.problem.model_dump(), status_code=error.status, headers=headers)


def _foreign(
    headers: Headers, *, method: str, names: frozenset[str] | None
) -> RequestRefusedError | None:
    """Refuse what another web site makes a browser send.

    A page elsewhere can have a browser on this machine ask a server on loopback: by its address, or
    by a name of its own that it has pointed at 127.0.0.1.
    """

    def forbidden(detail: str) -> RequestRefusedError:
        return RequestRefusedError(403, "forbidden", detail, outcome="bad_request")

    host = headers.get("host", "")
    if names is not None and _host_name(f"//{host}") not in names:
        return forbidden("asked by a name that is not this server's; see --name")
    if method in ("GET", "HEAD"):
        return None
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    same = site in ("same-origin", "none") if site else origin in (None, *_origins(host))
    return None if same else forbidden("asked by a page of another site")


def _host_name(address: str) -> str | None:
    with contextlib.suppress(ValueError):
        return urlsplit(address).hostname
    return None


def _origins(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"


class _Body:
    """The request's body, and whether all of it has come."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self._is_awaited = headers.get("expect", "").lower() == "100-continue"
        length = headers.get("content-length")
        has_body = (length not in (None, "0")) or "transfer-encoding" in headers
        self.is_whole = not has_body

    @property
    def is_on_its_way(self) -> bool:
        """Whether the client sends more; one that waits for permission does not."""
        return not self.is_whole and not self._is_awaited

    async def receive(self) -> Message:
        self._is_awaited = False
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.is_whole = True
        return message


class _Answer:
    """The response. One that comes before the upload has ended lets it end, within limits.

    Closing a connection on which bytes still arrive resets it, and the client may lose the answer.
    """

    def __init__(self, send: Send, body: _Body, *, limits: ServeLimits) -> None:
        self._send = send
        self._body = body
        self._max_bytes = LINGER_UPLOADS * limits.max_bytes
        self._seconds = min(LINGER_SECONDS, limits.upload_seconds)
        self._idle_seconds = limits.idle_seconds
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if not self._body.is_whole:
                headers["connection"] = "close"
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and self._body.is_on_its_way:
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        deadline = time.monotonic() + self._seconds
        num_bytes = 0
        with contextlib.suppress(TimeoutError):
            while not self._body.is_whole and num_bytes <= self._max_bytes:
                left = deadline - time.monotonic()
                async with asyncio.timeout(max(0.0, min(left, self._idle_seconds))):
                    message = await self._body.receive()
                num_bytes += len(message.get("body", b""))
