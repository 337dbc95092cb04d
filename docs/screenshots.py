"""Take the pictures of docs/images, in a headless Chromium, from a run that is there.

    dvc repro && dvc plots show
    python docs/screenshots.py       # needs the extra browser, and Debian's chromium

report-light.png, report-dark.png: the top of the report. report-confusion.png: the confusion table
with the videos of a cell. report-grad-cam.png: where the model looks. report-phone.png: a phone.
plots-light.png, plots-dark.png: what `dvc plots show` draws.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MAX_BYTES = 400_000  # of a picture


@dataclass(frozen=True)
class Shot:
    """A picture of a page: of the window, from a section on if one is named, or of all of it."""

    name: str
    page: Literal["report", "plots"]
    width: int = 1160
    height: int = 860
    theme: Literal["light", "dark"] = "light"
    section: str | None = None
    whole: bool = False


SHOTS = (
    Shot("report-light", "report"),
    Shot("report-dark", "report", theme="dark"),
    Shot("report-confusion", "report", section="#confusion"),
    Shot("report-grad-cam", "report", section="#evidence"),
    Shot("report-phone", "report", width=390, height=844),
    Shot("plots-light", "plots", width=1500, whole=True),
    Shot("plots-dark", "plots", width=1500, theme="dark", whole=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--report", type=Path, default=Path("metrics/report.html"))
    parser.add_argument("--plots", type=Path, default=Path("dvc_plots/index.html"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--browser", default=shutil.which("chromium"))
    args = parser.parse_args()

    from playwright.sync_api import sync_playwright

    args.images.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.browser, args=ARGUMENTS)
        for shot in SHOTS:
            path = {"report": args.report, "plots": args.plots}[shot.page].absolute()
            if not path.exists():
                print(f"{shot.name}.png: left out, there is no {path}")
                continue
            size = {"width": shot.width, "height": shot.height}
            page = browser.new_page(viewport=size, color_scheme=shot.theme)
            page.goto(path.as_uri())
            save(take(page, shot), args.images / f"{shot.name}.png")
            page.close()
        browser.close()


def take(page: Any, shot: Shot) -> bytes:
    """The picture, PNG, once everything is drawn."""
    if shot.section:
        page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
        page.locator(shot.section).evaluate("section => section.scrollIntoView()")
    page.wait_for_timeout(1000)
    picture: bytes = page.screenshot(full_page=shot.whole)
    return picture


def save(png: bytes, path: Path) -> None:
    """Write a picture in as many colours as fit."""
    from PIL import Image

    picture = Image.open(BytesIO(png)).convert("RGB")
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
