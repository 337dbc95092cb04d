"""Photograph a page in light and dark: ``python docs/take_screenshots.py PAGE.html OUT``.

Writes ``OUT_light.png`` and ``OUT_dark.png``, each below 400 KB: with fewer colours where needed.
Needs ``pip install playwright`` and a Chromium. The pictures of docs/images are made by ::

    dvc plots show && python docs/take_screenshots.py dvc_plots/index.html docs/images/plots_show
    dvc plots diff main EXPERIMENT &&
        python docs/take_screenshots.py dvc_plots/index.html docs/images/plots_diff
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

MAX_BYTES = 400_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path, help="path of the pictures without _light.png")
    parser.add_argument("--width", type=int, default=1500, help="of the window [px]")
    parser.add_argument("--height", type=int, help="cut there [px]; without it, the whole page")
    args = parser.parse_args()
    for theme, picture in photographs(args.page, width=args.width, height=args.height).items():
        path = args.out.with_name(f"{args.out.name}_{theme}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small_enough(picture))
        print(f"{path}: {path.stat().st_size / 1000:.0f} KB")


def photographs(page_path: Path, *, width: int, height: int | None) -> dict[str, bytes]:
    """PNG of the page by theme, once its charts are drawn."""
    pictures = {}
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            view = {"width": width, "height": height or 900}
            page = browser.new_page(color_scheme=theme, viewport=view)
            page.goto(page_path.resolve().as_uri())
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(1000)
            pictures[theme] = page.screenshot(full_page=height is None)
        browser.close()
    return pictures


def small_enough(png: bytes) -> bytes:
    """The picture in as many colours as fit."""
    if len(png) < MAX_BYTES:
        return png
    for num_colours in (256, 128, 64, 32):
        file = io.BytesIO()
        picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(num_colours)
        picture.save(file, "PNG", optimize=True)
        if len(file.getvalue()) < MAX_BYTES:
            return file.getvalue()
    raise SystemExit(f"too large for {MAX_BYTES} bytes even in 32 colours; use --height")


if __name__ == "__main__":
    main()
