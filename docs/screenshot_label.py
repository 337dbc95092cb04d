"""Photograph the page of a running ``slowfast label``, in a headless Chromium.

    slowfast label --no-browser --port 8100      # prints the address
    python docs/screenshot_label.py ADDRESS

Decides nothing. Writes docs/images/label_desk.png, label_desk-dark.png and label_desk-phone.png.
Needs the extra browser and Debian's chromium.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from screenshots import ARGUMENTS, save

DESKTOP = {"width": 1160, "height": 800}
PHONE = {"width": 390, "height": 844}
SHOTS = (
    ("label_desk", DESKTOP, "light"),
    ("label_desk-dark", DESKTOP, "dark"),
    ("label_desk-phone", PHONE, "light"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--skip", type=int, default=1, help="cases to pass over [%(default)s]")
    parser.add_argument("--frame", type=int, default=8, help="that is shown [%(default)s]")
    parser.add_argument("--browser", default=shutil.which("chromium"))
    args = parser.parse_args()

    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.browser, args=ARGUMENTS)
        for name, viewport, theme in SHOTS:
            page = browser.new_page(viewport=viewport, color_scheme=theme, reduced_motion="reduce")
            page.goto(args.address)
            page.locator("#file").wait_for()
            page.wait_for_timeout(1500)
            for _ in range(args.skip):
                page.keyboard.press("Space")
            page.wait_for_timeout(1500)
            for _ in range(args.frame):
                page.keyboard.press(".")
            page.wait_for_timeout(300)
            save(page.screenshot(), args.images / f"{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
