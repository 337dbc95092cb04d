"""The ``slowfast`` command. Each subcommand imports what it needs, so --help answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune import __version__
from slowfast_finetune.console import run, say


def main() -> None:
    """Entry point of the ``slowfast`` command."""
    run(_main)


def _main() -> None:
    args = _parser().parse_args()
    args.handler(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slowfast",
        description="Teach SlowFast to recognise actions in your own videos.",
        epilog="The pipeline itself runs through DVC: `dvc repro`, `dvc metrics show`.",
    )
    parser.add_argument("--version", action="version", version=f"slowfast {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_preset(commands)
    return parser


def _add_preset(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    preset = commands.add_parser(
        "preset",
        help="switch params.yaml to a preset and point it at your videos",
        description="Switch params.yaml to a preset and point it at your videos. "
        "Without a name, list the presets.",
    )
    preset.add_argument("name", nargs="?", help="a file of presets/ without .yaml")
    preset.add_argument(
        "--videos", type=Path, metavar="FOLDER", help="folder that holds one folder per class"
    )
    preset.set_defaults(handler=_preset)


def _preset(args: argparse.Namespace) -> None:
    from slowfast_finetune.presets import apply_preset, list_presets

    if args.name is None:
        say("\n".join(f"{name:26} {summary}" for name, summary in list_presets(Path.cwd())))
    else:
        say(apply_preset(Path.cwd(), args.name, videos=args.videos))


if __name__ == "__main__":
    main()
