"""slowfast serve: every way a request can end, over real connections on 127.0.0.1."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from faulty_decoders import serve_with_faulty_files
from pipeline_imports import PROJECT
from served import (
    CLASS_NAMES,
    Served,
    running_server,
    until,
    video_bytes,
    write_checkpoint,
)
from synthetic import steady, write_sound, write_video

from slowfast_finetune.base.errors import CheckpointError, InputError
from slowfast_finetune.commands import serve as command
from slowfast_finetune.commands.serve import listening_socket, own_names
from slowfast_finetune.pictures import grad_cam
from slowfast_finetune.predicting import decoder_pool
from slowfast_finetune.predicting.clip_selection import SelectedClip
from slowfast_finetune.predicting.predictor import load_model
from slowfast_finetune.serving.app import Service
from slowfast_finetune.serving.explaining import MAX_CLIPS, KeptClips, strongest
from slowfast_finetune.serving.guard import CONTENT_POLICY
from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.uploads import Upload

LIMITS = ServeLimits(
    max_bytes=200_000,
    max_seconds=3.0,
    queue=2,
    uploads=3,
    connections=12,
    header_seconds=0.8,
    idle_seconds=0.6,
    upload_seconds=1.5,
    decoder_seconds=4.0,
)
OCTETS = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "best.pt")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return video_bytes(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def one_server(checkpoint: Path) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_pool, "_serve", serve_with_faulty_files)
        with running_server(checkpoint, limits=LIMITS) as served:
            yield served
            folder = served.service.folder
    assert not folder.exists(), "the folder of uploads goes with the server"


@pytest.fixture
def served(one_server: Served) -> Iterator[Served]:
    """The server; after every test no upload is left, and nothing waits."""
    yield one_server
    until(lambda: not one_server.files() and not one_server.service.queue_length)


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client:
        yield client


def post(client: httpx.Client, content: Any, **values: Any) -> httpx.Response:
    return client.post("/predict", content=content, headers=OCTETS, **values)


def problem(response: httpx.Response, status: int) -> str:
    """The reason, of a refusal that is as it should be."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"reason", "detail"}
    assert "slowfast-serve-" not in response.text, "where uploads lie is nobody's business"
    return str(response.json()["reason"])


