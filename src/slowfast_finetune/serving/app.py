"""The HTTP application: ``POST /predict``, ``/health``, ``/metrics``, ``/model`` and the page."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from slowfast_finetune import __version__
from slowfast_finetune.serving.answers import Answer, Card, Health, LimitsSaid, Problem
from slowfast_finetune.serving.guard import Guard, problem_response
from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.looking import VideoLooker
from slowfast_finetune.serving.metrics import ServerMetrics
from slowfast_finetune.serving.page import add_page
from slowfast_finetune.serving.problems import (
    ClientLeftError,
    RequestRefusedError,
    bad_request,
    busy,
    stuck,
)
from slowfast_finetune.serving.queue import Job, ModelQueue, QueueFullError
from slowfast_finetune.serving.uploads import Upload, received

CLOSE_SECONDS = 5.0
WATCH_SECONDS = 0.5  # a request that can have no answer any more ends so late at most
LEFT_STATUS = 499  # nobody reads it
BODY = {"schema": {"type": "string", "format": "binary"}}
FORM = {
    "schema": {
        "type": "object",
        "required": ["video"],
        "properties": {"video": {"type": "string", "format": "binary"}},
    }
}
REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "video/*": BODY,
            "application/octet-stream": BODY,
            "multipart/form-data": FORM,
        },
    }
}
RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Not a request that is understood"},
    403: {"model": Problem, "description": "Asked by a page of another site"},
    408: {"model": Problem, "description": "The upload took too long"},
    413: {"model": Problem, "description": "The upload is too large"},
    422: {"model": Problem, "description": "The video cannot be read; reason is its code"},
    500: {"model": Problem, "description": "A fault of the server"},
    503: {"model": Problem, "description": "No room now", "headers": RETRY_AFTER},
}


class Service:
    """A model, its queue, its uploads and its counters."""

    def __init__(self, looker: VideoLooker, *, limits: ServeLimits, decoders: int) -> None:
        self.looker = looker
        self.limits = limits
        self.queue = ModelQueue(looker, length=limits.queue, decoders=decoders)
        self.metrics = ServerMetrics(queue_length=lambda: len(self.queue))
        self._uploads = asyncio.Semaphore(limits.uploads)
        self._is_stopped = False
        self.folder = Path()

    @contextlib.asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Work while the block runs; afterwards no process and no file is left."""
        with tempfile.TemporaryDirectory(prefix="slowfast-serve-") as folder:
            self.folder = Path(folder)
            self.queue.start()
            try:
                yield
            finally:
                self.stop()
                self.looker.close()

    def stop(self) -> None:
        """Give up what waits: whoever asked is told to come back."""
        if not self._is_stopped:
            self.queue.close(timeout=CLOSE_SECONDS)
            self._is_stopped = True

    def check_computing(self) -> None:
        """Refuse to wait for a thread that computes longer than a video may take.

        It is asked outside that thread: what the thread itself limits fails when it hangs.

        Raises:
            RequestRefusedError: 503, stuck.
        """
        busy_seconds = self.queue.busy_seconds
        if busy_seconds > self.limits.answer_seconds + self.limits.decoder_seconds:
            raise stuck(busy_seconds)

    async def predict(self, request: Request, *, explain: bool) -> Answer:
        """Answer one request, and count how it ended."""
        began = time.monotonic()
        try:
            answer = await self._predict(request, explain=explain)
        except RequestRefusedError as error:
            self.metrics.count(error.outcome)
            if error.outcome == "refused":
                self.metrics.count_refused(error.problem.reason)
            raise
        except ClientLeftError:
            self.metrics.count("left")
            raise
        except Exception:
            self.metrics.count("failed")
            raise
        self.metrics.count("answered")
        self.metrics.observe(time.monotonic() - began)
        return answer

    async def _predict(self, request: Request, *, explain: bool) -> Answer:
        # Better told now than after an upload of minutes.
        if not self.queue.room:
            raise self._busy(f"{len(self.queue)} videos wait already")
        if self._uploads.locked():
            raise self._busy(f"{self.limits.uploads} uploads arrive already")
        async with contextlib.AsyncExitStack() as stack:
            async with self._uploads:
                upload = await stack.enter_async_context(
                    received(request, folder=self.folder, limits=self.limits)
                )
            return await self._looked_at(upload, request, explain=explain)

    async def _looked_at(self, upload: Upload, request: Request, *, explain: bool) -> Answer:
        job = Job(upload.path, upload.name, upload.seconds, explain)
        try:
            self.queue.submit(job)
        except QueueFullError as error:
            raise self._busy("the queue filled up during the upload") from error
        answer = asyncio.wrap_future(job.future)
        left = asyncio.create_task(_client_leaves(request))
        try:
            both: set[asyncio.Future[Any]] = {answer, left}
            while not (answer.done() or left.done() or self._is_stopped):
                self.check_computing()
                await asyncio.wait(both, timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._is_stopped and not answer.done():
                raise self._busy("the server stops")
            if answer.cancelled() or (answer.done() and _is_given_up(answer)):
                raise self._busy("the server stops")
            if not answer.done():
                raise ClientLeftError
            return answer.result()
        finally:
            left.cancel()
            self.queue.give_up(job)
            answer.cancel()

    def _busy(self, detail: str) -> RequestRefusedError:
        return busy(detail, retry_after=self.queue.retry_after)


def _is_given_up(answer: asyncio.Future[Answer]) -> bool:
    return isinstance(answer.exception(), ClientLeftError)


async def _client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(service: Service, *, names: frozenset[str] | None = None) -> FastAPI:
    """The application; ``names`` are those it answers to, None is any."""
    app = FastAPI(
        title="slowfast serve",
        version=__version__,
        description="What does a video show?",
        # FastAPI's own pages fetch scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=service.running,
    )
    app.add_middleware(Guard, limits=service.limits, names=names)
    _add_problems(app)
    _add_endpoints(app, service)
    add_page(app)
    return app


def _add_endpoints(app: FastAPI, service: Service) -> None:
    @app.post("/predict", responses=REFUSALS, openapi_extra=REQUEST_BODY)
    async def predict(request: Request, explain: bool = False) -> Answer:
        """Look at a video: the body itself, or the first file of a form.

        With ``explain``, the frames that mattered come with the answer. ``name`` in the query is
        echoed where the body is the video itself.
        """
        return await service.predict(request, explain=explain)

    @app.get("/health", responses={503: {"model": Problem, "description": "It computes no more"}})
    def health() -> Health:
        """Whether the server is well, and how busy."""
        service.check_computing()
        model = service.looker.said
        return Health(
            status="ok",
            model=model.name,
            digest=model.digest,
            queue_length=len(service.queue),
            queue_room=service.queue.room,
        )

    @app.get("/model")
    def model() -> Card:
        """The model, its card, and what an upload may be."""
        limits = service.limits
        return Card(
            model=service.looker.said,
            limits=LimitsSaid(max_bytes=limits.max_bytes, max_seconds=limits.max_seconds),
            card=service.looker.card,
        )

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_problems(app: FastAPI) -> None:
    """Every refusal is JSON of one form."""

    @app.exception_handler(RequestRefusedError)
    async def refused(_: Request, error: RequestRefusedError) -> Response:
        return problem_response(error)

    @app.exception_handler(ClientLeftError)
    async def left(_: Request, __: ClientLeftError) -> Response:
        return Response(status_code=LEFT_STATUS)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        return problem_response(bad_request(f"{fault['loc'][-1]}: {fault['msg']}"))

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        reason = "not_found" if error.status_code == 404 else "bad_request"
        problem = Problem(reason=reason, detail=str(error.detail))
        return JSONResponse(problem.model_dump(), error.status_code, headers=error.headers)
