"""The HTTP application: ``POST /predict``, ``/health``, ``/metrics``, ``/model`` and the page."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from slowfast_finetune import __version__
from slowfast_finetune.predicting.decoded_video import DecodedVideo
from slowfast_finetune.serving.answers import Answer, Health, ModelCard, Problem, UploadLimits
from slowfast_finetune.serving.guard import Guard
from slowfast_finetune.serving.inference import InferenceEngine
from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.page_files import UPLOAD_PAGE, add_page
from slowfast_finetune.serving.problems import RequestRefusedError
from slowfast_finetune.serving.prometheus import ServerMetrics
from slowfast_finetune.serving.uploads import Upload, received

CLOSE_SECONDS = 5.0  # allowed for the present computation when the server stops
FIRST_GUESS_SECONDS = 2.0  # assumed time for a video until one has been measured
NEWEST_SHARE = 0.2  # weight of the newest video in the mean time a video takes
MAX_RETRY_SECONDS = 300
BINARY = {"type": "string", "format": "binary"}
FORM = {"type": "object", "required": ["video"], "properties": {"video": BINARY}}
REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "video/*": {"schema": BINARY},
            "application/octet-stream": {"schema": BINARY},
            "multipart/form-data": {"schema": FORM},
        },
    }
}
RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Malformed request"},
    403: {"model": Problem, "description": "Sent by a page of another site"},
    408: {"model": Problem, "description": "The upload took too long"},
    413: {"model": Problem, "description": "The upload is too large"},
    422: {"model": Problem, "description": "The video cannot be read; reason is its code"},
    500: {"model": Problem, "description": "An error in the server"},
    503: {"model": Problem, "description": "The server is busy or stuck", "headers": RETRY_AFTER},
    504: {"model": Problem, "description": "No answer within the limit"},
}


class Service:
    """A model with its decoding processes, the requests that wait for it, and its counters.

    Only the event loop changes its state. Only the thread of ``_compute`` runs the model.
    """

    def __init__(self, engine: InferenceEngine, *, limits: ServeLimits, decoders: int) -> None:
        self.engine = engine
        self.limits = limits
        self.metrics = ServerMetrics(queue_length=lambda: self.queue_length)
        self.folder = Path()
        self.is_stuck = False
        self._is_stopped = False
        self._waiting: set[asyncio.Task[Answer]] = set()
        self._uploads = asyncio.Semaphore(limits.uploads)
        self._decoders = asyncio.Semaphore(decoders)
        self._compute = ThreadPoolExecutor(1, "model")
        self._busy_since: float | None = None
        self._seconds_per_video = FIRST_GUESS_SECONDS

    @contextlib.asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Serve while the block runs; afterwards no process and no file is left."""
        with tempfile.TemporaryDirectory(prefix="slowfast-serve-") as folder:
            self.folder = Path(folder)
            try:
                yield
            finally:
                self.stop()
                idle = self._compute.submit(lambda: None)
                self._compute.shutdown(wait=False)
                await asyncio.wait([asyncio.wrap_future(idle)], timeout=CLOSE_SECONDS)
                self.is_stuck = not idle.done()
                await asyncio.to_thread(self.engine.close)

    def stop(self) -> None:
        """Cancel the requests that wait: their clients are told to come back."""
        self._is_stopped = True
        for task in self._waiting:
            task.cancel()

    @property
    def queue_length(self) -> int:
        """Videos without an answer yet."""
        return len(self._waiting)

    @property
    def queue_room(self) -> int:
        """How many more videos are accepted, beside those that wait and the one computed."""
        return 0 if self._is_stopped else max(0, self.limits.queue + 1 - self.queue_length)

    def check_computing(self) -> None:
        """Refuse if the model has been computing for longer than a request may take.

        Raises:
            RequestRefusedError: 503, stuck.
        """
        busy_seconds = 0.0 if self._busy_since is None else time.monotonic() - self._busy_since
        if busy_seconds > self.limits.answer_seconds + self.limits.decoder_seconds:
            detail = f"the model has been computing one video for {busy_seconds:.0f} s"
            raise RequestRefusedError("stuck", f"{detail}; restart the server")

    async def predict(self, request: Request, *, explain: bool) -> Answer:
        """Answer one request, and count how it ended."""
        began = time.monotonic()
        try:
            answer = await self._predict(request, explain=explain)
        except RequestRefusedError as error:
            self.metrics.requests.labels(error.outcome).inc()
            if error.outcome == "refused":
                self.metrics.refused.labels(error.reason).inc()
            raise
        except Exception:
            self.metrics.requests.labels("failed").inc()
            raise
        self.metrics.requests.labels("answered").inc()
        self.metrics.seconds.observe(time.monotonic() - began)
        return answer

    async def _predict(self, request: Request, *, explain: bool) -> Answer:
        # Refused now rather than after an upload of minutes.
        self.check_computing()
        if not self.queue_room:
            raise self._busy(f"the queue is full: {self.queue_length} videos are waiting")
        if self._uploads.locked():
            raise self._busy(f"too many uploads: {self.limits.uploads} are being received")
        async with contextlib.AsyncExitStack() as stack:
            async with self._uploads:
                upload = await stack.enter_async_context(
                    received(request, folder=self.folder, limits=self.limits)
                )
            if not self.queue_room:
                raise self._busy("the queue filled up during the upload")
            return await self._answer_in_time(upload, request, explain=explain)

    async def _answer_in_time(self, upload: Upload, request: Request, *, explain: bool) -> Answer:
        """Wait for the answer, but no longer than ``limits.answer_seconds``.

        The event loop keeps the time: the thread that computes may itself be stuck.
        """
        answer = asyncio.create_task(self._answer(upload, explain=explain))
        left = asyncio.create_task(_client_leaves(request))
        self._waiting.add(answer)
        try:
            await asyncio.wait(
                (answer, left),
                timeout=self.limits.answer_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            has_left = left.done()
        finally:
            self._waiting.discard(answer)
            answer.cancel()
            left.cancel()
            await asyncio.wait((answer, left))
        if not answer.cancelled():
            return answer.result()
        if self._is_stopped:
            raise self._busy("the server is shutting down")
        if has_left:
            raise RequestRefusedError("client_left", "the client disconnected")
        detail = f"no answer within {self.limits.answer_seconds:g} s of the upload"
        raise RequestRefusedError("timed_out", detail)

    async def _answer(self, upload: Upload, *, explain: bool) -> Answer:
        submitted = time.monotonic()
        loop = asyncio.get_running_loop()
        has_begun = asyncio.Event()
        # In order of arrival, and no more than there are decoders: each open video has one.
        async with self._decoders:
            on_ready = partial(loop.call_soon_threadsafe, has_begun.set)
            video = self.engine.open(upload.path, on_ready=on_ready)
            with contextlib.closing(video):
                # Among the open videos, the first whose frames come is computed first: a decoder
                # that hangs delays nobody else. Closing the video ends the computation of one
                # that nobody waits for any more.
                await has_begun.wait()
                return await loop.run_in_executor(
                    self._compute, self._computed, video, upload, explain, submitted
                )

    def _computed(
        self, video: DecodedVideo, upload: Upload, explain: bool, submitted: float
    ) -> Answer:
        """Run the model. Runs in the thread of ``_compute``."""
        began = self._busy_since = time.monotonic()
        try:
            return self.engine.answer(
                video, upload, explain=explain, waiting_seconds=began - submitted
            )
        finally:
            self._busy_since = None
            seconds = time.monotonic() - began
            self._seconds_per_video += NEWEST_SHARE * (seconds - self._seconds_per_video)

    def _busy(self, detail: str) -> RequestRefusedError:
        """Refuse for lack of room; ``Retry-After`` is estimated from the time of recent videos."""
        ahead = max(1, self.queue_length - self.limits.queue + 1)
        seconds = round(self._seconds_per_video * ahead + 0.5)
        retry_after = max(1, min(MAX_RETRY_SECONDS, seconds))
        return RequestRefusedError("busy", detail, retry_after=retry_after)


async def _client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(service: Service, *, names: frozenset[str] | None = None) -> FastAPI:
    """Create the application; it accepts the host names ``names``, or any if that is None."""
    app = FastAPI(
        title="slowfast serve",
        version=__version__,
        description="Predicts which action a video shows, and when.",
        # FastAPI's own pages fetch scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=service.running,
    )
    app.add_middleware(Guard, limits=service.limits, names=names)
    _add_problems(app)
    _add_endpoints(app, service)
    add_page(app, UPLOAD_PAGE)
    return app


def _add_endpoints(app: FastAPI, service: Service) -> None:
    @app.post("/predict", responses=REFUSALS, openapi_extra=REQUEST_BODY)
    async def predict(request: Request, explain: bool = False) -> Answer:
        """Predict a video, which is the body itself or the first file of a form.

        With ``explain``, the response holds the frames that support the prediction most. ``name``
        in the query is returned unchanged if the body is the video itself.
        """
        return await service.predict(request, explain=explain)

    # Not in a thread of the framework's pool, in which uploads are written.
    @app.get("/health", responses={503: {"model": Problem, "description": "The model is stuck"}})
    async def health() -> Health:
        """Return the state of the server and of its queue."""
        service.check_computing()
        model = service.engine.model_info
        return Health(
            status="ok",
            model=model.name,
            digest=model.digest,
            queue_length=service.queue_length,
            queue_room=service.queue_room,
        )

    @app.get("/model")
    def model() -> ModelCard:
        """Return the model, its card and the limits of an upload."""
        limits = service.limits
        return ModelCard(
            model=service.engine.model_info,
            limits=UploadLimits(max_bytes=limits.max_bytes, max_seconds=limits.max_seconds),
            card=service.engine.card,
        )

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Return the counters for Prometheus."""
        return Response(
            generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4"
        )


def _add_problems(app: FastAPI) -> None:
    """Return every refusal as JSON of the same form."""

    @app.exception_handler(RequestRefusedError)
    async def refused(_: Request, error: RequestRefusedError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        return RequestRefusedError("bad_request", f"{fault['loc'][-1]}: {fault['msg']}").response()

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        reason = "not_found" if error.status_code == 404 else "bad_request"
        problem = Problem(reason=reason, detail=str(error.detail))
        return JSONResponse(problem.model_dump(), error.status_code, headers=error.headers)
