"""Every video tested once, by probes; and what more videos would do.

Test every video once: k-fold cross-validation (data.num_folds) of a probe on the features of
model.weights, groups kept whole. Prints the accuracy with its 95 % confidence interval, and the
accuracy by the number of training videos. Computes what the feature store lacks; trains no other
layer. Writes crossval.csv (a predictions.csv, for compare), learning_curve.csv and crossval.json,
which the report shows.
"""

from __future__ import annotations

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
    from slowfast_finetune.comparing.cross_validation import (
        all_features,
        cross_validated,
        curve_table,
        learning_curve,
        more_videos_text,
        warning_of_weights,
    )
    from slowfast_finetune.comparing.crossval_files import CrossvalResults, write_crossval
    from slowfast_finetune.comparing.pooling import describe, together

    params = load_params(Path("params.yaml"))
    rows = CLIPS.read_rows(Path("data/clips.csv"))
    names = list(dict(sorted((row.label, row.class_name) for row in rows)).values())
    store = ClipStore(store_root(Path.cwd()), params.clip)
    features = all_features(rows, params=params, store=store, project=Path.cwd())
    found = cross_validated(rows, features, params=params)
    folds = found.predictions(names, num_views=features.unmirrored.shape[1])
    pooled = together(folds)
    say(describe(folds, pooled))
    curve, right = learning_curve(found, features, params=params)
    more_videos = more_videos_text(curve, right, rows, names)
    if warning := warning_of_weights(rows, params.model):
        more_videos += f"\nWarning: {warning}."
    say(f"{curve_table(curve)}\n{more_videos}")
    model = f"{params.model.name}, {params.model.weights}"
    paths = write_crossval(
        args.results, CrossvalResults(pooled, curve, model, more_videos), clips=rows
    )
    say(f"wrote {', '.join(map(str, paths))}; `python stages/report.py` shows them")
