"""Decide about doubtful labels on a page, by key.

Open the label desk on this machine: labels in doubt, each as a short loop beside what it is taken
for. Decisions are appended to the table of labels.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_finetune.base.console import count, say
from slowfast_finetune.base.extras import import_extra
from slowfast_finetune.commands.options import add_device, number_from
from slowfast_finetune.commands.serve import LOOPBACK_NAMES, listening_socket

if TYPE_CHECKING:
    import uvicorn

    from slowfast_finetune.desk.desk_session import LabelDesk

HOST = "127.0.0.1"
OPEN_SECONDS = 0.3  # until the server listens


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--unlabelled", type=Path, metavar="FOLDER",
           help="also ask for labels of the videos in this folder that teach most")  # fmt: skip
    option("--blind", action="store_true",
           help="begin with the model's opinion hidden")  # fmt: skip
    option("--random-share", type=number_from(float, 0, 0.9), default=0.1, metavar="SHARE",
           help="so many cases are drawn at random, to estimate the share of wrong labels "
           "[%(default)s]")  # fmt: skip
    option("--seed", type=number_from(int, 0), default=0, help="of that draw [%(default)s]")
    add_device(parser)
    option("--port", type=number_from(int, 0, 65_535), default=0,
           help="0 takes a free one [%(default)s]")  # fmt: skip
    option("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace) -> None:
    for name in ("fastapi", "uvicorn"):
        import_extra(name, extra="serve", what="label")
    from slowfast_finetune.desk.desk_session import LabelDesk
    from slowfast_finetune.desk.queue import build_queue

    # The port first: the queue takes a while.
    with listening_socket(HOST, args.port) as listener:
        project = Path.cwd()
        cases = build_queue(
            project,
            unlabelled=args.unlabelled,
            random_share=args.random_share,
            seed=args.seed,
            device=args.device,
        )
        desk = LabelDesk(project, cases)
        token = secrets.token_urlsafe(16)
        server = make_desk_server(desk, token=token, blind=args.blind)
        address = f"http://{HOST}:{listener.getsockname()[1]}/{token}/"
        say(f"{count(len(cases), 'case')}; decisions go to {desk.table.path}")
        say(f"{address} – Ctrl-C ends it")
        if not args.no_browser:
            threading.Timer(OPEN_SECONDS, webbrowser.open, [address]).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
        say(summary(desk))


def make_desk_server(desk: LabelDesk, *, token: str, blind: bool = False) -> uvicorn.Server:
    """A server of the page below ``/TOKEN/``."""
    import uvicorn

    from slowfast_finetune.desk.desk_app import create_desk_app

    app = create_desk_app(desk, token=token, blind=blind, names=LOOPBACK_NAMES)
    config = uvicorn.Config(
        app, ws="none", log_level="warning", access_log=False, server_header=False
    )
    return uvicorn.Server(config)


def summary(desk: LabelDesk) -> str:
    """What was decided, and the estimated share of wrong labels."""
    lines = [f"{count(len(desk.table.standing), 'decision')} in {desk.table.path}"]
    if estimate := desk.estimate():
        wrong, decided, drawn = (estimate[name] for name in ("wrong", "count", "drawn"))
        lines.append(
            f"{wrong} of {count(decided, 'random case')} had a wrong label "
            f"(drawn, but not decided: {drawn - decided}): 95 % confidence interval of the share "
            f"{100 * estimate['low']:.1f} to {100 * estimate['high']:.1f} %"
        )
    return "\n".join([*lines, "`dvc repro` learns from them"])
