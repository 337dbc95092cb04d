"""What counts as damage: packets that should give a frame and do not, however they are packed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from decoded import decode, numbers
from field_coded import write_fields
from synthetic import overwrite_packets, packet_places, read_numbers, steady, write_video

LEVELS = [40, 80, 120, 160, 200] * 4
# Grey of limited range: 255 · (Y - 16) / 219.
SHOWN = [28, 75, 121, 168, 214] * 4


def test_two_packets_a_frame_are_one_frame(tmp_path: Path) -> None:
    path = write_fields(tmp_path / "a.h264", LEVELS)
    assert len(packet_places(path)) == 40
    frames, report = decode(path, sample_fps=25, short_side=None)
    assert [frame.mean() for frame in frames] == pytest.approx(SHOWN, abs=1.5)
    assert (report.num_decoded, report.num_lost, report.decodable_fraction) == (20, 0, 1)
    facts = report.facts()
    assert (facts.damaged, facts.interlaced) == (False, True)


def test_of_two_packets_a_frame_those_lost_are_counted(tmp_path: Path) -> None:
    """Both fields of four frames of twenty are gone: a fifth is lost, not three fifths."""
    path = write_fields(tmp_path / "a.h264", LEVELS)
    with av.open(str(path)) as source, av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = 40 * index // 2
                packet.time_base = Fraction(1, 1000)
                packet.stream = stream
                container.mux(packet)
    path = overwrite_packets(tmp_path / "a.mp4", indices=range(16, 24))
    _, report = decode(path, sample_fps=25, short_side=None)
    assert report.num_packets == 40
    assert report.decodable_fraction == pytest.approx(0.8, abs=0.051)
    assert report.facts().damaged


@pytest.mark.parametrize(("step", "b_frames"), [(2, 0), (10, 0), (3, 2)])
def test_packets_without_data_mean_as_before(tmp_path: Path, step: int, b_frames: int) -> None:
    """AVI has a packet for every tick, most of them empty where frames are sparse."""
    path = write_video(
        tmp_path / "a.avi",
        [Fraction(step * index, 15) for index in range(10)],
        b_frames=b_frames,
        tick=Fraction(1, 15),
    )
    frames, report = decode(path, max_seconds=20)
    whole = [index for index in range(10) for _ in range(step)]
    assert read_numbers(frames)[: len(whole)] == whole
    assert (report.num_packets, report.num_lost, report.decodable_fraction) == (10, 0, 1)
    assert not report.facts().damaged


def _promise(path: Path, num_frames: int) -> None:
    """Write another number of frames into both headers of an AVI."""
    content = bytearray(path.read_bytes())
    # avih: dwTotalFrames is its fifth number; strh: two names, then dwLength as the ninth.
    for name, place in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = content.index(name) + place
        assert int.from_bytes(content[at : at + 4], "little") == 30
        content[at : at + 4] = num_frames.to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("promised", [1, 300])
def test_an_avi_that_promises_what_it_never_held(tmp_path: Path, promised: int) -> None:
    path = write_video(tmp_path / "a.avi", steady(30, 15), tick=Fraction(1, 15))
    _promise(path, promised)
    frames, report = decode(path)
    assert read_numbers(frames)[:30] == list(range(30))
    assert (report.num_packets, report.num_lost, report.decodable_fraction) == (30, 0, 1)
    assert not report.facts().damaged


@pytest.mark.parametrize(("step", "expected"), [(1, 0.4), (2, 0.4)])
def test_an_avi_that_was_cut_off(tmp_path: Path, step: int, expected: float) -> None:
    """12 of 30 frames are left. So it is where every second packet is empty."""
    path = write_video(
        tmp_path / "a.avi",
        [Fraction(step * index, 15) for index in range(30)],
        tick=Fraction(1, 15),
    )
    start, _ = packet_places(path)[12]
    path.write_bytes(path.read_bytes()[: start - 8])
    frames, report = decode(path)
    assert sorted(set(read_numbers(frames))) == list(range(12))
    assert report.decodable_fraction == pytest.approx(expected, abs=0.02)
    assert report.facts().damaged


@pytest.mark.parametrize(
    ("hidden", "num_lost"),
    # One by itself is a reference; of a row of them all but the first should have been seen.
    [([5, 15, 29], 0), ([5, 6, 7, 20], 2)],
)
def test_references_that_are_never_shown_are_not_lost(
    tmp_path: Path, hidden: list[int], num_lost: int
) -> None:
    path = write_video(tmp_path / "a.webm", steady(30, 15), codec="libvpx", tick=Fraction(1, 15))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for index in hidden:
        # RFC 6386, 9.1: bit 4 of a frame's first byte says that it is shown.
        content[content.index(packets[index])] &= ~0x10 & 0xFF
    path.write_bytes(content)
    _, report = decode(path)
    assert (report.num_packets, report.num_decoded) == (30, 30 - len(hidden))
    assert (report.num_lost, report.num_errors) == (num_lost, 0)


def test_a_single_broken_packet_is_lost(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", steady(30, 15), every_frame_alone=True)
    overwrite_packets(path, indices=[7])
    _, report = decode(path)
    assert (report.num_packets, report.num_lost, report.num_decoded) == (30, 1, 29)
    # Under 5 % are lost, but it is damage all the same.
    assert report.facts().decodable_fraction == 0.9667
    assert report.facts().damaged


def test_sound_is_not_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", steady(30, 15))
    assert numbers(path) == list(range(30))
    _, report = decode(path)
    assert report.num_packets == 30
