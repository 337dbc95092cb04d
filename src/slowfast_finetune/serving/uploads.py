"""Write the body of a request to a temporary file, and enforce the limits while it arrives."""

import asyncio
import contextlib
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.problems import RequestRefusedError

WRITE_BYTES = 1 << 20  # gathered before they are written to the disk
MAX_NAME_LENGTH = 200
FULL_DISK_RETRY_SECONDS = 30


@dataclass(frozen=True)
class Upload:
    """A video that has arrived."""

    path: Path  # the temporary file, under a random name
    name: str | None  # the file's name as the client gave it; text, never a path
    seconds: float  # from the first byte to the last


@contextlib.asynccontextmanager
async def received(request: Request, *, folder: Path, limits: ServeLimits) -> AsyncIterator[Upload]:
    """Write the video of a request into a file, which is deleted when the block ends.

    The body is the video itself, or a form (multipart/form-data) whose first file is the video.

    Raises:
        RequestRefusedError: too large, too slow, malformed, or the client has gone.
    """
    began = time.monotonic()
    stated = request.headers.get("content-length", "")
    if stated.isascii() and stated.isdigit() and int(stated[:20]) > limits.max_bytes:
        raise _too_large(limits)
    path = folder / uuid.uuid4().hex
    limited = Request(request.scope, _limited(request.receive, limits))
    try:
        try:
            name = await _save(limited, path)
        except ClientDisconnect as error:
            raise RequestRefusedError("client_left", "the client disconnected") from error
        except (HTTPException, FormParserError) as error:
            detail = f"not a form: {getattr(error, 'detail', error)}"
            raise RequestRefusedError("bad_request", detail) from error
        except OSError as error:
            # Most likely a full disk, which may have room again later.
            detail = f"the upload cannot be stored: {error.strerror}"
            raise RequestRefusedError(
                "busy", detail, retry_after=FULL_DISK_RETRY_SECONDS
            ) from error
        if not path.stat().st_size:
            raise RequestRefusedError("empty_file", "the file has no bytes")
        yield Upload(path, name[:MAX_NAME_LENGTH] if name else None, time.monotonic() - began)
    finally:
        path.unlink(missing_ok=True)


def _limited(receive: Receive, limits: ServeLimits) -> Receive:
    """Count and time what ``receive`` gives."""
    num_bytes = 0
    deadline = time.monotonic() + limits.upload_seconds

    async def limited() -> Any:
        nonlocal num_bytes
        left = deadline - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(limits.idle_seconds, left))):
                message = await receive()
        except TimeoutError as error:
            detail = f"no data arrived for {limits.idle_seconds:g} s"
            if left <= limits.idle_seconds:
                detail = f"the upload took more than {limits.upload_seconds:g} s"
            raise RequestRefusedError("upload_too_slow", detail) from error
        num_bytes += len(message.get("body", b""))
        if num_bytes > limits.max_bytes:
            raise _too_large(limits)
        return message

    return limited


def _too_large(limits: ServeLimits) -> RequestRefusedError:
    detail = f"an upload may have at most {limits.max_bytes / 1e6:g} MB"
    return RequestRefusedError("upload_too_large", detail)


async def _save(request: Request, path: Path) -> str | None:
    """Write the video to ``path`` and return the name that the client gave it."""
    content_type = request.headers.get("content-type", "").partition(";")[0]
    with path.open("xb", buffering=WRITE_BYTES) as file:
        if content_type.strip().lower() != "multipart/form-data":
            async for chunk in request.stream():
                await asyncio.to_thread(file.write, chunk)
            return request.query_params.get("name")
        async with request.form() as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            if not files:
                detail = "the form has no file, or it is truncated"
                raise RequestRefusedError("bad_request", detail)
            await asyncio.to_thread(shutil.copyfileobj, files[0].file, file)
            return files[0].filename
