"""Decoding: the numbers that frames carry, against tables worked out by hand."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import synthetic
from decoded import decode, numbers
from synthetic import (
    FASTSTART,
    NTSC,
    NTSC_FILM,
    numbered_frame,
    read_corners,
    read_numbers,
    steady,
    write_video,
)

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.decoding.orientation import Frame
from slowfast_finetune.decoding.sampled_frames import sampled_frames
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.decoding.video_facts import DecodeReport

# Times


EVEN = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28]


@pytest.mark.parametrize(
    ("num_frames", "fps", "expected"),
    [
        (15, 15, list(range(15))),
        (30, 30, EVEN),
        (25, 25, [0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 16, 18, 20, 21, 23]),
        (60, 60, [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56]),
        (30, NTSC, [0, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 29]),
        (24, NTSC_FILM, [0, 1, 3, 4, 6, 8, 9, 11, 12, 14, 15, 17, 19, 20, 22, 23]),
    ],
    ids=["15", "30", "25", "60", "29.97", "23.976"],
)
def test_constant_rates_in_mp4(
    tmp_path: Path, num_frames: int, fps: Fraction | int, expected: list[int]
) -> None:
    path = write_video(tmp_path / "a.mp4", steady(num_frames, fps))
    assert numbers(path) == expected


def test_half_the_sampling_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(25, 25))
    assert numbers(path, sample_fps=7.5) == [0, 3, 6, 10, 13, 16, 20, 23]


VARIABLE = [Fraction(ms, 1000) for ms in (0, 100, 150, 500, 520, 1000)]
VARIABLE_SHOWN = [0, 0, 1, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 5, 5]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_rate(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, VARIABLE, end_time=Fraction(11, 10))
    assert numbers(path) == VARIABLE_SHOWN


@pytest.mark.parametrize("b_frames", [1, 2, 3])
def test_b_frames_come_in_the_order_of_showing(tmp_path: Path, b_frames: int) -> None:
    path = write_video(tmp_path / "a.mp4", steady(30, 30), b_frames=b_frames)
    assert numbers(path) == EVEN


@pytest.mark.parametrize("b_frames", [1, 2, 3])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_rate_with_b_frames(tmp_path: Path, name: str, b_frames: int) -> None:
    path = write_video(tmp_path / name, VARIABLE, end_time=Fraction(11, 10), b_frames=b_frames)
    shown = numbers(path)
    # Up to the last frame's time, 1 s, the times decide. How long the last frame lasts is a
    # guess: the file says how long each lasts in the order of decoding only.
    assert shown[:16] == VARIABLE_SHOWN[:16]
    assert set(shown[16:]) <= {5}


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv"])
def test_a_stream_that_starts_at_ten_seconds(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, steady(30, 30, start=10))
    frames, report = decode(path)
    assert read_numbers(frames) == EVEN
    assert report.duration_seconds == pytest.approx(1.0, abs=0.002)


def test_matroska_at_60(tmp_path: Path) -> None:
    # Stamps are whole milliseconds: frame 4 at 67 instead of 66.67 ms, frame 8 at 133, …
    path = write_video(tmp_path / "a.mkv", steady(60, 60))
    assert numbers(path) == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56]


def test_matroska_at_23_976(tmp_path: Path) -> None:
    # Stamps: 0 42 83 125 167 209 250 292 334 375 417 459 501 542 584 626 667 709 751 792 834 876.
    # Instants of 15 a second, and the last stamp at most 0.5 ms later:
    # 0 66.7 133.3 200 266.7 333.3 400 466.7 533.3 600 666.7 733.3 800 866.7; the end is at 917.
    path = write_video(tmp_path / "a.mkv", steady(22, NTSC_FILM))
    assert numbers(path) == [0, 1, 3, 4, 6, 7, 9, 11, 12, 14, 16, 17, 19, 20]


def test_matroska_that_claims_a_thousand_frames_a_second(tmp_path: Path) -> None:
    # The last frame lasts as long as the others, 0.2 s, not the millisecond it claims.
    path = write_video(tmp_path / "a.mkv", steady(5, 5), tick=Fraction(1, 1000), claimed_fps=1000)
    assert numbers(path) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize(
    ("num_frames", "expected"), [(1, [0]), (2, [0]), (3, [0, 2]), (4, [0, 2]), (5, [0, 2, 4])]
)
def test_very_short_videos(tmp_path: Path, num_frames: int, expected: list[int]) -> None:
    path = write_video(tmp_path / "a.mp4", steady(num_frames, 30))
    assert numbers(path) == expected


def test_one_frame_that_lasts(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [Fraction(0)], end_time=Fraction(1, 5))
    assert numbers(path) == [0, 0, 0]


def test_frames_that_an_edit_list_hides_are_not_shown(tmp_path: Path) -> None:
    full = write_video(tmp_path / "full.mp4", steady(15, 15))
    path = synthetic.hide_first_frames(tmp_path / "a.mp4", source=full, seconds=Fraction(6, 15))
    frames, report = decode(path)
    assert read_numbers(frames) == [6, 7, 8, 9, 10, 11, 12, 13, 14]
    # Hidden is not lost: all nine that are to be shown decode.
    assert (report.num_packets, report.num_decoded, report.num_errors) == (9, 9, 0)


def test_a_stream_without_any_times_runs_at_its_usual_rate(tmp_path: Path) -> None:
    # A raw H.264 stream has no time stamps; FFmpeg takes it for 25 frames a second.
    path = write_video(tmp_path / "a.h264", steady(10, 25))
    assert numbers(path) == [0, 1, 3, 5, 6, 8]


def test_avi_with_b_frames(tmp_path: Path) -> None:
    # AVI stores no presentation times: the decoder's stamps jump to and fro.
    path = write_video(tmp_path / "a.avi", steady(10, 15), b_frames=2, tick=Fraction(1, 15))
    assert numbers(path) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libvpx-vp9"), ("a.mp4", "mpeg4"), ("a.avi", "mpeg4")]
)
def test_other_codecs(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, steady(10, 15), codec=codec, tick=Fraction(1, 15))
    frames, report = decode(path)
    assert read_numbers(frames) == list(range(10))
    assert report.codec in codec


def test_fragmented_mp4(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = write_video(tmp_path / "a.mp4", steady(30, 30), container_options=options)
    assert numbers(path) == EVEN


# max_seconds


def test_only_max_seconds_are_kept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(60, 30))
    frames, report = decode(path, max_seconds=1)
    assert read_numbers(frames) == EVEN
    assert report.truncated
    # What was not looked at is not lost.
    assert report.decodable_fraction == 1.0
    assert report.num_errors == 0


@pytest.mark.parametrize("fps", [15, 25, 30, 60])
def test_a_video_of_exactly_max_seconds_is_not_truncated(tmp_path: Path, fps: int) -> None:
    path = write_video(tmp_path / "a.mp4", steady(fps, fps))
    frames, report = decode(path, max_seconds=1)
    assert len(frames) == 15
    assert report.duration_seconds == 1.0
    assert not report.truncated


def test_max_seconds_cuts_a_long_still_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [Fraction(0), Fraction(10)], end_time=Fraction(20))
    frames, report = decode(path, max_seconds=2)
    assert read_numbers(frames) == [0] * 30
    assert report.truncated


def test_max_seconds_cuts_the_last_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [Fraction(0), Fraction(1)], end_time=Fraction(20))
    frames, report = decode(path, max_seconds=2)
    assert read_numbers(frames) == [0] * 15 + [1] * 15
    assert report.truncated


# Pictures


@pytest.mark.parametrize(
    ("matrix", "corners", "turned"),
    [
        ((1, 0, 0, 1), "RGBW", False),
        # Turned clockwise by 90°: what was at bottom left comes to top left.
        ((0, 1, -1, 0), "BRWG", True),
        ((-1, 0, 0, -1), "WBGR", False),
        # Counterclockwise by 90°: top right comes to top left.
        ((0, -1, 1, 0), "GWRB", True),
        # Mirrored: left and right, top and bottom, and about either diagonal.
        ((-1, 0, 0, 1), "GRWB", False),
        ((1, 0, 0, -1), "BWRG", False),
        ((0, 1, 1, 0), "RBGW", True),
        ((0, -1, -1, 0), "WGBR", True),
    ],
    ids=["0", "90", "180", "270", "mirror", "flip", "transpose", "antitranspose"],
)
@pytest.mark.parametrize("short_side", [48, 24])
def test_the_picture_stands_upright(
    tmp_path: Path, matrix: tuple[int, ...], corners: str, turned: bool, short_side: int
) -> None:
    path = write_video(
        tmp_path / "a.mp4", steady(3, 15), picture=lambda _: synthetic.cornered_frame()
    )
    synthetic.set_display_matrix(path, **dict(zip("abcd", matrix, strict=True)))

    frames, report = decode(path, short_side=short_side)

    assert [read_corners(frame) for frame in frames] == [corners] * 3
    long_side = short_side * 64 // 48
    height, width = (long_side, short_side) if turned else (short_side, long_side)
    assert {frame.shape for frame in frames} == {(height, width, 3)}
    assert (report.source_height, report.source_width) == ((64, 48) if turned else (48, 64))


def test_a_slanted_picture_is_left_as_it_is(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", steady(3, 15), picture=lambda _: synthetic.cornered_frame()
    )
    half = 0.7071
    synthetic.set_display_matrix(path, a=half, b=half, c=-half, d=half)
    frames, _ = decode(path)
    assert [read_corners(frame) for frame in frames] == ["RGBW"] * 3


def test_colours_are_rgb_uint8(tmp_path: Path) -> None:
    orange = np.full((48, 64, 3), (250, 130, 10), np.uint8)
    path = write_video(tmp_path / "a.mp4", steady(3, 15), picture=lambda _: orange)
    frames, _ = decode(path)
    assert frames[0].dtype == np.uint8
    # Limited-range YUV with 8 bits loses a few levels.
    assert np.abs(frames[1].astype(int) - orange).max() <= 6


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(96, 72, (24, 32, 3)), (48, 96, (48, 24, 3)), (80, 80, (24, 24, 3)), (66, 48, (24, 33, 3))],
)
def test_decoded_frames_have_the_scaled_size(
    tmp_path: Path, width: int, height: int, shape: tuple[int, int, int]
) -> None:
    path = write_video(tmp_path / "a.mp4", steady(4, 15), width=width, height=height)
    frames, report = decode(path, short_side=24)
    assert {frame.shape for frame in frames} == {shape}
    assert read_numbers(frames) == [0, 1, 2, 3]
    assert (report.source_width, report.source_height) == (width, height)


def test_a_stream_that_changes_its_size_keeps_the_first(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.h264", steady(10, 25))
    large = write_video(tmp_path / "large.h264", steady(10, 25), width=96, height=72)
    path = tmp_path / "a.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    frames, _ = decode(path)
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert read_numbers(frames) == [0, 1, 3, 5, 6, 8, 0, 1, 3, 5, 6, 8]


# The report


@pytest.mark.parametrize("max_seconds", [60, 2])
def test_packets_that_give_nothing_are_lost_also_where_reading_stops_early(
    tmp_path: Path, max_seconds: float
) -> None:
    path = tmp_path / "a.ts"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"g": "20", "keyint_min": "20", "bf": "0", "sc_threshold": "0"}
        packets = []
        for index in range(100):
            picture = numbered_frame(index)
            packets += stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        # The recording begins after its first key frame: 19 packets before the next give nothing.
        container.mux([*packets, *stream.encode()][1:])
    frames, report = decode(path, max_seconds=max_seconds)
    assert read_numbers(frames)[0] == 20
    # A single silent packet may be a field or a reference, so that one of a run is not counted.
    assert report.num_lost == 18
    assert report.decodable_fraction == pytest.approx(1 - 18 / report.num_packets)
    assert report.facts().damaged
    assert report.num_packets == 99 if max_seconds == 60 else report.num_packets < 70


def test_report_of_a_sound_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(20, 25), width=96, height=72, b_frames=2)
    _, report = decode(path)
    assert report == DecodeReport(
        codec="h264",
        source_width=96,
        source_height=72,
        source_fps=25.0,
        has_audio=False,
        num_packets=20,
        num_decoded=20,
        num_errors=0,
        duration_seconds=0.8,
        truncated=False,
    )
    assert report.decodable_fraction == 1.0


def test_metadata_in_a_strange_encoding_does_no_harm(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(5, 15), metadata={"title": "QQQQQQ"})
    content = path.read_bytes()
    assert content.count(b"QQQQQQ") == 1
    path.write_bytes(content.replace(b"QQQQQQ", b"\xff\xfe\xe9 Q\xff"))
    assert numbers(path) == [0, 1, 2, 3, 4]


def test_a_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(10, 15), with_cover=True)
    assert numbers(path) == list(range(10))


@pytest.mark.parametrize("name", ["with space.mp4", "colon: 100%d.mp4", "-dash.mp4", "ü動画.mp4"])
def test_any_file_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "plain.mp4", steady(3, 15)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert numbers(Path(name)) == [0, 1, 2]


# Damage


@pytest.fixture
def fragile(tmp_path: Path) -> Path:
    """15 frames at 15 fps, each a packet by itself, the index in front of them."""
    return write_video(
        tmp_path / "fragile.mp4",
        steady(15, 15),
        every_frame_alone=True,
        container_options=FASTSTART,
    )


def test_damaged_packets_are_passed_over(fragile: Path) -> None:
    synthetic.overwrite_packets(fragile, indices=[5, 6, 10])
    frames, report = decode(fragile)
    # As a player does: the last good frame stays until the next.
    assert read_numbers(frames) == [0, 1, 2, 3, 4, 4, 4, 7, 8, 9, 9, 11, 12, 13, 14]
    assert (report.num_packets, report.num_decoded, report.num_errors) == (15, 12, 3)
    assert report.decodable_fraction == 0.8
    assert report.duration_seconds == 1.0


def test_a_damaged_start(fragile: Path) -> None:
    synthetic.overwrite_packets(fragile, indices=[0, 1])
    frames, report = decode(fragile)
    assert read_numbers(frames) == list(range(2, 15))
    assert (report.num_packets, report.num_decoded, report.num_errors) == (15, 13, 2)


def test_a_file_that_was_cut_off(fragile: Path) -> None:
    synthetic.cut_before_packet(fragile, index=9)
    frames, report = decode(fragile)
    assert read_numbers(frames) == list(range(9))
    # The index still tells of all fifteen.
    assert (report.num_packets, report.num_decoded) == (15, 9)
    assert report.decodable_fraction == 0.6
    assert not report.truncated


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bytes_anywhere_never_break_the_decoder(tmp_path: Path, seed: int) -> None:
    path = write_video(tmp_path / "a.mp4", steady(30, 30), b_frames=2, container_options=FASTSTART)
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    rng = np.random.default_rng(seed)
    places = rng.choice(len(content), size=len(content) // 50, replace=False)
    content[places] = rng.integers(0, 256, len(places))
    path.write_bytes(content.tobytes())
    frames: list[Frame] = []
    report = DecodeReport()
    with contextlib.suppress(VideoError):
        frames, report = decode(path)
    assert len({frame.shape for frame in frames}) <= 1
    assert 0 <= report.decodable_fraction <= 1


# Refusals


def reason(path: Path, **settings: Any) -> str:
    with pytest.raises(VideoError) as caught:
        decode(path, **settings)
    assert caught.value.detail == str(caught.value)
    assert "\n" not in caught.value.detail
    return caught.value.reason


def test_missing(tmp_path: Path) -> None:
    assert reason(tmp_path / "gone.mp4") == "missing"


@synthetic.needs_permissions
def test_unreadable(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(3, 15))
    path.chmod(0)
    assert reason(path) == "unreadable"


@pytest.mark.parametrize(
    "content", [b"", b"I am a text.\n" * 100, b"\0" * 5000], ids=["", "t", "0"]
)
def test_not_a_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert reason(path) == "not_a_video"


def test_a_folder_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    assert reason(tmp_path / "a.mp4") == "not_a_video"


def test_cut_off_before_the_index(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(30, 30))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert reason(path) == "not_a_video"
    said = (
        r"^cannot be opened: cut off, or not a video \(Invalid data found when processing input\)$"
    )
    with pytest.raises(VideoError, match=said):
        decode(path)


@pytest.mark.parametrize("with_cover", [False, True])
def test_no_video_stream(tmp_path: Path, with_cover: bool) -> None:
    path = synthetic.write_sound(tmp_path / "a.mp4", with_cover=with_cover)
    assert reason(path) == "no_video_stream"


def test_no_frames(fragile: Path) -> None:
    synthetic.overwrite_packets(fragile, indices=range(15))
    assert reason(fragile) == "no_frames"


def test_unknown_codec(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(3, 15))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    assert reason(path) == "unknown_codec"


def test_too_large(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(3, 15))
    assert reason(path, max_megapixels=0.003) == "too_large"
    # 64 · 48 = 3072 px are just allowed.
    assert numbers(path, max_megapixels=0.003072) == [0, 1, 2]


def test_too_large_half_way(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.h264", steady(10, 25))
    large = write_video(tmp_path / "large.h264", steady(10, 25), width=96, height=72)
    path = tmp_path / "a.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    assert reason(path, max_megapixels=0.005) == "too_large"


def test_too_narrow(tmp_path: Path) -> None:
    narrow = write_video(tmp_path / "narrow.mp4", steady(3, 15), width=336, height=16)
    tall = write_video(tmp_path / "tall.mp4", steady(3, 15), width=16, height=336)
    allowed = write_video(tmp_path / "allowed.mp4", steady(3, 15), width=320, height=16)
    assert reason(narrow) == "too_narrow"
    assert reason(tall) == "too_narrow"
    assert len(numbers(allowed)) == 3


def test_frames_lost_from_an_avi_leave_the_others_at_their_times(tmp_path: Path) -> None:
    """Forty grey MJPEG frames at 10 a second; the packets of 10 to 19 are zeroed."""
    path = tmp_path / "damaged.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(40):
            image = np.full((48, 64, 3), 6 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [
            (p.pos, p.size) for p in container.demux(video=0) if p.size and p.pos is not None
        ]
    for position, size in packets[10:20]:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)

    settings = DecodeSettings(sample_fps=10, short_side=48, max_seconds=60, max_megapixels=1)
    report = DecodeReport()
    frames = list(sampled_frames(path, settings=settings, report=report))
    shown = [round(float(frame.mean()) / 6) for frame in frames]
    assert shown == [*range(10), *[9] * 10, *range(20, 40)]
    assert (report.num_decoded, report.num_errors) == (30, 10)
