"""``slowfast preset``: switch params.yaml to a preset."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.base.console import say


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
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
    preset.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> None:
    from slowfast_finetune.presets import apply_preset, list_presets

    if args.name is None:
        say("\n".join(f"{name:26} {summary}" for name, summary in list_presets(Path.cwd())))
    else:
        say(apply_preset(Path.cwd(), args.name, videos=args.videos))
