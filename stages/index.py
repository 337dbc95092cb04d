"""Stage 1: class folders → data/manifest.csv, and the weights file's hash → data/weights.json.

How many test labels were changed at the label desk → data/relabelled.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from slowfast_finetune.base.console import run, say
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.hash_memo import MEMO_NAME, HashMemo
from slowfast_finetune.base.manifest_table import MANIFEST
from slowfast_finetune.base.params import load_params
from slowfast_finetune.base.store_location import store_root
from slowfast_finetune.indexing.last_tested import changed_test_set
from slowfast_finetune.indexing.manifest import build_manifest, describe, weights_record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--manifest", type=Path, default=Path("data/manifest.csv"))
    parser.add_argument("--weights", type=Path, default=Path("data/weights.json"))
    parser.add_argument("--relabelled", type=Path, default=Path("data/relabelled.json"))
    args = parser.parse_args()

    params = load_params(args.params)
    memo = HashMemo(store_root(Path.cwd()) / MEMO_NAME)
    write_text(args.weights, weights_record(params.model, project=Path.cwd(), memo=memo))
    manifest = build_manifest(params.data, project=Path.cwd(), memo=memo)
    MANIFEST.write(args.manifest, manifest.rows)
    counts = {"changed": manifest.num_changed, "dropped": manifest.num_dropped}
    write_text(args.relabelled, json.dumps(counts) + "\n")
    say(describe(manifest))
    if changed := changed_test_set(manifest.rows, project=Path.cwd()):
        say(changed)


if __name__ == "__main__":
    run(main)
