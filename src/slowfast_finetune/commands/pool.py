"""``slowfast pool``: the folds of a k-fold as one measurement."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.base.console import say


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    pool = commands.add_parser(
        "pool",
        help="the folds of a k-fold as one measurement",
        description="Put the predictions of the folds of a k-fold together: one accuracy, with "
        "its 95 % confidence interval, over videos that were each tested once.",
    )
    pool.add_argument(
        "folds",
        nargs="+",
        metavar="FOLD",
        help="a predictions.csv, or a commit, branch, tag or experiment",
    )
    pool.add_argument("--out", type=Path, metavar="FILE", help="write all as a predictions.csv")
    pool.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.files import write_text
    from slowfast_finetune.comparing.pooling import describe, pool

    folds, together = pool(args.folds)
    say(describe(folds, together))
    if args.out:
        write_text(args.out, together.frame.to_csv(index=False))
        say(f"wrote {args.out}")
