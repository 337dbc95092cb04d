"""``slowfast serve``: its options, and the server that runs until Ctrl-C."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast_finetune.base.console import say
from slowfast_finetune.base.errors import InputError
from slowfast_finetune.serving.limits import ServeLimits

if TYPE_CHECKING:
    import uvicorn

    from slowfast_finetune.serving.app import Service

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
HOW_TO_INSTALL = "pip install 'slowfast-finetune[serve]'"
GRACE_SECONDS = 10  # for connections to close when the server stops
KEEP_ALIVE_SECONDS = 30  # longer than clients do, or requests could meet a closing one
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    defaults = ServeLimits()
    serve = commands.add_parser(
        "serve",
        help="a web page to drop a video on, and an HTTP endpoint",
        description="Serve a trained model: a page to drop a video on, POST /predict, /health, "
        "/metrics. There is no password; on loopback only this machine can use it.",
    )
    option = serve.add_argument
    option("--checkpoint", type=Path, default=Path("models/best.pt"), metavar="FILE",
           help="(%(default)s)")  # fmt: skip
    option("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    option("--port", type=_port, default=8000, help="0 takes a free one (%(default)s)")
    option("--name", action="append", default=[],
           help="additional allowed Host name, e.g. behind a proxy; may be repeated")  # fmt: skip
    option("--max-megabytes", type=_positive, default=defaults.max_bytes / 1e6, metavar="N",
           help=f"largest upload ({defaults.max_bytes / 1e6:g})")  # fmt: skip
    option("--max-seconds", type=_positive, default=defaults.max_seconds, metavar="N",
           help=f"predict at most N seconds of a video ({defaults.max_seconds:g})")  # fmt: skip
    option("--queue", type=_count, default=defaults.queue, metavar="N",
           help="videos that may wait; more are told when to come back (%(default)s)")  # fmt: skip
    option("--workers", type=_count, metavar="N", help="decoding processes (one a core, 4 at most)")
    option("--device", choices=["auto", "cpu", "cuda"], default="auto", help="(auto)")
    serve.set_defaults(handler=_serve)


def _serve(args: argparse.Namespace) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"serve needs {', '.join(missing)}: {HOW_TO_INSTALL}")
    # The port first: a model takes seconds to load.
    with listening_socket(args.host, args.port) as listener:
        limits = ServeLimits(
            max_bytes=int(args.max_megabytes * 1e6),
            max_seconds=args.max_seconds,
            queue=args.queue,
        )
        service = load_service(
            args.checkpoint, limits=limits, workers=args.workers, device=args.device
        )
        run_server(service, listener, host=args.host, names=args.name)


def load_service(
    checkpoint: Path, *, limits: ServeLimits, workers: int | None = None, device: str = "auto"
) -> Service:
    """A service with its model loaded.

    Raises:
        CheckpointError: the model cannot be used.
    """
    from slowfast_finetune.clips.workers import worker_count
    from slowfast_finetune.serving.app import Service
    from slowfast_finetune.serving.inference import InferenceEngine

    decoders = workers or min(4, worker_count("auto"))
    engine = InferenceEngine(checkpoint, limits=limits, decoders=decoders, device=device)
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


def run_server(service: Service, listener: socket.socket, *, host: str, names: list[str]) -> None:
    """Serve until Ctrl-C."""
    known = own_names(host, names)
    server = make_server(service, names=known)
    if known is None:
        say(f"warning: {host} is open to the network, and there is no password")
    shown = f"[{host}]" if ":" in host else host
    say(f"http://{shown}:{listener.getsockname()[1]}/ – Ctrl-C ends it")
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        say("stopped")
    finally:
        if service.is_stuck:
            # The interpreter would wait for the thread that computes before it exits.
            os._exit(1)


def own_names(host: str, names: list[str]) -> frozenset[str] | None:
    """Allowed host names, lower-case; None allows any, if the server is not on loopback."""
    if not is_loopback(host):
        return None
    return frozenset(name.lower() for name in (*LOOPBACK_NAMES, host, *names))


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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"found {text}, expected more than 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected 1 or more")
    return number


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"found {text}, expected 0 to 65535")
    return int(text)
