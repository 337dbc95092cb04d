"""uvicorn's HTTP protocol with limits: number of connections, idle and non-reading clients."""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.problems import RequestRefusedError

RETRY_SECONDS = 5
LINGER_SECONDS = 2.0  # for the client to read the refusal before the connection closes


def _raw(refusal: RequestRefusedError) -> bytes:
    """A whole response, for what never reaches the application."""
    response = refusal.response()
    status = f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}"
    headers = [f"{name}: {value}" for name, value in response.headers.items()]
    lines = [status, *headers, "connection: close", "", ""]
    return "\r\n".join(lines).encode() + bytes(response.body)


BUSY = _raw(RequestRefusedError("busy", "too many connections", retry_after=RETRY_SECONDS))
BAD_REQUEST = _raw(RequestRefusedError("bad_request", "this is not HTTP"))


class BoundedProtocol(H11Protocol):
    """HTTP/1.1. Refuses too many connections; closes idle and non-reading clients.

    Uses ``connections``, ``cycle``, ``transport``, ``loop`` and ``send_400_response`` of uvicorn,
    which are the same in versions 0.34 to 0.54.
    """

    serve_limits: ServeLimits
    _is_refused = False
    _silence: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None
    _num_unsent = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch_taking()
        if len(self.connections) > 2 * self.serve_limits.connections:
            transport.abort()
        self._is_refused = len(self.connections) > self.serve_limits.connections
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            self._refuse()
            return
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._watch()
        else:
            self._unwatch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        if self._taking is not None:
            self._taking.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        self.transport.write(BAD_REQUEST)
        self.transport.close()

    def _refuse(self) -> None:
        if self._silence is not None:
            self._unwatch()
            self.transport.write(BUSY)
            self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _watch_taking(self) -> None:
        """Abort a connection whose client reads nothing of its answer: closing would wait."""
        num_unsent = self.transport.get_write_buffer_size()
        if num_unsent and num_unsent == self._num_unsent:
            self.transport.abort()
            return
        self._num_unsent = num_unsent
        self._taking = self.loop.call_later(self.serve_limits.idle_seconds, self._watch_taking)

    def _watch(self) -> None:
        # Until the first request, and while one's head arrives. Between requests uvicorn closes an
        # idle connection itself; here that could hit the next request.
        if self._silence is None:
            self._silence = self.loop.call_later(
                self.serve_limits.header_seconds, self.transport.close
            )

    def _unwatch(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None


def bounded_protocol(limits: ServeLimits) -> type[asyncio.Protocol]:
    """The protocol of a server that keeps to ``limits``; uvicorn makes one for each connection."""
    return type("LimitedProtocol", (BoundedProtocol,), {"serve_limits": limits})
