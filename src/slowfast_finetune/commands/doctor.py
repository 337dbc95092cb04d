"""Check your videos before training.

Check your videos before training for broken files, copies, file properties that predict the class,
scenes in more than one split, and wrong labels. Without FOLDER, check the videos of data.videos,
with the split of data/manifest.csv if that lists them. Exit code 1 if there are problems.
"""

import argparse
from pathlib import Path

from slowfast_finetune.base.console import say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="holds one folder per class")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("doctor.html"),
        metavar="FILE",
        help="page with contact sheets of every class [%(default)s]",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    parser.add_argument("--strict", action="store_true", help="exit code 1 also for warnings")


def run(args: argparse.Namespace) -> None:
    import sys

    from slowfast_finetune.base.files import write_text
    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.doctor.diagnosis import examine
    from slowfast_finetune.doctor.diagnosis_text import diagnosis_json, diagnosis_text
    from slowfast_finetune.doctor.doctor_page import doctor_page

    params = load_params(args.params)
    diagnosis = examine(args.folder, params=params, project=Path.cwd())
    write_text(args.out, doctor_page(diagnosis))
    if args.json:
        say(diagnosis_json(diagnosis))
    else:
        say(diagnosis_text(diagnosis))
        say(f"{args.out}: contact sheets of every class")
    if diagnosis.has("problem") or (args.strict and diagnosis.has("warning")):
        sys.exit(1)
