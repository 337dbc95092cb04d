"""The ``slowfast`` command. Each subcommand imports what it needs, so --help answers at once."""

import argparse
from importlib import import_module

from slowfast_finetune import __version__
from slowfast_finetune.base.console import run

# The modules of ``slowfast_finetune.commands``, in the order in which --help lists them.
COMMANDS = (
    "preset labels label doctor clips compare pool crossval predict features similar serve export"
)


def main() -> None:
    """Entry point of the ``slowfast`` command."""
    run(_run_command)


def _run_command() -> None:
    whole = argparse.ArgumentParser(
        prog="slowfast",
        description="Teach SlowFast to recognise actions in your own videos.",
        epilog="The pipeline itself runs through DVC: `dvc repro`, `dvc metrics show`.",
    )
    whole.add_argument("--version", action="version", version=f"slowfast {__version__}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS.split():
        command = import_module(f"slowfast_finetune.commands.{name}")
        # The docstring is the text of --help: a summary and a description; with -OO, none.
        summary, description = (command.__doc__ or "\n\n").split("\n\n")
        summary = summary[:1].lower() + summary[1:].rstrip(".")
        parser = commands.add_parser(name, help=summary, description=description)
        command.add_options(parser)
        parser.set_defaults(handler=command.run)
    args = whole.parse_args()
    args.handler(args)


if __name__ == "__main__":
    main()
