"""Stage 4: measure the best checkpoint on the test split → metrics/metrics.json and plots."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.base.console import run
from slowfast_finetune.base.params import load_params
from slowfast_finetune.base.store_location import store_root
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.evaluation.evaluate import evaluate_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--clips", type=Path, default=Path("data/clips.csv"))
    parser.add_argument("--checkpoint", type=Path, default=Path("models/best.pt"))
    parser.add_argument("--results", type=Path, default=Path("metrics"), help="folder")
    args = parser.parse_args()

    params = load_params(args.params)
    evaluate_checkpoint(
        CLIPS.read_rows(args.clips),
        checkpoint_path=args.checkpoint,
        params=params,
        store=ClipStore(store_root(Path.cwd()), params.clip),
        project=Path.cwd(),
        results=args.results,
    )


if __name__ == "__main__":
    run(main)
