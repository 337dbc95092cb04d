"""Write the model as one file: pt2 or onnx, which run without this project, or int8.

Export the model as one program: uint8 clips in, probabilities out. Its probabilities are compared
with the checkpoint's before the file is written. The int8 file is for predict and serve on a CPU.
With --check, check a .pt or .onnx file from somebody else without running anything in it.
"""

import argparse
from pathlib import Path

from slowfast_finetune.base.console import say
from slowfast_finetune.commands.options import add_checkpoint


def add_options(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument(
        "--format", choices=["pt2", "onnx", "int8"], help="format of the exported file"
    )
    parser.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="bf16 (pt2 only) is faster on processors with bfloat16 units and slightly less exact",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="file to write [beside the checkpoint]"
    )
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="check this .pt or .onnx file instead"
    )


def run(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.errors import ExportError

    if args.check is not None:
        from slowfast_finetune.exporting.file_check import check_file

        say(check_file(args.check))
        return
    if args.format is None:
        raise ExportError("--format is needed: pt2, onnx or int8")
    from slowfast_finetune.exporting.model_export import export

    written = export(
        args.checkpoint,
        file_format=args.format,
        precision=args.precision,
        output=args.out,
        project=Path.cwd(),
    )
    say(written)
