"""A session at the label desk, driven by keys in a browser; its server is killed at random."""

from __future__ import annotations

import contextlib
import csv
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.report import Target, finish

TOKEN = "token"


def run(*, project: Path, decisions: int, kills: int, pause: float, seed: int, out: Path) -> None:
    """Decide about the videos of a project; then count what is missing from the table.

    Args:
        project: a finished run; tables are copied, and its clip store is read.
        kills: how many times the server ends by SIGKILL, at a random moment between two keys.
        pause: between two keys [s].
    """
    # Of the extra `browser`, which type checking does not need.
    sync_playwright = import_module("playwright.sync_api").sync_playwright
    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.base.store_location import store_root

    store = Path(os.environ.get("CLIP_STORE", store_root(project.absolute())))
    rng = random.Random(seed)
    answered: dict[str, str | None] = {}
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        copy = Path(folder)
        shutil.copytree(project / "data", copy / "data")
        text = (project / "params.yaml").read_text()
        (copy / "params.yaml").write_text(
            re.sub(r"(?m)^  labels:.*", "  labels: labels.csv", text, count=1)
        )
        videos = load_params(copy / "params.yaml").data.videos
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.on("response", lambda response: _note(response, answered))
        at = sorted(rng.sample(range(10, decisions - 10), kills))
        server, url = _start(copy, store)
        _open(page, url)
        while len(answered) < decisions:
            if at and len(answered) >= at[0]:
                at.pop(0)
                # In the middle of a stream of keys.
                killer = threading.Timer(rng.uniform(0, 3 * pause), server.kill)
                killer.start()
                for _ in range(6):
                    page.keyboard.press(rng.choice("k123d"))
                    page.wait_for_timeout(1000 * pause)
                killer.join()
                server.wait()
                seconds += _latencies(page)
                server, url = _start(copy, store)
                _open(page, url)
            page.keyboard.press(rng.choice("k123d"))
            page.wait_for_timeout(1000 * pause)
        page.wait_for_timeout(500)
        seconds += _latencies(page)
        browser.close()
        server.terminate()
        server.wait()
        with (copy / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    held = {row["video"]: row["label"] or None for row in rows}
    missing = [
        name
        for name, label in answered.items()
        if held.get(name.removeprefix(f"{videos}/"), "") != label
    ]
    cuts = statistics.quantiles(seconds, n=20)
    result = {
        "decisions_answered": len(answered),
        "rows": len(rows),
        "kills": kills,
        "missing": len(missing),
        "next_clip_ms": {"median": cuts[9], "p95": cuts[18], "max": max(seconds)},
        "loops": len(seconds),
    }
    print(result)
    targets = [
        Target("answered decisions missing from the table", 0, len(missing), at_most=True),
        Target("from key to next clip, 95th percentile [ms]", 100, cuts[18], at_most=True),
    ]
    finish("desk", out=out, results=result, targets=targets)


def _start(folder: Path, store: Path) -> tuple[subprocess.Popen[str], str]:
    """The server as a process, and the address of its page."""
    code = f"from benchmarks.desk import serve; serve({str(folder)!r})"
    environment = os.environ | {"CLIP_STORE": str(store)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _open(page: Any, url: str) -> None:
    page.goto(url)
    page.locator("#file").wait_for()
    page.wait_for_timeout(1500)  # the first loops


def _note(response: Any, answered: dict[str, str | None]) -> None:
    """Remember a decision that was answered, and the label that the answer tells."""
    if response.url.endswith("/decide") and response.status == 200:
        name = response.request.post_data_json["name"]
        with contextlib.suppress(Exception):  # the page may be gone
            answered[name] = response.json()["decided"][name]["label"]


def _latencies(page: Any) -> list[float]:
    """From each key to the first frame of the next clip, at the next time that is drawn [ms]."""
    measured = "performance.getEntriesByName('next clip').map(one => one.duration)"
    found: list[float] = page.evaluate(measured)
    return found


def serve(folder: str) -> None:
    """Serve the desk on all videos of a project; print where."""
    from slowfast_finetune.clips.clip_tables import CLIPS
    from slowfast_finetune.commands.label import make_desk_server
    from slowfast_finetune.commands.serve import listening_socket
    from slowfast_finetune.desk.case_evidence import Case
    from slowfast_finetune.desk.desk_session import LabelDesk

    rows = CLIPS.read_rows(Path(folder, "data", "clips.csv"))
    cases = [Case(row, "doubtful", 0.5) for row in rows]
    with listening_socket("127.0.0.1", 0) as listener:
        server = make_desk_server(LabelDesk(Path(folder), cases), token=TOKEN)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/{TOKEN}/", flush=True)
        server.run(sockets=[listener])
