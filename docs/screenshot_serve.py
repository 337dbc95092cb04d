"""Photograph the page of a running ``slowfast serve``, in a headless Chromium.

    slowfast serve --checkpoint models/best.pt &
    python docs/screenshot_serve.py demo/videos/{waving,jumping_jacks,walking}/person_001_[ab].mp4

The videos are joined to one, which is dropped on the page. Writes docs/images/serve.png and
serve-phone.png. Needs the extra browser and Debian's chromium.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from screenshots import ARGUMENTS, save

DESKTOP = {"width": 1160, "height": 1310}
PHONE = {"width": 390, "height": 844}
FPS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--url", default="http://127.0.0.1:8000/")
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--at", type=float, default=1.0, help="moment that is shown [s]")
    parser.add_argument("--browser", default=shutil.which("chromium"))
    args = parser.parse_args()

    from playwright.sync_api import sync_playwright

    args.images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        video = joined(args.videos, Path(folder) / "three_actions.mp4")
        browser = playwright.chromium.launch(executable_path=args.browser, args=ARGUMENTS)
        for name, viewport in (("serve", DESKTOP), ("serve-phone", PHONE)):
            page = browser.new_page(viewport=viewport, reduced_motion="reduce")
            picture = photograph(page, args.url, video, at=args.at)
            page.close()
            save(picture, args.images / f"{name}.png")
        browser.close()


def photograph(page: Any, url: str, video: Path, *, at: float) -> bytes:
    """A PNG of the page with an answer."""
    page.goto(url)
    page.set_input_files("#file", video)
    page.locator("#result").wait_for(timeout=60_000)
    page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    page.evaluate(f"document.getElementById('video').currentTime = {at}")
    # The player's own controls would hide a third of the picture.
    page.evaluate("document.getElementById('video').controls = false; scrollTo(0, 0)")
    page.wait_for_timeout(500)
    picture: bytes = page.screenshot()
    return picture


def joined(paths: list[Path], out: Path) -> Path:
    """One H.264 video of all frames, in the size of the first."""
    with av.open(str(out), "w") as container:
        stream: Any = None
        count = 0
        for path in paths:
            with av.open(str(path)) as source:
                for frame in source.decode(video=0):
                    if stream is None:
                        stream = container.add_stream("libx264", rate=FPS)
                        stream.width, stream.height = frame.width, frame.height
                        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
                    shown = frame.reformat(stream.width, stream.height, "yuv420p")
                    shown.pts, shown.time_base = count, Fraction(1, FPS)
                    container.mux(stream.encode(shown))
                    count += 1
        container.mux(stream.encode())
    return out


if __name__ == "__main__":
    main()
