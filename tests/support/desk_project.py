"""A project of drawn clips with a label desk; run as a script, it serves the page and prints where.

python tests/support/desk_project.py FOLDER
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from synthetic import make_params, make_rows, write_entry, write_params

from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow, Split
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.commands.label import make_desk_server
from slowfast_finetune.commands.serve import listening_socket
from slowfast_finetune.desk.case_evidence import Case, Reason
from slowfast_finetune.desk.desk_session import LabelDesk

CLASS_NAMES = ("clap", "jump", "wave")
TOKEN = "token"
NUM_FRAMES = 15  # one second


def write_desk_project(folder: Path, *, per_class: int = 6) -> list[Case]:
    """params.yaml, tables and a clip store; the queue asks about every video once.

    Each frame is of the colour of its class, with a white bar at its place in time. The last video
    of each class is in test. The first case is random, of the others all are doubtful; the
    guess is another class, but of the last case.
    """
    params = make_params()
    write_params(folder / "params.yaml", params)
    store = ClipStore(folder / "store", params.clip)
    clips, cases, manifest = [], [], []
    for label, class_name in enumerate(CLASS_NAMES):
        rows = make_rows(per_class, num_frames=NUM_FRAMES, num_sampled=NUM_FRAMES)
        for index, row in enumerate(rows):
            split: Split = "test" if index == per_class - 1 else "train"
            row = row._replace(
                class_name=class_name,
                label=label,
                split=split,
                video_path=f"videos/{class_name}/{index}.mp4",
                content_hash=f"{label * 1000 + index:032x}",
                settings=store.folder.name,
            )
            frames = np.full((NUM_FRAMES, row.height, row.width, 3), 40, np.uint8)
            frames[..., label] = 200
            for position, frame in enumerate(frames):
                frame[:, 4 * position : 4 * position + 4] = 255
            write_entry(store, row, frames)
            video = folder / row.video_path
            video.parent.mkdir(parents=True, exist_ok=True)
            video.write_bytes(f"{class_name} {index}".encode())
            clips.append(row)
            manifest.append(
                ManifestRow(row.video_path, class_name, label, split, None, row.content_hash)
            )
    CLIPS.write(folder / "data" / "clips.csv", clips)
    MANIFEST.write(folder / "data" / "manifest.csv", manifest)
    for number, row in enumerate(clips):
        reason: Reason = "doubtful" if number else "random"
        other = CLASS_NAMES[(row.label + 1) % 3]
        guesses = ((other, 0.8), (row.class_name, 0.15))
        if number == len(clips) - 1:
            guesses = ((row.class_name, 0.6), (other, 0.4))
        near = clips[(number + per_class) % len(clips)]
        cases.append(Case(row, reason, 0.5, guesses, ((near, 0.9),)))
    return cases


@contextlib.contextmanager
def running_desk(
    folder: Path, cases: Sequence[Case], *, port: int = 0, token: str = TOKEN, blind: bool = False
) -> Iterator[str]:
    """Serve the page in a thread while the block runs; its address."""
    desk = LabelDesk(folder, cases)
    with listening_socket("127.0.0.1", port) as listener:
        server = make_desk_server(desk, token=token, blind=blind)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/{token}/"
        finally:
            server.should_exit = True
            thread.join(20)
        assert not thread.is_alive()


def cases_of(folder: Path) -> list[Case]:
    """All videos of the project, as cases, without guesses."""
    rows = CLIPS.read_rows(folder / "data" / "clips.csv")
    return [Case(row._replace(split="train"), "doubtful", 0.5) for row in rows]


def serve_cases(folder: Path, address: Connection) -> None:
    """Serve all videos of the project, in a process of its own; sends where."""
    os.environ["CLIP_STORE"] = str(folder / "store")
    with listening_socket("127.0.0.1", 0) as listener:
        server = make_desk_server(LabelDesk(folder, cases_of(folder)), token=TOKEN)
        address.send(f"http://127.0.0.1:{listener.getsockname()[1]}/{TOKEN}/")
        server.run(sockets=[listener])
