"""A server with a model of random weights, and videos to send it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from synthetic import make_params, steady, write_video

from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.commands.serve import (
    LOOPBACK_NAMES,
    listening_socket,
    load_service,
    make_server,
)
from slowfast_finetune.model.checkpoint import Checkpoint, Preprocessing, save_checkpoint
from slowfast_finetune.model.slowfast import build_slowfast
from slowfast_finetune.serving.app import Service
from slowfast_finetune.serving.limits import ServeLimits

CLASS_NAMES = ["clap", "jump", "wave <b>both</b> arms"]


def write_checkpoint(path: Path, *, threshold: float = 0.0) -> Path:
    """A model of random weights: clips of 8 frames at 15 a second, 32 px."""
    torch.manual_seed(3)
    params = make_params()
    runtime: RuntimeParams = params.runtime
    assert runtime.device == "cpu"
    save_checkpoint(
        path,
        Checkpoint(
            model_state=build_slowfast("slowfast_shallow", num_classes=3).state_dict(),
            class_names=CLASS_NAMES,
            preprocessing=Preprocessing.from_params(params.clip, crop_size=32),
            params=params.model_dump(mode="json"),
            epoch=4,
            val_loss=0.5,
            provenance={"seed": 3},
            threshold=threshold,
        ),
    )
    return path


def video_bytes(folder: Path, *, num_frames: int = 30) -> bytes:
    """A video of 64×48 at 15 frames a second."""
    return write_video(folder / "video.mp4", steady(num_frames, 15)).read_bytes()


@dataclass
class Served:
    """A server that runs in a thread."""

    url: str
    service: Service
    server: Any

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def files(self) -> list[Path]:
        """What is left of uploads."""
        return list(self.service.folder.iterdir())


@contextlib.contextmanager
def running_server(checkpoint: Path, *, limits: ServeLimits, workers: int = 2) -> Iterator[Served]:
    """Serve on a free port of 127.0.0.1 while the block runs."""
    service = load_service(checkpoint, limits=limits, workers=workers, device="cpu")
    with listening_socket("127.0.0.1", 0) as listener:
        server = make_server(service, names=LOOPBACK_NAMES)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started)
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", service, server)
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def until(is_so: Any, *, seconds: float = 20.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never was"
        time.sleep(0.01)
