"""The shape of decoded pictures: pixels that are not square, sizes that change, fitting."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import synthetic
from decoded import decode
from synthetic import cornered_frame, read_corners, steady, write_video

from slowfast_finetune.decoding.orientation import display_matrix, fitted_size, scaled_size
from slowfast_finetune.video_folder import is_plain

# Sizes


@pytest.mark.parametrize(
    ("width", "height", "short_side", "expected"),
    [
        (1920, 1080, 256, (455, 256)),  # 455.1
        (1080, 1920, 256, (256, 455)),
        (640, 360, 128, (228, 128)),  # 227.6
        (360, 640, 128, (128, 228)),
        (64, 48, 48, (64, 48)),
        (64, 48, 96, (128, 96)),
        (50, 50, 256, (256, 256)),
        (161, 121, 64, (85, 64)),  # 85.2
    ],
)
def test_scaled_size_keeps_the_ratio(
    width: int, height: int, short_side: int, expected: tuple[int, int]
) -> None:
    assert scaled_size(width, height, short_side=short_side) == expected


def test_without_a_short_side_the_size_stays() -> None:
    assert scaled_size(1024, 576, short_side=None) == (1024, 576)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (64, 48, (64, 48)),
        (128, 96, (64, 48)),
        (32, 24, (64, 48)),
        (100, 100, (48, 48)),
        (128, 48, (64, 24)),  # half as large
        (48, 96, (24, 48)),
        (10, 480, (1, 48)),
        (1, 1000, (1, 48)),  # 0.05 px, and one at least
        # 64×47.3: the shape of 64×48, rounded.
        (65, 48, (64, 48)),
        # 64×45.2 is another.
        (68, 48, (64, 45)),
    ],
)
def test_a_picture_is_fitted_into_a_room_of_64_by_48(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    assert fitted_size(width, height, room=(64, 48)) == expected


# Files


def write_shaped(
    path: Path, *, width: int, height: int, aspect: Fraction, codec: str = "mpeg4"
) -> Path:
    """Ten frames at 15 a second, in quarters, whose pixels are ``aspect`` times as wide as high."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=15 if codec == "mpeg4" else 25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(10):
            picture = cornered_frame(width=width, height=height)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize(
    ("width", "height", "aspect", "shown", "stored"),
    [
        # PAL in 16:9: 720 · 64/45 = 1024. Of 48 lines: 85.3.
        (720, 576, Fraction(64, 45), (1024, 576), (85, 48)),
        # NTSC in 4:3: 720 · 8/9 = 640
        (720, 480, Fraction(8, 9), (640, 480), (64, 48)),
        # HDV: 1440 · 4/3 = 1920
        (360, 270, Fraction(4, 3), (480, 270), (85, 48)),
        # Narrower than high once it is shown: 96 · 1/2.
        (96, 64, Fraction(1, 2), (48, 64), (48, 64)),
        (64, 48, Fraction(1), (64, 48), (64, 48)),
    ],
)
def test_pixels_that_are_not_square(
    tmp_path: Path,
    suffix: str,
    width: int,
    height: int,
    aspect: Fraction,
    shown: tuple[int, int],
    stored: tuple[int, int],
) -> None:
    path = write_shaped(tmp_path / f"a{suffix}", width=width, height=height, aspect=aspect)
    frames, report = decode(path)
    assert {frame.shape for frame in frames} == {(*stored[::-1], 3)}
    assert [read_corners(frame) for frame in frames] == ["RGBW"] * 10
    assert (report.source_width, report.source_height) == shown
    assert report.facts().pixel_aspect == pytest.approx(float(aspect), abs=1e-4)
    assert report.facts().remarks is None
    assert is_plain(path) is (aspect == 1)
    whole, _ = decode(path, short_side=None)
    assert whole[0].shape == (*shown[::-1], 3)


