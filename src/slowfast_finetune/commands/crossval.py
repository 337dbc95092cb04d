"""Every video tested once, by probes; and what more videos would do.

Test every video once: k-fold cross-validation (data.num_folds) of a probe on the features of
model.weights, groups kept whole. Prints the accuracy with its 95 % confidence interval, and the
accuracy by the number of training videos. Computes what the feature store lacks; trains no other
layer. Writes crossval.csv (a predictions.csv, for compare), learning_curve.csv and crossval.json,
which the report shows.
"""

import argparse
from pathlib import Path

from slowfast_finetune.base.console import say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=Path("metrics"), metavar="FOLDER", help="[%(default)s]"
    )


def run(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.base.store_location import store_root
    from slowfast_finetune.clips.clip_store import ClipStore
    from slowfast_finetune.clips.clip_tables import CLIPS
    from slowfast_finetune.comparing.cross_validation import judge_by_probes
    from slowfast_finetune.comparing.crossval_files import write_crossval

    params = load_params(Path("params.yaml"))
    rows = CLIPS.read_rows(Path("data/clips.csv"))
    store = ClipStore(store_root(Path.cwd()), params.clip)
    found = judge_by_probes(rows, params=params, store=store, project=Path.cwd())
    paths = write_crossval(args.results, found, clips=rows)
    say(f"wrote {', '.join(map(str, paths))}; `python stages/report.py` shows them")
