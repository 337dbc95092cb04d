"""Stage 2: decode every video of the manifest once into the clip store → data/clips.csv."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune.base.console import run, say
from slowfast_finetune.base.manifest_table import MANIFEST
from slowfast_finetune.base.params import load_params
from slowfast_finetune.base.store_location import store_root
from slowfast_finetune.clips.caching import cache_videos, check_rejected, summary
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS, REJECTED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--manifest", type=Path, default=Path("data/manifest.csv"))
    parser.add_argument("--clips", type=Path, default=Path("data/clips.csv"))
    parser.add_argument("--rejected", type=Path, default=Path("data/rejected.csv"))
    args = parser.parse_args()

    params = load_params(args.params)
    rows = MANIFEST.read_rows(args.manifest)
    clips, rejected = cache_videos(
        rows,
        params=params,
        store=ClipStore(store_root(Path.cwd()), params.clip),
        project=Path.cwd(),
    )
    # Both tables first: what was refused is what the person needs when the check fails.
    CLIPS.write(args.clips, clips)
    REJECTED.write(args.rejected, rejected)
    say(summary(clips, rejected))
    check_rejected(clips, rejected, manifest=rows, cache=params.cache, table=args.rejected)


if __name__ == "__main__":
    run(main)
