"""Stage 5: one page about the run, from the files of the other stages → metrics/report.html."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.clips.clip_store import ClipStore, store_root
from slowfast_finetune.console import run
from slowfast_finetune.params import load_params
from slowfast_finetune.report.page import write_report
from slowfast_finetune.report.results import ResultFiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--clips", type=Path, default=Path("data/clips.csv"))
    parser.add_argument("--rejected", type=Path, default=Path("data/rejected.csv"))
    parser.add_argument("--checkpoint", type=Path, default=Path("models/best.pt"))
    parser.add_argument("--history", type=Path, default=Path("metrics/history.csv"))
    parser.add_argument("--summary", type=Path, default=Path("metrics/train.json"))
    parser.add_argument("--scores", type=Path, default=Path("metrics/scores.csv"))
    parser.add_argument("--subsets", type=Path, default=Path("metrics/subsets.csv"))
    parser.add_argument("--predictions", type=Path, default=Path("metrics/predictions.csv"))
    parser.add_argument("--confusion", type=Path, default=Path("metrics/plots/confusion.csv"))
    parser.add_argument("--per-class", type=Path, default=Path("metrics/plots/per_class.csv"))
    parser.add_argument("--reliability", type=Path, default=Path("metrics/plots/reliability.csv"))
    parser.add_argument("--report", type=Path, default=Path("metrics/report.html"))
    args = vars(parser.parse_args())

    params = load_params(args["params"])
    write_report(
        ResultFiles(**{name: args[name] for name in ResultFiles.__dataclass_fields__}),
        params=params,
        store=ClipStore(store_root(Path.cwd()), params.clip),
        project=Path.cwd(),
        output=args["report"],
    )


if __name__ == "__main__":
    run(main)
