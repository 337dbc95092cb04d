"""The folds of a k-fold as one measurement.

Put the predictions of the folds of a k-fold together: one accuracy, with its 95 % confidence
interval, over videos that were each tested once.
"""

import argparse
from pathlib import Path

from slowfast_finetune.base.console import say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folds",
        nargs="+",
        metavar="FOLD",
        help="a predictions.csv, or a commit, branch, tag or experiment",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all as a predictions.csv")


def run(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.files import write_text
    from slowfast_finetune.comparing.pooling import check_kfold, describe, pool
    from slowfast_finetune.comparing.sources import warnings_of

    folds, together = pool(args.folds)
    missing = check_kfold(args.folds)
    say("\n".join([describe(folds, together), *missing, *warnings_of(args.folds)]))
    if args.out:
        write_text(args.out, together.frame.to_csv(index=False))
        say(f"wrote {args.out}")
