"""The HTTP application of the label desk, for this machine alone."""

from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp

from slowfast_finetune.base.errors import InputError
from slowfast_finetune.desk.desk_session import Choice, LabelDesk
from slowfast_finetune.serving.guard import Guard
from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.page_files import add_page

DESK_PAGE = {
    "": ["desk/desk_page.html"],
    "style.css": ["report/style.css", "desk/desk_page.css"],
    "theme.js": ["serving/theme.js"],
    "script.js": ["desk/desk_page.js"],
}


def create_desk_app(desk: LabelDesk, *, token: str, blind: bool, names: frozenset[str]) -> ASGIApp:
    """Create the application; all of it lies below ``/TOKEN/``.

    Args:
        blind: whether the page begins with the model's opinion hidden.
        names: allowed host names.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(InputError)
    def refused(_: Request, error: InputError) -> Response:
        try:
            progress = desk.progress()
        except InputError:  # the table has become invalid, which is what the error says
            progress = {}
        return JSONResponse({"detail": str(error), **progress}, 409)

    @app.exception_handler(OSError)
    def failed(_: Request, error: OSError) -> Response:
        return JSONResponse({"detail": f"not written: {error.strerror or error}"}, 507)

    @app.get(f"/{token}/state")
    def state() -> dict[str, Any]:
        return {"blind": blind, **desk.state()}

    @app.get(f"/{token}/opinions")
    def opinions() -> dict[str, Any]:
        return desk.opinions()

    @app.get(f"/{token}/progress")
    def progress() -> dict[str, Any]:
        return desk.progress()

    @app.post(f"/{token}/decide")
    def decide(choice: Choice) -> dict[str, Any]:
        return {"made": desk.decide(choice), **desk.progress()}

    @app.post(f"/{token}/undo")
    def undo(key: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
        desk.undo(key)
        return desk.progress()

    @app.get(f"/{token}/loop")
    def loop(name: str, kind: str = "case") -> Response:
        found = desk.loop(name, kind)
        return Response(found.jpeg, media_type="image/jpeg", headers={"x-loop": found.facts})

    add_page(app, DESK_PAGE, folder=f"/{token}/")
    return Guard(app, limits=ServeLimits(), names=names)