def test_pixels_that_change_their_shape_within_a_stream(tmp_path: Path) -> None:
    """Television goes from 4:3 to 16:9: 720 · 16/15 = 768, 720 · 64/45 = 1024."""
    parts = [
        write_shaped(tmp_path / name, width=720, height=576, aspect=aspect, codec="mpeg2video")
        for name, aspect in (("a.ts", Fraction(16, 15)), ("b.ts", Fraction(64, 45)))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, report = decode(joined, sample_fps=25)
    assert len(frames) == 20
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert report.facts().remarks == "the frame size changes; later frames are scaled and padded"
    assert frames[5].mean((1, 2)).min() > 30
    # In a width of 64 the second picture is 36 high, between bars of 6.
    rows = frames[15].mean((1, 2))
    assert max(rows[:6].max(), rows[-6:].max()) < 2
    assert rows[7:-7].min() > 30


def test_pixels_that_are_not_square_of_a_turned_picture(tmp_path: Path) -> None:
    """The shape is that of the pixels as they are coded, before the picture is turned."""
    path = write_shaped(tmp_path / "a.mp4", width=96, height=64, aspect=Fraction(4, 3))
    synthetic.set_display_matrix(path, a=0, b=1, c=-1, d=0)
    frames, report = decode(path)
    assert {frame.shape for frame in frames} == {(96, 48, 3)}
    assert read_corners(frames[0]) == "BRWG"
    assert (report.source_width, report.source_height) == (64, 128)


@pytest.mark.parametrize("aspect", [Fraction(5), Fraction(1, 5)])
def test_a_pixel_shape_that_cannot_be_true_is_ignored_and_told(
    tmp_path: Path, aspect: Fraction
) -> None:
    path = write_shaped(tmp_path / "a.mp4", width=64, height=48, aspect=aspect)
    frames, report = decode(path)
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert report.facts().pixel_aspect == 1
    assert report.facts().remarks == f"pixels of {aspect} are taken for square"


def test_a_picture_that_changes_its_shape_is_fitted_between_bars(tmp_path: Path) -> None:
    """64×48, then 128×48: half as large it is 64×24, with 12 black lines above and below."""
    path = tmp_path / "a.h264"
    path.write_bytes(
        b"".join(
            write_video(
                tmp_path / f"{width}.h264",
                steady(10, 25),
                width=width,
                picture=lambda _, width=width: cornered_frame(width=width),  # type: ignore[misc]
            ).read_bytes()
            for width in (64, 128)
        )
    )
    frames, report = decode(path, sample_fps=25)
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert [read_corners(frame) for frame in frames[:10]] == ["RGBW"] * 10
    for frame in frames[10:]:
        assert read_corners(frame[12:36]) == "RGBW"
        assert frame[:12].max() == frame[36:].max() == 0
    assert (report.source_width, report.source_height) == (64, 48)
    assert report.facts().remarks == "the frame size changes; later frames are scaled and padded"


class Unreadable:
    """A frame with side data of a kind that PyAV does not know, as MV-HEVC has."""

    def __init__(self, rotation: int) -> None:
        self.rotation = rotation

    @property
    def side_data(self) -> Any:
        raise ValueError("29 is not a valid Type")


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_side_data_of_an_unknown_kind_hides_no_rotation(
    tmp_path: Path, matrix: tuple[int, ...]
) -> None:
    path = write_video(tmp_path / "a.mp4", steady(3, 15))
    synthetic.set_display_matrix(path, **dict(zip("abcd", matrix, strict=True)))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    unreadable: Any = Unreadable(frame.rotation)
    assert display_matrix(unreadable) == display_matrix(frame)


@pytest.mark.parametrize(
    ("transfer", "code", "expected", "dynamic_range"),
    [
        # Codes of 10 bits are 64 + 876 · E'. HLG's white, 75 %: 721, shown as 230.
        (18, 721, 230, "hlg"),
        # PQ's white, 58.07 %: 572.7; 26 cd/m², 38.00 %: 396.9.
        (16, 573, 230, "pq"),
        (16, 397, 108, "pq"),
        # By BT.709 the same code is 191.25; `ffmpeg -pix_fmt rgb24` gives 189 by default.
        (1, 721, 189, "sdr"),
    ],
)
def test_hdr_is_mapped(
    tmp_path: Path, transfer: int, code: int, expected: int, dynamic_range: str
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        stream.options = {"crf": "1", "preset": "ultrafast"}
        stream.codec_context.color_trc = transfer
        stream.codec_context.color_primaries = stream.codec_context.colorspace = (
            1 if transfer == 1 else 9
        )
        frame = av.VideoFrame(64, 48, "yuv420p10le")
        for plane, level in zip(frame.planes, (code, 512, 512), strict=True):
            samples = np.full(plane.buffer_size // 2, level, np.uint16)
            plane.update(samples.tobytes())
        for index in range(5):
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames, report = decode(path)
    assert report.facts().dynamic_range == dynamic_range
    assert is_plain(path) is (dynamic_range == "sdr")
    for shown in frames:
        assert np.abs(shown.astype(int) - expected).max() <= 1
