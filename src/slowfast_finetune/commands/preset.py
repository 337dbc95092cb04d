"""Switch params.yaml to a preset and point it at your videos.

Switch params.yaml to a preset and point it at your videos. Without a name, list the presets.
"""

import argparse
from pathlib import Path

from slowfast_finetune.base.console import say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a file of presets/ without .yaml")
    parser.add_argument(
        "--videos", type=Path, metavar="FOLDER", help="folder that holds one folder per class"
    )


def run(args: argparse.Namespace) -> None:
    from slowfast_finetune.presets import apply_preset, list_presets

    if args.name is None:
        say("\n".join(f"{name:26} {summary}" for name, summary in list_presets(Path.cwd())))
    else:
        say(apply_preset(Path.cwd(), args.name, videos=args.videos))
