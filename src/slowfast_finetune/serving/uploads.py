"""Uploads: from a request's body to a temporary file, limited while the bytes arrive."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.problems import (
    ClientLeftError,
    bad_request,
    busy,
    refused_video,
    too_large,
    too_slow,
)

WRITE_BYTES = 1 << 20  # gathered before they go to the disk
MAX_NAME_LENGTH = 200
FULL_DISK_RETRY_SECONDS = 30


@dataclass(frozen=True)
class Upload:
    """A video that has arrived.

    Attributes:
        path: of a name that is ours.
        name: what the client calls it; nothing but text.
        seconds: that it took to arrive.
    """

    path: Path
    name: str | None
    seconds: float


@contextlib.asynccontextmanager
async def received(request: Request, *, folder: Path, limits: ServeLimits) -> AsyncIterator[Upload]:
    """Write the video of a request into a file, which is gone when the block ends.

    The body is the video itself, or a form (multipart/form-data) whose first file is the video.

    Raises:
        RequestRefusedError: too large, too slow, or not as it should be.
        ClientLeftError: the client has gone.
    """
    began = time.monotonic()
    _check_stated_length(request, limits)
    path = folder / uuid.uuid4().hex
    try:
        try:
            with path.open("xb") as file:
                name = await _write_body(request, file, limits)
        except OSError as error:
            # A full disk, most likely: it may have room again later.
            detail = f"the upload cannot be kept: {error.strerror}"
            raise busy(detail, retry_after=FULL_DISK_RETRY_SECONDS) from error
        if not path.stat().st_size:
            raise refused_video("empty_file", "the file has no bytes")
        yield Upload(path, name, time.monotonic() - began)
    finally:
        path.unlink(missing_ok=True)


def _check_stated_length(request: Request, limits: ServeLimits) -> None:
    """Refuse at once what says of itself that it is too large; what lies is found on the way."""
    stated = request.headers.get("content-length", "")
    if stated.isascii() and stated.isdigit() and int(stated[:20]) > limits.max_bytes:
        raise too_large(limits.max_bytes)


async def _write_body(request: Request, file: BinaryIO, limits: ServeLimits) -> str | None:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    form = _Form(options.get(b"boundary")) if kind == b"multipart/form-data" else None
    pending = bytearray()
    async for chunk in _chunks(request, limits):
        pending += chunk if form is None else form.file_bytes(chunk)
        if len(pending) >= WRITE_BYTES:
            await asyncio.to_thread(file.write, bytes(pending))
            pending.clear()
    await asyncio.to_thread(file.write, bytes(pending))
    if form is None:
        return _shortened(request.query_params.get("name"))
    form.finish()
    return _shortened(form.file_name)


async def _chunks(request: Request, limits: ServeLimits) -> AsyncIterator[bytes]:
    """The body as it arrives, counted and timed."""
    num_bytes = 0
    deadline = time.monotonic() + limits.upload_seconds
    stream = request.stream()
    while True:
        left = deadline - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(limits.idle_seconds, left))):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            if left <= limits.idle_seconds:
                raise too_slow(f"took more than {limits.upload_seconds:g} s") from error
            raise too_slow(f"nothing came for {limits.idle_seconds:g} s") from error
        except ClientDisconnect as error:
            raise ClientLeftError from error
        if chunk is None:
            return
        num_bytes += len(chunk)
        if num_bytes > limits.max_bytes:
            raise too_large(limits.max_bytes)
        yield chunk


def _shortened(name: str | None) -> str | None:
    return name[:MAX_NAME_LENGTH] if name else None


class _Form:
    """A form that is read as it comes; of its parts the first file is kept."""

    def __init__(self, boundary: bytes | None) -> None:
        if not boundary:
            raise bad_request("multipart/form-data without a boundary")
        self.file_name: str | None = None
        self._found = bytearray()
        self._has_file = self._is_in_file = self._is_whole = False
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, a, b: self._header.extend(data[a:b]),
                    "on_header_value": lambda data, a, b: self._value.extend(data[a:b]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_content,
                    "on_part_data": self._take,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise bad_request(f"not a form: {error}") from error

    def file_bytes(self, chunk: bytes) -> bytes:
        """What of a chunk of the body belongs to the file."""
        self._found.clear()
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise bad_request(f"not a form: {error}") from error
        return bytes(self._found)

    def finish(self) -> None:
        """Refuse a form that is cut short or has no file."""
        if not self._is_whole:
            raise bad_request("the form is cut short")
        if not self._has_file:
            raise bad_request("the form has no file")

    def _begin_part(self) -> None:
        self._disposition = b""

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._disposition)
        if self._has_file or b"filename" not in options:
            return
        self._has_file = self._is_in_file = True
        self.file_name = options[b"filename"].decode("utf-8", "replace")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._is_in_file:
            self._found += data[start:end]

    def _end_part(self) -> None:
        self._is_in_file = False

    def _end(self) -> None:
        self._is_whole = True
