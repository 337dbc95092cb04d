"""One video to raw frames in a file, by ffmpeg and by other libraries used as their manuals show.

Every way ends as the cache stage does: the frames at the sampled instants, scaled, RGB, in a
file. Libraries are imported where they are used: these functions run in workers.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLOOR = "PyAV, tuned, bare"


@dataclass(frozen=True)
class RawJob:
    """One video to write as raw frames.

    Attributes:
        width, height: of the scaled frames [px].
        max_seconds: what lies later is left out [s].
    """

    video: Path
    target: Path
    width: int
    height: int
    sample_fps: float
    max_seconds: float


def ffmpeg_command(job: RawJob) -> list[str]:
    """The command line that writes the frames with one thread."""
    filters = f"fps={job.sample_fps:g},scale={job.width}:{job.height}:flags=bilinear"
    return [
        *("ffmpeg", "-nostdin", "-v", "error", "-y", "-threads", "1", "-i", str(job.video)),
        *("-filter_threads", "1", "-t", f"{job.max_seconds:g}", "-an", "-vf", filters),
        *("-pix_fmt", "rgb24", "-f", "rawvideo", str(job.target)),
    ]


def with_ffmpeg(job: RawJob) -> bool:
    """Run one ffmpeg process; whether it ended well."""
    return subprocess.run(ffmpeg_command(job), capture_output=True, check=False).returncode == 0


def with_decord(job: RawJob) -> None:
    """decord, scaling by its own ``width`` and ``height``."""
    import decord

    reader = decord.VideoReader(str(job.video), width=job.width, height=job.height, num_threads=1)
    indices = _every(len(reader), fps=reader.get_avg_fps(), job=job)
    reader.get_batch(indices).asnumpy().tofile(job.target)


def with_pyav(job: RawJob) -> None:
    """PyAV and Pillow: each frame that is kept becomes an array, then it is scaled."""
    import numpy as np
    from PIL import Image

    for frame, target in _kept_by_pyav(job):
        image = Image.fromarray(frame.to_ndarray(format="rgb24"))
        scaled = image.resize((job.width, job.height), Image.Resampling.BILINEAR)
        np.asarray(scaled).tofile(target)


def with_pyav_tuned(job: RawJob) -> None:
    """PyAV with one reformatter of one thread, as the stage has it: the floor, not a rival.

    No check of the file, no time stamps, no checksum, nobody to notice a crash.
    """
    import numpy as np
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    for frame, target in _kept_by_pyav(job):
        scaled = reformatter.reformat(
            frame, job.width, job.height, "rgb24", interpolation="BILINEAR", threads=1
        )
        # The rows are padded, and numpy would write such an array byte by byte.
        np.ascontiguousarray(scaled.to_ndarray()).tofile(target)


def _kept_by_pyav(job: RawJob) -> Any:
    import av

    with av.open(str(job.video)) as container, job.target.open("wb") as target:
        stream = container.streams.video[0]
        stream.thread_count = 1
        step = float(stream.average_rate or 30) / job.sample_fps
        kept = 0
        for index, frame in enumerate(container.decode(stream)):
            if index >= int(kept * step) and kept < job.max_seconds * job.sample_fps:
                kept += 1
                yield frame, target


def with_torchcodec(job: RawJob) -> None:
    """torchcodec, scaling while it decodes."""
    import torch

    from slowfast_finetune.model.library_imports import import_torchvision

    import_torchvision()
    # By name: it is not among the project's dependencies, and may not be there.
    decoders = importlib.import_module("torchcodec.decoders")
    transforms = importlib.import_module("torchcodec.transforms")
    torch.set_num_threads(1)
    decoder = decoders.VideoDecoder(
        str(job.video),
        dimension_order="NHWC",
        num_ffmpeg_threads=1,
        transforms=[transforms.Resize((job.height, job.width))],
    )
    count, fps = decoder.metadata.num_frames, decoder.metadata.average_fps
    indices = _every(count or 0, fps=fps or 30.0, job=job)
    decoder.get_frames_at(indices).data.numpy().tofile(job.target)


def _every(num_frames: int, *, fps: float, job: RawJob) -> list[int]:
    """Indices of the frames at the sampled instants, if the rate is constant."""
    end = min(num_frames, int(job.max_seconds * fps))
    instants = math.ceil(end * job.sample_fps / fps)
    return [min(int(k * fps / job.sample_fps), num_frames - 1) for k in range(instants)]


PEERS: dict[str, tuple[str, Callable[[RawJob], None]]] = {
    "decord": ("decord", with_decord),
    "PyAV, then Pillow": ("PIL", with_pyav),
    "torchcodec": ("torchcodec", with_torchcodec),
    FLOOR: ("av", with_pyav_tuned),
}


def attempt(peer: str, job: RawJob) -> bool:
    """Decode with one of :data:`PEERS`; whether it did."""
    try:
        PEERS[peer][1](job)
    except Exception:
        return False
    return True


def installed_peers() -> list[str]:
    """The Python libraries that can be measured here."""
    return [
        name for name, (module, _) in PEERS.items() if importlib.util.find_spec(module) is not None
    ]
