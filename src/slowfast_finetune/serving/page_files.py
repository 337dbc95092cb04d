"""Serve the files of a page from memory; a page loads nothing from other servers."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import PurePath

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.routing import Route

PACKAGE = "slowfast_finetune"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
UPLOAD_PAGE = {
    "": ["serving/upload_page.html"],
    # The report's style sheet, and the rules that only this page needs.
    "style.css": ["report/style.css", "serving/upload_page.css"],
    "theme.js": ["serving/theme.js"],
    "card.js": ["serving/card.js"],
    "script.js": ["serving/upload_page.js"],
}


def add_page(app: FastAPI, page: Mapping[str, Sequence[str]], *, folder: str = "/") -> None:
    """Serve a page and the files that it needs.

    Args:
        page: the files of this package that make up each file, by its name; "" is the page itself.
        folder: where the page is; it ends with a slash.
    """
    for name, parts in page.items():
        content = "".join(_text(part) for part in parts)
        # A response is itself an application, which sends its bytes to whoever asks.
        served = Response(content, media_type=MEDIA_TYPES[PurePath(parts[0]).suffix])
        app.router.routes.append(Route(f"{folder}{name}", served, methods=["GET", "HEAD"]))


def _text(name: str) -> str:
    return files(PACKAGE).joinpath(name).read_text(encoding="utf-8")
