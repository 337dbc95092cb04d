"""Photograph the page of ``slowfast label``, in a headless Chromium, from a run that is there.

    python docs/screenshot_label.py       # in the project of a finished run, as that of `make demo`

Starts ``slowfast label`` itself, and decides nothing. Writes docs/images/label_desk.png,
label_desk-dark.png and label_desk-phone.png. Needs the extra browser and Debian's chromium.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
from pathlib import Path

from screenshots import ARGUMENTS, save

DESKTOP = {"width": 1160, "height": 800}
PHONE = {"width": 390, "height": 844}
SHOTS = (
    ("label_desk", DESKTOP, "light"),
    ("label_desk-dark", DESKTOP, "dark"),
    ("label_desk-phone", PHONE, "light"),
)
# Every loop on the page shows a frame.
DRAWN = (
    "() => [...document.querySelectorAll('canvas')].every((one) => "
    "one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some((byte) => byte))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--skip", type=int, default=1, help="cases to pass over [%(default)s]")
    parser.add_argument("--frame", type=int, default=4, help="that is shown [%(default)s]")
    parser.add_argument("--browser", default=shutil.which("chromium"))
    args = parser.parse_args()
    args.images.mkdir(parents=True, exist_ok=True)

    with subprocess.Popen(
        ["slowfast", "label", "--no-browser"], stdout=subprocess.PIPE, text=True
    ) as desk:
        assert desk.stdout is not None
        address = next((line.split()[0] for line in desk.stdout if line.startswith("http")), None)
        try:
            if address:
                _take(address, args)
        finally:
            desk.send_signal(signal.SIGINT)


def _take(address: str, args: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.browser, args=ARGUMENTS)
        for name, viewport, theme in SHOTS:
            page = browser.new_page(viewport=viewport, color_scheme=theme, reduced_motion="reduce")
            page.goto(address)
            page.locator("#case").wait_for()
            for _ in range(args.skip):
                page.keyboard.press("Space")
            while not page.evaluate(DRAWN):
                page.wait_for_timeout(100)
            for _ in range(args.frame):
                page.keyboard.press(".")
            save(page.screenshot(), args.images / f"{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
