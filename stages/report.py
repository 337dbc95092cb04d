"""Stage 6: a page about the run and a card for its model, from the files of the other stages.

→ metrics/report.html, models/README.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.base.console import run
from slowfast_finetune.base.params import load_params
from slowfast_finetune.base.store_location import store_root
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.report.report_page import write_report
from slowfast_finetune.report.results import ResultFiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--clips", type=Path, default=Path("data/clips.csv"))
    parser.add_argument("--rejected", type=Path, default=Path("data/rejected.csv"))
    parser.add_argument("--checkpoint", type=Path, default=Path("models/best.pt"))
    parser.add_argument("--results", type=Path, default=Path("metrics"), help="folder")
    parser.add_argument("--report", type=Path, default=Path("metrics/report.html"))
    parser.add_argument("--card", type=Path, default=Path("models/README.md"))
    args = parser.parse_args()

    params = load_params(args.params)
    write_report(
        ResultFiles(
            args.results,
            params=args.params,
            clips=args.clips,
            rejected=args.rejected,
            checkpoint=args.checkpoint,
        ),
        params=params,
        store=ClipStore(store_root(Path.cwd()), params.clip),
        project=Path.cwd(),
        output=args.report,
        card=args.card,
    )


if __name__ == "__main__":
    run(main)