def held_model(served: Served, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make every computation wait until the event is set."""
    let_go = threading.Event()
    really = served.service.engine.answer

    def answer(*values: Any, **named: Any) -> Any:
        assert let_go.wait(60)
        return really(*values, **named)

    monkeypatch.setattr(served.service.engine, "answer", answer)
    return let_go


# Answers


@pytest.mark.process
def test_the_answer_is_the_models_by_either_way(
    client: httpx.Client, good: bytes, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(good)
    expected = load_model(checkpoint, device="cpu").predict(path)
    for response in (
        post(client, good),
        client.post("/predict", files={"video": ("video.mp4", good, "video/mp4")}),
        client.post("/predict", content=iter([good[:1000], good[1000:]])),
    ):
        assert response.status_code == 200, response.text
        said = response.json()
        assert said["label"] == said["answer"] == expected.label
        assert said["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
        assert said["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert list(said["probabilities"].values()) == sorted(
            said["probabilities"].values(), reverse=True
        )
        assert said["duration_seconds"] == 2.0
        assert [one["answer"] for one in said["segments"]] == [
            one.answer for one in expected.segments
        ]
        assert said["segments"][-1]["end_seconds"] == 2.0
        assert said["truncated"] is False
        assert said["explanation"] is None
        assert said["model"]["class_names"] == CLASS_NAMES
        assert len(said["model"]["digest"]) == 32


@pytest.mark.process
def test_an_answer_below_the_threshold_is_none(tmp_path: Path, good: bytes) -> None:
    unsure = write_checkpoint(tmp_path / "best.pt", threshold=1.0)
    with running_server(unsure, limits=LIMITS, workers=1) as served:
        said = httpx.post(f"{served.url}/predict", content=good, trust_env=False).json()
    assert said["answer"] is None
    assert said["label"] in CLASS_NAMES
    assert [one["answer"] for one in said["segments"]] == [None]


def test_of_a_long_video_the_beginning_is_looked_at(client: httpx.Client, tmp_path: Path) -> None:
    for num_frames, is_truncated in ((45, False), (46, True), (90, True)):
        said = post(client, video_bytes(tmp_path, num_frames=num_frames)).json()
        assert (said["duration_seconds"], said["truncated"]) == (3.0, is_truncated)


def test_the_explanation_has_pictures_of_both_pathways(client: httpx.Client, good: bytes) -> None:
    from PIL import Image

    said = post(client, good, params={"explain": "true"}).json()["explanation"]
    assert said["note"] is None
    assert 1 <= len(said["frames"]) <= 4
    seconds = [frame["seconds"] for frame in said["frames"]]
    assert seconds == sorted(set(seconds))
    assert seconds[0] >= said["start_seconds"]
    assert max(frame["weight"] for frame in said["frames"]) <= 1
    for frame in said["frames"]:
        for kind in ("frame", "slow", "fast"):
            head, _, data = frame[kind].partition(",")
            assert head == "data:image/jpeg;base64"
            assert Image.open(io.BytesIO(base64.b64decode(data))).size == (128, 128)


@pytest.mark.process
def test_without_captum_the_answer_says_so(
    checkpoint: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grad_cam, "is_installed", lambda: False)
    with running_server(checkpoint, limits=LIMITS, workers=1) as served:
        url = f"{served.url}/predict?explain=true"
        said = httpx.post(url, content=good, trust_env=False, timeout=30).json()
    assert said["explanation"]["frames"] == []
    assert "slowfast-finetune[explain]" in said["explanation"]["note"]


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", 'a"b\n<script>.mp4', "ä\u202e.mp4", "x" * 3000, "a\x00b"]
)
def test_names_are_text_and_never_paths(
    name: str, client: httpx.Client, served: Served, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    really = served.service.engine.open
    monkeypatch.setattr(
        served.service.engine,
        "open",
        lambda path, **values: seen.append(path) or really(path, **values),
    )
    answers = [
        post(client, good, params={"name": name}),
        client.post("/predict", files={"video": (name, good)}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["name"] == name[:200]
    assert [path.parent for path in seen] == [served.service.folder] * 2
    assert all(re.fullmatch("[0-9a-f]{32}", path.name) for path in seen)


# Videos that are refused


def test_refused_videos_have_the_reasons_of_the_cache(
    client: httpx.Client, good: bytes, tmp_path: Path
) -> None:
    sound = write_sound(tmp_path / "sound.mp4").read_bytes()
    big = write_video(tmp_path / "big.mp4", steady(2, 15), width=1290, height=64)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/passwd.mp4\n"
    concat = f"ffconcat version 1.0\nfile {tmp_path / 'big.mp4'}\n".encode()
    for content, reason in (
        (b"", "empty_file"),
        (b"this is no video at all", "not_a_video"),
        (good[: len(good) // 3], "not_a_video"),
        (sound, "no_video_stream"),
        (big.read_bytes(), "too_narrow"),
        (playlist, "not_a_video"),
    ):
        assert problem(post(client, content), 422) == reason
    # FFmpeg refuses to leave the folder, in words of its own.
    assert problem(post(client, concat), 422) in ("not_a_video", "unreadable")


@pytest.mark.process
def test_a_decoder_that_dies_or_hangs_costs_its_own_video(
    client: httpx.Client, good: bytes, served: Served
) -> None:
    assert problem(post(client, b"CRASH"), 422) == "crashed"
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(post, client, b"HANG")
        until(lambda: served.service.queue_length == 1)
        began = time.monotonic()
        assert post(client, good).status_code == 200
        assert not hanging.done()
        assert time.monotonic() - began < LIMITS.decoder_seconds, "nobody waits for it"
        assert problem(hanging.result(), 422) == "timeout"
    assert post(client, good).status_code == 200


@pytest.mark.process
@pytest.mark.parametrize(
    ("held_seconds", "suffix", "expected"),
    [(580, "mp4", (584.0, False)), (5 * 86_400, "mkv", (1000.0, True))],
)
def test_a_frame_that_is_held_for_minutes_or_days_silences_nobody(
    checkpoint: Path, tmp_path: Path, held_seconds: int, suffix: str, expected: tuple[float, bool]
) -> None:
    times = steady(20, 10) + steady(20, 10, start=2 + held_seconds)
    path = write_video(tmp_path / f"held.{suffix}", times, tick=Fraction(1, 1000))
    limits = dataclasses.replace(LIMITS, max_seconds=1000.0, answer_seconds=30.0)
    with (
        running_server(checkpoint, limits=limits, workers=1) as served,
        httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client,
    ):
        for _ in range(2):
            said = post(client, path.read_bytes(), params={"explain": True}).json()
            assert (said["duration_seconds"], said["truncated"]) == expected
        assert client.get("/health").is_success


# Uploads that are refused


@pytest.mark.process
def test_too_many_bytes_are_refused_whatever_is_stated(client: httpx.Client) -> None:
    assert LIMITS.max_bytes == 200_000

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 10_000

    for response in (
        post(client, b"x" * 200_001),
        post(client, chunks()),
        client.post("/predict", files={"video": ("a.mp4", b"x" * 200_000)}),
    ):
        assert problem(response, 413) == "upload_too_large"
    assert problem(post(client, b"x" * 200_000), 422) == "not_a_video", "as many as allowed"


def talk(served: Served, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        received = b""
        # Bytes that nobody asked for make the kernel close with a reset, behind the answer.
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                received += more
    return received


def head(*lines: str, path: str = "/predict", host: str = "127.0.0.1") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", f"host: {host}", *lines, "", ""]).encode()


def test_slow_uploads_end_and_hold_no_worker(
    client: httpx.Client, served: Served, good: bytes
) -> None:
    with ThreadPoolExecutor() as pool:
        silent = pool.submit(talk, served, head("content-length: 1000"), b"x")
        drip = pool.submit(talk, served, head("content-length: 1000"), *[b"x"] * 9, pause=0.25)
        until(lambda: len(served.files()) == 2)
        assert post(client, good).status_code == 200
        for answer in (silent.result(), drip.result()):
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b'"upload_too_slow"' in answer
        assert b"no data arrived for 0.6 s" in silent.result()
        assert b"more than 1.5 s" in drip.result()


def test_a_client_that_takes_nothing_of_its_answers_is_left(served: Served) -> None:
    connections = served.server.server_state.connections
    until(lambda: not connections)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", served.port))
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                connection.send(b"GET /script.js HTTP/1.1\r\nhost: localhost\r\n\r\n")
        until(lambda: len(connections) == 1)
        until(lambda: any(c.transport.get_write_buffer_size() for c in connections))
        until(lambda: not connections)


def test_names_are_the_same_in_large_letters() -> None:
    names = own_names("127.0.0.1", ["Actions.Example.ORG"])
    assert names is not None
    assert {"localhost", "actions.example.org"} <= names
    assert own_names("0.0.0.0", []) is None


def test_a_length_that_lies_does_no_harm(served: Served, client: httpx.Client) -> None:
    too_few = talk(served, head("content-length: 3", "connection: close"), b"x" * 3000)
    assert too_few.startswith(b"HTTP/1.1 422 "), "three bytes are no video"
    none = talk(served, head("content-length: -3"), b"x")
    assert none.startswith(b"HTTP/1.1 400 ")
    assert json.loads(none.partition(b"\r\n\r\n")[2])["reason"] == "bad_request"
    huge = talk(served, head(f"content-length: {10**15}"))
    assert huge.startswith(b"HTTP/1.1 413 ")
    both = head("content-length: 3", "transfer-encoding: chunked", "connection: close")
    assert talk(served, both, b"3\r\nabc\r\n0\r\n\r\n")[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 422")
    # One that promises more and leaves.
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(head("content-length: 1000") + b"x")
        until(lambda: len(served.files()) == 1)
    until(lambda: not served.files())
    assert client.get("/health").status_code == 200


# Starlette leaves it to Python to close the file of a form that is cut short.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_form_must_be_one(client: httpx.Client, served: Served, good: bytes) -> None:
    form = {"content-type": "multipart/form-data; boundary=q"}
    text = b'--q\r\ncontent-disposition: form-data; name="video"\r\n\r\nhello\r\n--q--\r\n'
    start = b'--q\r\ncontent-disposition: form-data; name="v"; filename="a"\r\n\r\n'
    for headers, content in (
        ({"content-type": "multipart/form-data"}, good),
        (form, b"nonsense"),
        (form, b""),
        (form, text),
        (form, start + good),
        (form, b"--q\r\n" + b"h: x\r\n" * 1000),
        ({"content-type": f"multipart/form-data; boundary={'q' * 500}"}, good),
    ):
        response = client.post("/predict", content=content, headers=headers)
        assert problem(response, 400) == "bad_request"
    two = start + good + b"\r\n" + start + b"second\r\n--q--\r\n"
    assert client.post("/predict", content=text[:-7] + b"\r\n" + two, headers=form).is_success


def test_who_finds_no_room_is_told_when_to_come_back(
    client: httpx.Client, served: Served, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = held_model(served, monkeypatch)
    with ThreadPoolExecutor() as pool:
        taken = [pool.submit(post, client, good) for _ in range(LIMITS.queue + 1)]
        until(lambda: served.service.queue_length == LIMITS.queue + 1)
        assert client.get("/health").json()["queue_room"] == 0
        for response in (post(client, good), post(client, b"x" * 150_000)):
            assert problem(response, 503) == "busy"
            assert 1 <= int(response.headers["retry-after"]) <= 300
        let_go.set()
        assert [one.result().status_code for one in taken] == [200] * 3
    until(lambda: client.get("/health").json()["queue_room"] == 3)


def test_uploads_at_once_are_limited(client: httpx.Client, served: Served, good: bytes) -> None:
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(talk, served, head("content-length: 9")) for _ in range(LIMITS.uploads)]
        until(lambda: len(served.files()) == LIMITS.uploads)
        response = post(client, good)
        assert problem(response, 503) == "busy"
        assert response.headers["retry-after"]
        assert all(one.result().startswith(b"HTTP/1.1 408") for one in slow)
    assert post(client, good).status_code == 200


def test_a_client_that_leaves_frees_its_place(
    client: httpx.Client, served: Served, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = held_model(served, monkeypatch)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(post, client, good)
        until(lambda: served.service.queue_length == 1)
        gone = socket.create_connection(("127.0.0.1", served.port))
        gone.sendall(head(f"content-length: {len(good)}") + good)
        until(lambda: served.service.queue_length == 2)
        gone.close()
        until(lambda: len(served.files()) == 1)
        let_go.set()
        assert first.result().status_code == 200


def test_a_full_disk_is_no_crash(
    client: httpx.Client, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slowfast_finetune.serving import uploads

    async def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads, "_save", full)
    response = post(client, good)
    assert problem(response, 503) == "busy"
    assert "No space left" in response.text
    assert response.headers["retry-after"] == "30"


def test_a_fault_of_ours_is_told_and_the_next_is_answered(
    client: httpx.Client, served: Served, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(served.service.engine, "answer", lambda *_, **__: 1 // 0)
        assert problem(post(client, good), 500) == "server_error"
    assert post(client, good).status_code == 200


@pytest.mark.process
def test_a_server_that_stops_tells_those_who_wait(
    checkpoint: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(checkpoint, limits=LIMITS, workers=1) as served:
        let_go = held_model(served, monkeypatch)
        with (
            httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client,
            ThreadPoolExecutor() as pool,
        ):
            waiting = [pool.submit(post, client, good) for _ in range(2)]
            until(lambda: served.service.queue_length == 2)
            served.server.should_exit = True
            for one in waiting:
                assert problem(one.result(), 503) == "busy"
                assert one.result().headers["retry-after"]
            let_go.set()


@pytest.mark.process
def test_every_request_ends_by_its_limit_although_the_model_hangs(
    checkpoint: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that wait behind the one that hangs, and health tells of it."""
    limits = dataclasses.replace(LIMITS, answer_seconds=0.3, decoder_seconds=0.7)
    with running_server(checkpoint, limits=limits, workers=1) as served:
        let_go = held_model(served, monkeypatch)
        with (
            httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client,
            ThreadPoolExecutor() as pool,
        ):
            waiting = [pool.submit(post, client, good) for _ in range(3)]
            assert {problem(one.result(), 504) for one in waiting} == {"timed_out"}
            assert not served.files()
            until(lambda: client.get("/health").status_code == 503)
            assert problem(client.get("/health"), 503) == "stuck"
            assert problem(post(client, good), 503) == "stuck", "at once"
            assert counted(client)['slowfast_requests_total{outcome="timed_out"}'] == 3
            let_go.set()
            until(lambda: client.get("/health").status_code == 200)


HANGING_SERVER = """
import sys, threading
from slowfast_finetune import cli
from slowfast_finetune.serving import app
from slowfast_finetune.serving.inference import InferenceEngine
app.CLOSE_SECONDS = 0.5
def hang(*_, **__):
    print("hangs", flush=True)
    threading.Event().wait()
InferenceEngine.answer = hang
sys.argv = ["slowfast", "serve", "--checkpoint", sys.argv[1], "--device", "cpu", "--port", "0"]
cli.main()
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 1)]
)
def test_a_signal_ends_a_server_whose_model_hangs(
    checkpoint: Path, good: bytes, tmp_path: Path, number: int, code: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING_SERVER, str(checkpoint)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]

        with (
            httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
            ThreadPoolExecutor() as pool,
        ):
            until(lambda: httpx_answers(url))
            waiting = pool.submit(post, client, good)
            assert process.stdout.readline() == "hangs\n"
            decoders = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            assert problem(waiting.result(), 503) == "busy"
            assert process.wait(timeout=20) == code
            assert not psutil.wait_procs(decoders, timeout=10)[1]
    assert not list(tmp_path.glob("slowfast-serve-*"))


def httpx_answers(url: str) -> bool:
    """Tell whether a server has begun to answer."""
    try:
        return httpx.get(f"{url}health", trust_env=False).is_success
    except httpx.TransportError:
        return False


# Connections


def test_an_answer_is_read_although_the_upload_goes_on(served: Served) -> None:
    """Closing at once would reset the connection, and the client would lose the answer."""
    body = b"x" * 5_000_000
    stated = talk(served, head(f"content-length: {len(body)}"), body[:190_000])
    assert stated.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in stated


def test_silent_connections_end(served: Served) -> None:
    for said in (b"", b"POST /predict HT", head("content-length: 9")[:-2]):
        began = time.monotonic()
        assert talk(served, said) == b""
        assert 0.5 < time.monotonic() - began < 5


def test_too_many_connections_are_told_when_to_come_back(served: Served) -> None:
    until(lambda: socket.create_connection(("127.0.0.1", served.port)).close() is None)
    time.sleep(0.2)
    idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(LIMITS.connections)]
    answer = talk(served, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    for one in idle:
        one.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["reason"] == "busy"
    until(lambda: b" 200 " in talk(served, b"GET /health HTTP/1.0\r\nhost: localhost\r\n\r\n"))


@pytest.mark.process
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:8000"}, 403),
        ({"host": ""}, 403),
        ({"host": "localhost:80"}, 422),
        ({"host": "[::1]:80"}, 422),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://localhost", "sec-fetch-site": "same-origin"}, 422),
    ],
)
def test_other_web_sites_cannot_ask(
    headers: dict[str, str], status: int, client: httpx.Client
) -> None:
    response = client.post("/predict", content=b"x", headers=headers)
    assert problem(response, status) == ("forbidden" if status == 403 else "not_a_video")


# Everything else that is asked


def test_health_model_and_unknown_places(client: httpx.Client) -> None:
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert (health["model"], health["queue_length"]) == ("slowfast_shallow", 0)
    said = client.get("/model").json()
    assert said["limits"] == {"max_bytes": 200_000, "max_seconds": 3.0}
    assert "| seed | 3 |" in said["card"]
    for path in ("/docs", "/redoc", "/nothing", "/../etc/passwd", "/predict/x"):
        assert problem(client.get(path), 404) == "not_found"
    assert problem(client.get("/predict"), 405) == "bad_request"
    assert problem(client.post("/predict?explain=perhaps", content=b"x"), 400) == "bad_request"


def test_the_card_beside_the_checkpoint_is_shown(tmp_path: Path) -> None:
    from slowfast_finetune.model.checkpoint import load_checkpoint
    from slowfast_finetune.serving.inference import card_text

    path = write_checkpoint(tmp_path / "best.pt")
    (tmp_path / "README.md").write_bytes(b"# Mine\n\xff")
    assert card_text(path, load_checkpoint(path)) == "# Mine\n\ufffd"


def counted(client: httpx.Client) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


def test_metrics_count_what_happened(client: httpx.Client, good: bytes) -> None:
    before = counted(client)
    post(client, good)
    post(client, b"no video")
    post(client, b"x" * 200_001)
    after = counted(client)

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more('slowfast_requests_total{outcome="answered"}') == 1
    assert more('slowfast_requests_total{outcome="refused"}') == 1
    assert more('slowfast_requests_total{outcome="too_large"}') == 1
    assert more('slowfast_videos_refused_total{reason="not_a_video"}') == 1
    assert more("slowfast_request_seconds_count") == 1
    assert after["slowfast_queue_length"] == 0
    assert after['slowfast_resident_memory_bytes{processes="server"}'] > 50e6


def test_openapi_lists_every_answer(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    predict = schema["paths"]["/predict"]["post"]
    assert set(predict["responses"]) == {
        "200", "400", "403", "408", "413", "422", "500", "503", "504",
    }  # fmt: skip
    for status, response in predict["responses"].items():
        name = response["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        assert name == ("Answer" if status == "200" else "Problem")
    assert "Retry-After" in predict["responses"]["503"]["headers"]
    assert set(predict["requestBody"]["content"]) == {
        "video/*", "application/octet-stream", "multipart/form-data",
    }  # fmt: skip
    assert set(schema["paths"]) == {"/predict", "/health", "/model", "/metrics"}


def test_the_page_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/style.css", "/script.js", "/card.js", "/theme.js"):
        response = client.get(path)
        assert response.headers["content-security-policy"] == CONTENT_POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?://|@import|innerHTML|eval\(", response.text), path
    assert "unsafe" not in CONTENT_POLICY


# Parts


def test_the_strongest_frame_of_each_part_is_taken() -> None:
    weights = np.array([0.1, 0.3, 0.2, 0.9, 0.8, 0.0, 0.0, 0.5])
    assert strongest(weights, count=4) == [1, 3, 4, 7]
    assert strongest(weights[:2], count=4) == [0, 1]


def look(start: int) -> SelectedClip:
    return SelectedClip((start, 0, 0), np.zeros((1, 1, 1, 3), np.uint8))


def start_of(kept: KeptClips, label: int) -> int | None:
    best = kept.best(label)
    return best.place[0] if best else None


def test_the_clip_that_spoke_most_for_a_class_is_kept() -> None:
    kept = KeptClips()
    for start, logits in enumerate(([2, 0, 0], [3, 0, 0], [1, 0, 0], [0, 5, 0])):
        kept.see(look(start), np.array(logits, np.float32))
    assert start_of(kept, 0) == 1
    assert start_of(kept, 1) == 3
    assert start_of(kept, 2) in (1, 2)


def test_few_clips_are_kept_of_many_classes() -> None:
    kept = KeptClips()
    for label in range(50):
        kept.see(look(label), (np.eye(50)[label] * (label + 1)).astype(np.float32))
    assert len(kept._by_label) == MAX_CLIPS
    assert start_of(kept, 49) == 49


class FakeEngine:
    """Computes a video when it is let go; remembers the order."""

    def __init__(self) -> None:
        self.opened: dict[str, Callable[[], None]] = {}
        self.closed: list[str] = []
        self.computed: list[str] = []
        self.let_go = threading.Event()

    def open(self, path: Path, *, on_ready: Callable[[], None]) -> Any:
        self.opened[path.name] = on_ready
        if not path.name.startswith("slow"):
            on_ready()
        return SimpleNamespace(close=lambda: self.closed.append(path.name))

    def answer(self, _: Any, upload: Upload, **__: Any) -> Any:
        assert self.let_go.wait(10)
        self.computed.append(upload.path.name)
        return upload.path.name


def submitted(service: Service, name: str) -> asyncio.Task[Any]:
    return asyncio.create_task(service._answer(Upload(Path(name), None, 0.0), explain=False))


def test_a_video_that_does_not_begin_holds_nobody_up() -> None:
    async def check() -> None:
        engine: Any = FakeEngine()
        service = Service(engine, limits=LIMITS, decoders=2)
        slow, *others = [submitted(service, name) for name in ("slow", "b", "c", "d")]
        await asyncio.sleep(0)
        assert set(engine.opened) == {"slow", "b"}, "no more are open than there are decoders"
        engine.let_go.set()
        assert await asyncio.gather(*others) == ["b", "c", "d"]
        assert not slow.done()
        engine.opened["slow"]()
        assert await slow == "slow"
        assert engine.closed == ["b", "c", "d", "slow"]

    asyncio.run(check())


def test_requests_that_nobody_waits_for_are_not_computed() -> None:
    async def check() -> None:
        engine: Any = FakeEngine()
        service = Service(engine, limits=LIMITS, decoders=2)
        first, second, third, last = [submitted(service, name) for name in "abcd"]
        await asyncio.sleep(0)
        second.cancel()
        third.cancel()
        await asyncio.wait([second, third])
        engine.let_go.set()
        assert await asyncio.gather(first, last) == ["a", "d"]
        assert engine.computed == ["a", "d"]
        assert sorted(engine.closed) == ["a", "b", "d"], "c was not yet open"

    asyncio.run(check())


# The command


def test_a_port_in_use_is_one_line() -> None:
    with listening_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port}: cannot listen there"):
            listening_socket("127.0.0.1", port)
    with pytest.raises(InputError, match="cannot listen there"):
        listening_socket("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("me", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert (own_names(host, []) is not None) == expected


def slowfast(*words: str) -> list[str]:
    return [sys.executable, "-m", "slowfast_finetune.cli", "serve", "--port", "0", *words]


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "NEEDED", ("uvicorn", "no_such_library"))
    with pytest.raises(InputError, match=r"needs no_such_library, .*: pip install .*\[serve\]"):
        command.run(argparse.Namespace())


def test_a_missing_checkpoint_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        command.load_service(tmp_path / "none.pt", limits=LIMITS)


@pytest.mark.process
def test_ctrl_c_ends_it_cleanly(checkpoint: Path, good: bytes, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        slowfast("--checkpoint", str(checkpoint), "--host", "0.0.0.0", "--device", "cpu"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "no password" in process.stdout.readline()
        url = process.stdout.readline().split()[0].replace("0.0.0.0", "127.0.0.1")

        def answered() -> bool:
            try:
                return httpx.get(f"{url}health", trust_env=False).is_success
            except httpx.TransportError:
                return False

        until(answered)
        folders = list(tmp_path.glob("slowfast-serve-*"))
        assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700]
        assert httpx.post(f"{url}predict", content=good, trust_env=False, timeout=30).is_success
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "stopped\n", "")
    assert not list(tmp_path.glob("slowfast-serve-*"))


@pytest.mark.process
def test_help_is_answered_without_the_extra() -> None:
    code = (
        "import sys; sys.argv = ['slowfast', 'serve', '--help']\n"
        "from slowfast_finetune import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'fastapi', 'uvicorn', 'starlette'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=PROJECT)


def test_the_event_loop_is_free_while_the_model_looks(
    client: httpx.Client, served: Served, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    really = served.service.engine.answer

    def note(*values: Any, **named: Any) -> Any:
        names.append(threading.current_thread().name)
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        time.sleep(0.5)
        return really(*values, **named)

    monkeypatch.setattr(served.service.engine, "answer", note)
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(post, client, good) for _ in range(2)]
        until(lambda: len(names) == 1)
        began = time.monotonic()
        assert client.get("/health").is_success
        assert time.monotonic() - began < 0.4
        assert all(one.result().is_success for one in slow)
    assert names == ["model_0", "model_0"]


@pytest.mark.process
def test_many_clients_at_once_are_all_answered(
    checkpoint: Path, good: bytes, tmp_path: Path
) -> None:
    """A few seconds of what ``python -m benchmarks serve`` does for a minute."""
    from benchmarks.clients import SHARES, besiege
    from benchmarks.serve import silencing_videos

    videos = {"good": good, **silencing_videos(tmp_path)}
    limits = ServeLimits(max_bytes=500_000, queue=4, uploads=8, idle_seconds=0.5)
    with running_server(checkpoint, limits=limits) as served:
        heard = asyncio.run(
            besiege(served.url, clients=16, seconds=3.0, videos=videos, max_bytes=500_000)
        )
        until(lambda: not served.files() and not served.service.queue_length)
    assert heard.lost == 0, heard.faults
    assert heard.wrong == 0, heard.outcomes
    assert heard.without_retry_after == 0
    assert heard.outcomes["good", 200] > 0
    kinds = {kind for kind, _ in heard.outcomes}
    assert len(kinds) >= 6, "chance decides which"
    assert kinds <= set(SHARES)
