"""Stage 3: fine-tune SlowFast from the clip store → the best checkpoint and its history."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.base.console import run
from slowfast_finetune.base.params import load_params
from slowfast_finetune.base.store_location import store_root
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.training.run import TrainingOutputs
from slowfast_finetune.training.train import train_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--clips", type=Path, default=Path("data/clips.csv"))
    parser.add_argument("--best-checkpoint", type=Path, default=Path("models/best.pt"))
    parser.add_argument("--best-model", type=Path, default=Path("models/best_model.pt2"))
    parser.add_argument("--history", type=Path, default=Path("metrics/history.csv"))
    parser.add_argument("--summary", type=Path, default=Path("metrics/train.json"))
    parser.add_argument("--log", type=Path, default=Path("logs/train.log"))
    parser.add_argument("--events", type=Path, default=Path("logs/tensorboard"))
    args = parser.parse_args()

    params = load_params(args.params)
    train_model(
        CLIPS.read_rows(args.clips),
        params=params,
        store=ClipStore(store_root(Path.cwd()), params.clip),
        project=Path.cwd(),
        outputs=TrainingOutputs(
            best_checkpoint=args.best_checkpoint,
            best_model=args.best_model,
            history=args.history,
            summary=args.summary,
            log=args.log,
            events=args.events,
        ),
    )


if __name__ == "__main__":
    run(main)
