"""ASGI layer around the application: headers, who may send requests, and early refusals."""

import asyncio
import contextlib
import logging
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.problems import RequestRefusedError

LINGER_UPLOADS = 2  # uploads of the largest size are thrown away at most, of a refused request
LINGER_SECONDS = 10.0  # for which a refused upload may go on being sent, and is thrown away

# Nothing is loaded from other sites, and no other site may show the page in a frame.
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
    """Refuses requests that other sites cause, and adds headers to every response.

    Args:
        names: host names of the server; None allows any.
    """

    def __init__(self, app: ASGIApp, *, limits: ServeLimits, names: frozenset[str] | None) -> None:
        self._app = app
        self._limits = limits
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange = _Exchange(receive, send, headers, limits=self._limits)
        refusal = _foreign(headers, method=scope["method"], names=self._names)
        app: ASGIApp = self._app if refusal is None else refusal.response()
        try:
            await app(scope, exchange.receive, exchange.send)
        except Exception:
            if exchange.has_begun:
                raise
            logging.getLogger("uvicorn.error").exception("an error in the server")
            detail = "internal server error; the traceback is in the log"
            answer = RequestRefusedError("server_error", detail).response()
            await answer(scope, exchange.receive, exchange.send)


def _foreign(
    headers: Headers, *, method: str, names: frozenset[str] | None
) -> RequestRefusedError | None:
    """Refuse what another web site makes a browser send.

    A page elsewhere can make a browser on this machine send requests to a server on loopback: to
    its address, or to a name of the page's own that points at 127.0.0.1 (DNS rebinding).
    """
    host, host_name = headers.get("host", ""), None
    with contextlib.suppress(ValueError):
        host_name = urlsplit(f"//{host}").hostname
    if names is not None and host_name not in names:
        detail = "this Host header is not allowed; add it with --name"
        return RequestRefusedError("forbidden", detail)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    own = (None, f"http://{host}", f"https://{host}")
    is_own = site in ("same-origin", "none") if site else origin in own
    if method in ("GET", "HEAD") or is_own:
        return None
    return RequestRefusedError("forbidden", "sent by a page of another site")


class _Exchange:
    """A request and its response. After an early response, the rest of the upload is thrown away.

    Closing a connection on which bytes still arrive resets it, and the client may lose the answer.
    """

    def __init__(
        self, receive: Receive, send: Send, headers: Headers, *, limits: ServeLimits
    ) -> None:
        self.has_begun = False
        self._receive, self._send, self._limits = receive, send, limits
        has_body = headers.get("content-length") not in (None, "0")
        self._is_whole = not has_body and "transfer-encoding" not in headers
        # Such a client sends its body only after the first call of ``receive``.
        self._is_awaited = headers.get("expect", "").lower() == "100-continue"

    async def receive(self) -> Message:
        self._is_awaited = False
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._is_whole = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if not self._is_whole:
                headers["connection"] = "close"
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and not self._is_whole and not self._is_awaited:
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        limits = self._limits
        deadline = time.monotonic() + min(LINGER_SECONDS, limits.upload_seconds)
        left = LINGER_UPLOADS * limits.max_bytes
        with contextlib.suppress(TimeoutError):
            while not self._is_whole and left >= 0:
                seconds = min(deadline - time.monotonic(), limits.idle_seconds)
                async with asyncio.timeout(max(0.0, seconds)):
                    left -= len((await self.receive()).get("body", b""))
