"""Clients that all want something of one server at once: good, broken, oversized, slow uploads.

Some of the good ones are made to keep a server busy without an end: frames that are held for
minutes or a day, and a clock that leaps.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

# What a client of each kind may hear, beside 503: come back later.
EXPECTED: Mapping[str, int] = {
    "good": 200,
    "explained": 200,
    "held for minutes": 200,
    "held for a day": 200,
    "leaping clock": 200,
    "broken": 422,
    "oversized": 413,
    "oversized, chunked": 413,
    "slow": 408,
}
SHARES: Mapping[str, int] = {
    "good": 8,
    "explained": 2,
    "held for minutes": 1,
    "held for a day": 1,
    "leaping clock": 1,
    "broken": 4,
    "oversized": 2,
    "oversized, chunked": 2,
    "slow": 2,
}
BUSY = 503
MAX_PAUSE_SECONDS = 3.0  # a client comes back at the latest
ANSWER_SECONDS = 120.0  # a request without an answer by then is lost
CHUNK_BYTES = 64_000


@dataclass
class Heard:
    """What all clients were answered.

    Attributes:
        outcomes: by kind and status; status 0 is a request that was lost.
        seconds: from request to answer, by kind and status [s].
        faults: what a lost request ended with.
    """

    outcomes: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return sum(count for (_, status), count in self.outcomes.items() if status == 0)

    @property
    def wrong(self) -> int:
        """Requests with an answer that does not belong to their kind."""
        return sum(
            count
            for (kind, status), count in self.outcomes.items()
            if status not in (0, BUSY, EXPECTED[kind])
        )

    def note(self, kind: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.outcomes[kind, status] += 1
        self.seconds.setdefault((kind, status), []).append(seconds)


async def besiege(
    url: str,
    *,
    clients: int,
    seconds: float,
    videos: Mapping[str, bytes],
    max_bytes: int,
    seed: int = 0,
) -> Heard:
    """Let ``clients`` ask ``url``, each one request after the other, for ``seconds``.

    Args:
        videos: "good", and any of the kinds that expect 200; the others are made from "good".
    """
    heard = Heard()
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(
        base_url=url, timeout=ANSWER_SECONDS, limits=limits, trust_env=False
    ) as http:
        await asyncio.gather(
            *(
                _client(http, heard, random.Random(f"{seed} {number}"), until, videos, max_bytes)
                for number in range(clients)
            )
        )
    return heard


async def _client(
    http: httpx.AsyncClient,
    heard: Heard,
    rng: random.Random,
    until: float,
    videos: Mapping[str, bytes],
    max_bytes: int,
) -> None:
    kinds, weights = list(SHARES), list(SHARES.values())
    while time.monotonic() < until:
        (kind,) = rng.choices(kinds, weights)
        began = time.monotonic()
        pause = 0.0
        try:
            if kind == "slow":
                status, retry_after = await _slow(str(http.base_url))
            else:
                status, retry_after = await _ask(http, kind, rng, videos, max_bytes)
        except (httpx.HTTPError, OSError, EOFError, ValueError) as error:
            status, retry_after = 0, None
            heard.faults[f"{kind}: {type(error).__name__} {error}"] += 1
        heard.note(kind, status, time.monotonic() - began)
        if status == BUSY:
            heard.without_retry_after += retry_after is None
            pause = min(MAX_PAUSE_SECONDS, float(retry_after or 1)) * rng.uniform(0.5, 1.0)
        await asyncio.sleep(pause)


async def _ask(
    http: httpx.AsyncClient,
    kind: str,
    rng: random.Random,
    videos: Mapping[str, bytes],
    max_bytes: int,
) -> tuple[int, str | None]:
    address = "/predict?explain=true" if kind == "explained" else "/predict"
    video = videos["good"]
    content: bytes | AsyncIterator[bytes] = videos.get(kind, video)
    if kind == "broken":
        content = rng.choice([video[: len(video) // 3], b"no video", rng.randbytes(20_000), b""])
    elif kind == "oversized":
        content = bytes(max_bytes + 1)
    elif kind == "oversized, chunked":
        content = _endless(max_bytes)
    response = await http.post(address, content=content)
    return response.status_code, response.headers.get("retry-after")


async def _endless(max_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(0, max_bytes + CHUNK_BYTES, CHUNK_BYTES):
        yield bytes(CHUNK_BYTES)


async def _slow(url: str) -> tuple[int, str | None]:
    """Promise an upload, send a little of it, and fall silent."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        head = f"POST /predict HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-length: 100000\r\n\r\n"
        writer.write(head.encode() + bytes(1000))
        await writer.drain()
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_SECONDS)
        status, _, rest = answer.decode().removeprefix("HTTP/1.1 ").partition(" ")
        found = [line for line in rest.lower().splitlines() if line.startswith("retry-after:")]
        return int(status), found[0].partition(":")[2].strip() if found else None
    finally:
        writer.close()
