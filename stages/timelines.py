"""Stage 5: timelines of long test videos against labelled ones → metrics/timelines.json.

Also chooses on validation videos how timelines are made → models/best_timeline.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.base.console import run
from slowfast_finetune.base.manifest_table import MANIFEST
from slowfast_finetune.base.params import load_params
from slowfast_finetune.timelines.measure_timelines import measure_timelines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--manifest", type=Path, default=Path("data/manifest.csv"))
    parser.add_argument("--checkpoint", type=Path, default=Path("models/best.pt"))
    parser.add_argument("--results", type=Path, default=Path("metrics"), help="folder")
    args = parser.parse_args()

    params = load_params(args.params)
    measure_timelines(
        MANIFEST.read_rows(args.manifest),
        checkpoint_path=args.checkpoint,
        runtime=params.runtime,
        project=Path.cwd(),
        results=args.results,
    )


if __name__ == "__main__":
    run(main)
