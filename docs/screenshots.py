"""Take the pictures of docs/images from metrics/report.html, in a headless Chromium.

    python docs/screenshots.py            # needs the extra browser and Debian's chromium

report-light.png, report-dark.png: the top of the page. report-confusion.png: the confusion table
with the videos of a cell. report-grad-cam.png: where the model looks. report-phone.png: a phone.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1160, "height": 860}
PHONE = {"width": 390, "height": 844}
MAX_BYTES = 400_000  # of a picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("metrics/report.html"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--browser", default=shutil.which("chromium"))
    args = parser.parse_args()

    from playwright.sync_api import sync_playwright

    args.images.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.browser, args=ARGUMENTS)
        for name, options, target in (
            ("report-light", {"viewport": DESKTOP, "color_scheme": "light"}, None),
            ("report-dark", {"viewport": DESKTOP, "color_scheme": "dark"}, None),
            ("report-confusion", {"viewport": DESKTOP, "color_scheme": "light"}, "#confusion"),
            ("report-grad-cam", {"viewport": DESKTOP, "color_scheme": "light"}, "#evidence"),
            ("report-phone", {"viewport": PHONE, "color_scheme": "light"}, None),
        ):
            page = browser.new_page(**options)
            page.goto(args.report.absolute().as_uri())
            if target:
                page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
                page.locator(target).evaluate("section => section.scrollIntoView()")
            page.wait_for_timeout(300)
            save(page, args.images / f"{name}.png")
            page.close()
        browser.close()


def save(page: Any, path: Path) -> None:
    """Write a screenshot with as many colours as fit."""
    from io import BytesIO

    from PIL import Image

    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    for colours in (None, 256, 128, 64):
        shown = picture if colours is None else picture.quantize(colours).convert("P")
        if colours is not None:
            # Dithered to that palette: photographs would show steps.
            shown = picture.quantize(palette=shown, dither=Image.Dither.FLOYDSTEINBERG)
        shown.save(path, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            break
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
