"""``slowfast crossval``: every video tested once, by probes."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.base.console import say


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    crossval = commands.add_parser(
        "crossval",
        help="every video tested once, by probes; and what more videos would do",
        description="Test every video once: k-fold cross-validation (data.num_folds) of a probe on "
        "the features of model.weights, groups kept whole. Prints the accuracy with its 95 % "
        "confidence interval, and the accuracy by the number of training videos. Computes what the "
        "feature store lacks; trains no other layer.",
    )
    crossval.add_argument(
        "--out", type=Path, metavar="FILE", help="write all as a predictions.csv, for compare"
    )
    crossval.add_argument(
        "--curve", type=Path, metavar="FILE", help="write the accuracy by number of videos as CSV"
    )
    crossval.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> None:
    import numpy as np

    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.base.store_location import store_root
    from slowfast_finetune.clips.clip_store import ClipStore
    from slowfast_finetune.clips.clip_tables import CLIPS
    from slowfast_finetune.comparing.cross_validation import (
        CURVE,
        all_features,
        cross_validated,
        curve_text,
        learning_curve,
    )
    from slowfast_finetune.comparing.pooling import describe, together
    from slowfast_finetune.evaluation.predictions_table import PREDICTIONS, PROBABILITY_DIGITS

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
    say(curve_text(curve, right, rows, names))
    if args.out:
        values = np.round(pooled.probabilities, PROBABILITY_DIGITS)
        rows_of = PREDICTIONS.rows(pooled.frame)
        PREDICTIONS.write(args.out, rows_of, class_names=names, class_values=values)
        say(f"wrote {args.out}")
    if args.curve:
        CURVE.write(args.curve, curve)
        say(f"wrote {args.curve}")
