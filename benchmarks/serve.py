"""slowfast serve under load: is every request answered, how soon, and does memory stay level?"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np

from benchmarks.clients import EXPECTED, Heard, besiege
from benchmarks.drawn_videos import draw_video
from benchmarks.report import Target, finish, format_table

MAX_MEGABYTES = 2  # so that oversized uploads cost the clients little
SAMPLE_SECONDS = 1.0
START_SECONDS = 120.0
SETTLED = 0.25  # of the time; what the server holds by then it needs
GROWTH = 1.1


def run(*, checkpoint: Path, clients: int, seconds: float, video: Path | None, out: Path) -> None:
    """Besiege a server of this machine, print tables, write serve.json."""
    with tempfile.TemporaryDirectory(prefix="serve-") as folder:
        videos = silencing_videos(Path(folder))
        videos["good"] = (video or drawn(Path(folder))).read_bytes()
        with server(checkpoint, folder=Path(folder)) as url:
            heard, memory = asyncio.run(_measured(url, clients, seconds, videos))
        left = [path.name for path in Path(folder).glob("slowfast-serve-*")]
    print(format_table(*outcome_table(heard)), end="\n\n")
    for fault, count in heard.faults.most_common(5):
        print(f"lost {count}: {fault}")
    settled = memory[int(len(memory) * SETTLED)]
    print(f"memory [MB]: start {memory[0]:.0f}, ", end="")
    print(f"settled {settled:.0f}, most {max(memory):.0f}, end {memory[-1]:.0f}")
    targets = [
        Target("requests lost", 0, heard.lost, at_most=True),
        Target("wrong answers", 0, heard.wrong, at_most=True),
        Target("busy without Retry-After", 0, heard.without_retry_after, at_most=True),
        Target("memory at the end, of settled", GROWTH, memory[-1] / settled, at_most=True),
        Target("files left", 0, len(left), at_most=True),
    ]
    results = {
        "clients": clients,
        "seconds": seconds,
        "outcomes": [
            {"kind": kind, "status": status, "count": count, "median_seconds": median}
            for kind, status, count, median in outcomes(heard)
        ],
        "memory_mb": memory,
        "faults": dict(heard.faults),
    }
    finish("serve", out=out, results=results, targets=targets)


def drawn(folder: Path) -> Path:
    """A video of two seconds."""
    return draw_video(folder / "drawn.mp4", width=320, height=240, num_frames=60)


def silencing_videos(folder: Path) -> dict[str, bytes]:
    """Small videos of a few seconds that could keep a server busy without an end, by kind.

    In a transport stream a leap is one of the clock; elsewhere the frame before it is held.
    """
    return {
        "held for minutes": _leaping(folder / "minutes.mp4", 580),
        "held for a day": _leaping(folder / "day.mkv", 86_400),
        "leaping clock": _leaping(folder / "leap.ts", 7_200),
    }


def _leaping(path: Path, leap_seconds: int) -> bytes:
    """Six seconds at 10 frames/s; in the middle the time stamps leap."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.options = {"bf": "0"}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(60):
            picture = np.full((120, 160, 3), 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = 100 * number + (1000 * leap_seconds if number >= 30 else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


async def _measured(
    url: str, clients: int, seconds: float, videos: Mapping[str, bytes]
) -> tuple[Heard, list[float]]:
    """What was heard, and the memory of server and decoders from then to then [MB]."""
    memory: list[float] = []

    async def sample(http: httpx.AsyncClient) -> None:
        while True:
            memory.append(await memory_mb(http))
            await asyncio.sleep(SAMPLE_SECONDS)

    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        # What the first answers need is no growth.
        for address in ("/predict", "/predict?explain=true"):
            (await http.post(address, content=videos["good"])).raise_for_status()
        sampling = asyncio.create_task(sample(http))
        heard = await besiege(
            url,
            clients=clients,
            seconds=seconds,
            videos=videos,
            max_bytes=MAX_MEGABYTES * 1_000_000,
        )
        sampling.cancel()
        memory.append(await memory_mb(http))
    return heard, memory


async def memory_mb(http: httpx.AsyncClient) -> float:
    """What the server says it and its decoders hold [MB]."""
    lines = (await http.get("/metrics")).text.splitlines()
    name = "slowfast_resident_memory_bytes{"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)) / 1e6


@contextmanager
def server(checkpoint: Path, *, folder: Path) -> Iterator[str]:
    """``slowfast serve`` on a free port of 127.0.0.1 while the block runs."""
    command = [
        *(sys.executable, "-m", "slowfast_finetune.cli", "serve", "--port", "0"),
        *("--checkpoint", str(checkpoint), "--max-megabytes", str(MAX_MEGABYTES)),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" ")[0].rstrip("/")
        if not url.startswith("http://127.0.0.1:"):
            raise SystemExit("error: the server did not start")
        _wait_for(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(f"{url}/health", trust_env=False)
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def outcomes(heard: Heard) -> list[tuple[str, int, int, float]]:
    """Kind, status, requests, and median seconds to the answer, in the order of the kinds."""
    kinds = list(EXPECTED)
    return [
        (kind, status, count, statistics.median(heard.seconds[kind, status]))
        for (kind, status), count in sorted(
            heard.outcomes.items(), key=lambda item: (kinds.index(item[0][0]), item[0][1])
        )
    ]


def outcome_table(heard: Heard) -> tuple[list[str], list[list[str]]]:
    """The same as header and rows of a table."""
    rows = [
        [kind, str(status or "lost"), str(count), f"{median:.2f}",
         f"{max(heard.seconds[kind, status]):.2f}"]
        for kind, status, count, median in outcomes(heard)
    ]  # fmt: skip
    return ["upload", "status", "requests", "median s", "longest s"], rows
