"""A web page to drop a video on, and an HTTP endpoint.

Serve a trained model: a page to drop a video on, POST /predict, /health, /metrics. There is no
password; on loopback only this machine can use it.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast_finetune.base.console import say
from slowfast_finetune.base.errors import InputError
from slowfast_finetune.base.extras import import_extra
from slowfast_finetune.commands import options
from slowfast_finetune.serving.limits import ServeLimits

if TYPE_CHECKING:
    import uvicorn

    from slowfast_finetune.serving.app import Service

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
GRACE_SECONDS = 10  # for connections to close when the server stops
KEEP_ALIVE_SECONDS = 30  # longer than clients do, or requests could meet a closing one
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def add_options(parser: argparse.ArgumentParser) -> None:
    defaults = ServeLimits()
    option = parser.add_argument
    options.add_checkpoint(parser)
    option("--host", default="127.0.0.1", help="address to listen on [%(default)s]")
    option("--port", type=options.number_from(int, 0, 65_535), default=8000,
           help="0 takes a free one [%(default)s]")  # fmt: skip
    option("--name", action="append", default=[],
           help="additional allowed Host name, e.g. behind a proxy; may be repeated")  # fmt: skip
    option("--max-megabytes", type=options.number_from(float, 0.001, 1e9), metavar="N",
           default=defaults.max_bytes / 1e6, help="largest upload [%(default)g]")  # fmt: skip
    option("--max-seconds", type=options.number_from(float, 0.001, 1e9), metavar="N",
           default=defaults.max_seconds,
           help="predict at most N seconds of a video [%(default)g]")  # fmt: skip
    option("--queue", type=options.number_from(int, 1), default=defaults.queue, metavar="N",
           help="videos that may wait; more are told when to come back [%(default)s]")  # fmt: skip
    option("--workers", type=options.number_from(int, 1), metavar="N",
           help="decoding processes [one a core, 4 at most]")  # fmt: skip
    options.add_device(parser)
    options.add_precision(parser)


def run(args: argparse.Namespace) -> None:
    for name in NEEDED:
        import_extra(name, extra="serve", what="serve")
    # The port first: a model takes seconds to load.
    with listening_socket(args.host, args.port) as listener:
        limits = ServeLimits(
            max_bytes=int(args.max_megabytes * 1e6),
            max_seconds=args.max_seconds,
            queue=args.queue,
        )
        service = load_service(
            args.checkpoint,
            limits=limits,
            workers=args.workers,
            device=args.device,
            precision=args.precision,
        )
        known = own_names(args.host, args.name)
        server = make_server(service, names=known)
        if known is None:
            say(f"warning: {args.host} is open to the network, and there is no password")
        shown = f"[{args.host}]" if ":" in args.host else args.host
        say(f"http://{shown}:{listener.getsockname()[1]}/ – Ctrl-C ends it")
        try:
            # uvicorn ends at Ctrl-C and then raises it again; in rare cases it does not.
            with contextlib.suppress(KeyboardInterrupt):
                server.run(sockets=[listener])
            say("stopped")
        finally:
            if service.is_stuck:
                # The interpreter would wait for the thread that computes before it exits.
                os._exit(1)


def load_service(
    checkpoint: Path,
    *,
    limits: ServeLimits,
    workers: int | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Service:
    """A service with its model loaded.

    Raises:
        CheckpointError: the model cannot be used.
    """
    from slowfast_finetune.clips.workers import worker_count
    from slowfast_finetune.serving.app import Service
    from slowfast_finetune.serving.inference import InferenceEngine

    decoders = workers or min(4, worker_count("auto"))
    engine = InferenceEngine(
        checkpoint, limits=limits, decoders=decoders, device=device, precision=precision
    )
    return Service(engine, limits=limits, decoders=decoders)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the port is taken, or the address is not this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise InputError(
            f"{host}:{port}: cannot listen there: {error.strerror}; --port takes another"
        ) from error


def own_names(host: str, names: list[str]) -> frozenset[str] | None:
    """Allowed host names, lower-case; None allows any, if the server is not on loopback."""
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return frozenset(name.lower() for name in (*LOOPBACK_NAMES, host, *names))
    return None


def make_server(service: Service, *, names: frozenset[str] | None) -> uvicorn.Server:
    """A server with the allowed host names ``names``; None allows any."""
    import uvicorn

    from slowfast_finetune.serving.app import create_app
    from slowfast_finetune.serving.connections import bounded_protocol

    class Server(uvicorn.Server):
        """Tells waiting clients that it stops, before it waits for their connections."""

        async def shutdown(self, *args: Any, **kwargs: Any) -> None:
            service.stop()
            await super().shutdown(*args, **kwargs)

    return Server(
        uvicorn.Config(
            create_app(service, names=names),
            http=bounded_protocol(service.limits),
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
