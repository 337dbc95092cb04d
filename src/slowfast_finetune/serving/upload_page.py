"""Serve the files of the upload page from memory; the page loads nothing from other servers."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import Response

PACKAGE = "slowfast_finetune"


def add_page(app: FastAPI) -> None:
    """Serve ``/`` and the files that the page needs."""
    # The report's style sheet, and the rules that only this page needs.
    style = _text("report/style.css") + _text("serving/upload_page.css")
    for path, content, media_type in (
        ("/", _text("serving/upload_page.html"), "text/html"),
        ("/style.css", style, "text/css"),
        ("/theme.js", _text("serving/theme.js"), "text/javascript"),
        ("/card.js", _text("serving/card.js"), "text/javascript"),
        ("/script.js", _text("serving/upload_page.js"), "text/javascript"),
    ):
        served = _served(content.encode(), media_type)
        app.add_api_route(path, served, methods=["GET", "HEAD"], include_in_schema=False)


def _text(name: str) -> str:
    return files(PACKAGE).joinpath(name).read_text(encoding="utf-8")


def _served(content: bytes, media_type: str) -> Callable[[], Response]:
    def serve() -> Response:
        return Response(content, media_type=f"{media_type}; charset=utf-8")

    return serve
