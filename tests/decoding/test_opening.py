"""Which of several streams is the video: what `ffmpeg -i … out.mp4` takes, by its documentation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition
from decoded import decode
from synthetic import numbered_frame, read_numbers

NONE, DEFAULT = Disposition(0), Disposition.default
Track = tuple[str, int, int, int, Disposition]  # codec, width, first number, frames, disposition


def write_tracks(path: Path, tracks: Sequence[Track]) -> Path:
    """Video tracks at 15 frames a second, each 3 : 4 and with numbers of its own."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for codec, width, _, _, disposition in tracks:
            stream: Any = container.add_stream(codec, rate=15)
            stream.width, stream.height = width, width * 3 // 4
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for stream, (_, width, first, num_frames, _) in zip(streams, tracks, strict=True):
            for index in range(num_frames):
                picture = numbered_frame(first + index, width=width, height=width * 3 // 4)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 15)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("suffix", "dispositions", "sizes", "chosen"),
    [
        # The larger one where both or none are the default. MOV makes the first one the default
        # where nobody chooses, so none is said only in Matroska.
        (".mkv", (NONE, NONE), (64, 128), 1),
        (".mkv", (NONE, NONE), (128, 64), 0),
        (".mkv", (DEFAULT, DEFAULT), (64, 128), 1),
        (".mov", (DEFAULT, DEFAULT), (64, 128), 1),
        # The default one, though it is smaller.
        (".mkv", (NONE, DEFAULT), (128, 64), 1),
        (".mov", (NONE, DEFAULT), (128, 64), 1),
        (".mov", (DEFAULT, NONE), (64, 128), 0),
        # Of equal ones the first.
        (".mkv", (DEFAULT, DEFAULT), (64, 64), 0),
        (".mov", (DEFAULT, DEFAULT), (64, 64), 0),
    ],
)
def test_of_several_videos_the_default_one_then_the_largest(
    tmp_path: Path,
    suffix: str,
    dispositions: tuple[Disposition, Disposition],
    sizes: tuple[int, int],
    chosen: int,
) -> None:
    tracks: list[Track] = [
        ("mpeg4", size, 100 * number, 10, disposition)
        for number, (size, disposition) in enumerate(zip(sizes, dispositions, strict=True))
    ]
    path = write_tracks(tmp_path / f"a{suffix}", tracks)
    frames, report = decode(path)
    assert read_numbers(frames) == [100 * chosen + index for index in range(10)]
    assert report.source_width == sizes[chosen]
    assert report.facts().remarks == f"stream {chosen} of 2 video streams is used"


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4"])
@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
@pytest.mark.parametrize("num_frames", [1, 2])
def test_a_track_of_one_or_two_frames_is_not_the_video(
    tmp_path: Path, codec: str, suffix: str, num_frames: int
) -> None:
    """Thumbnails of cameras: larger, in front and the default one. Matroska states no number."""
    tracks: list[Track] = [(codec, 256, 7, num_frames, DEFAULT), ("mpeg4", 64, 100, 10, NONE)]
    path = write_tracks(tmp_path / f"a{suffix}", tracks)
    frames, report = decode(path)
    assert read_numbers(frames) == list(range(100, 110))
    assert report.facts().remarks == "stream 1 of 2 video streams is used"


def test_one_frame_alone_is_a_video(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mov", [("mjpeg", 64, 7, 1, DEFAULT)])
    frames, report = decode(path)
    assert read_numbers(frames) == [7]
    assert report.facts().remarks is None
