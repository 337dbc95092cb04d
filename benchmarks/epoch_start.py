"""Read an epoch's clips without training, in a process of its own: seconds and resident memory.

Run in a folder with params.yaml and data/clips.csv; writes a JSON file, the only argument.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from slowfast_finetune.base.params import ClipShape, load_params
from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_reader import ClipLoader, ClipReader
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.clips.windows import plan_training_epoch


def main() -> None:
    started = time.perf_counter()
    params, project = load_params(Path("params.yaml")), Path.cwd()
    store = ClipStore(Path(os.environ["CLIP_STORE"]), params.clip)
    rows = CLIPS.read_rows(Path("data/clips.csv"))
    restore_entries(rows, params=params, store=store, project=project)
    rows = [row for row in rows if row.split == "train"]
    shape = ClipShape(params.clip.num_frames, params.train.crop_size)
    steps = plan_training_epoch(rows, params.train, params.augment, shape, epoch=1)
    reader = ClipReader(rows, folder=store.folder, shape=shape)
    loader = ClipLoader(reader, [step.windows for step in steps], num_threads=1)
    read = {}
    for number, _ in enumerate(loader):
        if number == 0:
            read["first batch [s]"] = time.perf_counter() - started
            read["after it [MB]"] = _resident_mb()
    read["at the end [MB]"] = _resident_mb()
    read["clips/s"] = len(rows) / (time.perf_counter() - started - read["first batch [s]"])
    Path(sys.argv[1]).write_text(json.dumps(read), encoding="utf-8")


def _resident_mb() -> float:
    """Memory of this process without mapped files, whose pages the system may drop."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
