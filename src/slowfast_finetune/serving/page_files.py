"""Serve the files of a page from memory; a page loads nothing from other servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import PurePath

from fastapi import FastAPI
from fastapi.responses import Response

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
        content = "".join(_text(part) for part in parts).encode()
        served = _served(content, MEDIA_TYPES[PurePath(parts[0]).suffix])
        app.add_api_route(
            f"{folder}{name}", served, methods=["GET", "HEAD"], include_in_schema=False
        )


def _text(name: str) -> str:
    return files(PACKAGE).joinpath(name).read_text(encoding="utf-8")


def _served(content: bytes, media_type: str) -> Callable[[], Response]:
    def serve() -> Response:
        return Response(content, media_type=f"{media_type}; charset=utf-8")

    return serve
