"""``slowfast export``: the model as one file that runs without this project."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.base.console import say


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    export = commands.add_parser(
        "export",
        help="the model as one file that runs without this project: pt2 or onnx",
        description="Write the model as one program: uint8 clips in, probabilities out. It is "
        "compared with the checkpoint before it is written. With --check, look whether a file that "
        "came from elsewhere is what this project writes; nothing in it is run.",
    )
    export.add_argument("--checkpoint", type=Path, default=Path("models/best.pt"), metavar="FILE")
    export.add_argument("--format", choices=["pt2", "onnx"], help="what to write")
    export.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="bf16 (pt2 only): faster on processors that multiply bfloat16, a little less exact",
    )
    export.add_argument(
        "--out", type=Path, metavar="FILE", help="beside the checkpoint, if not given"
    )
    export.add_argument(
        "--check", type=Path, metavar="FILE", help="a .pt, .pt2 or .onnx file to look at"
    )
    export.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.errors import ExportError

    if args.check is not None:
        from slowfast_finetune.exporting.checking import check_file

        say(check_file(args.check))
        return
    if args.format is None:
        raise ExportError("--format is needed: pt2 or onnx")
    from slowfast_finetune.exporting.export import describe, export

    exported = export(
        args.checkpoint,
        file_format=args.format,
        precision=args.precision,
        output=args.out,
        project=Path.cwd(),
    )
    say(describe(exported))
