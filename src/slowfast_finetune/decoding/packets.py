"""Decode a stream packet by packet, and record the outcome of each packet."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
from av.format import Flags

from slowfast_finetune.decoding.opening import OpenedVideo

_SILENT, _SHOWN, _FAILED, _HIDDEN = range(4)  # outcomes of a packet
MOST_REORDERED = 16  # frames that a decoder of H.264 or HEVC holds back, at most
SOUND_STEP_SECONDS = Fraction(1, 2)
MOST_SOUND_TIMES = 100_000  # half a day of sound, in half seconds

SoundTimes = deque[Fraction]


def has_leaping_clock(container: av.container.InputContainer) -> bool:
    """Whether the format allows timestamp discontinuities (FFmpeg's AVFMT_TS_DISCONT)."""
    return bool(container.format.flags & cast("int", Flags.ts_discont.value))


def decoded_frames(
    video: OpenedVideo, sound: SoundTimes, *, after_jump: bool = False
) -> Generator[av.VideoFrame]:
    """Decode every packet; a damaged one is counted and passed over, as a player does.

    A packet that gives no frame counts as lost if it failed to decode, or if the packet before gave
    no frame either. A single one does not: it is the second field of a picture, a reference that is
    never shown, or means that the frame before is shown again. Lost packets are counted when the
    generator ends or is closed.

    Args:
        sound: where clocks may leap, gets the times of the sound track, about two a second.
        after_jump: the container was sought: what is shown before the first packet, a key frame,
            may lack what it is predicted from, and is passed over without being counted.
    """
    report = video.report
    first_stamp: int | None = None
    outcomes = bytearray()  # of the packets, in the order of decoding
    num_failed = 0
    end_slot = 0
    missing: int | None = None
    try:
        for packet in _packets(video, sound):
            if packet is not None:
                packet.opaque = len(outcomes)
                if after_jump and not outcomes:
                    first_stamp = packet.pts
                is_hidden = packet.is_discard or _is_before(packet.pts, first_stamp)
                outcomes.append(_HIDDEN if is_hidden else _SILENT)
                report.num_packets += not is_hidden
                end_slot = packet.dts + 1 if packet.dts is not None else end_slot
            try:
                for frame in video.stream.codec_context.decode(packet):
                    if _is_before(frame.pts, first_stamp):
                        continue
                    if isinstance(frame.opaque, int):
                        outcomes[frame.opaque] = _SHOWN
                    report.num_errors += bool(getattr(frame, "is_corrupt", False))
                    yield frame
            except MemoryError:
                raise
            except (av.error.FFmpegError, ValueError):
                if after_jump and outcomes[-1] == _HIDDEN:
                    continue
                report.num_errors += 1
                num_failed += 1
                if packet is not None and outcomes[-1] == _SILENT:
                    outcomes[-1] = _FAILED
        missing = 0
        if not after_jump:
            missing = _missing_packets(video, num_read=len(outcomes), end_slot=end_slot)
        report.num_packets += missing
    finally:
        # Closed before the end, the decoder still holds frames: their packets are not lost.
        settled = outcomes[: None if missing is not None else outcomes.rfind(_SHOWN) + 1]
        if report.in_ranges and missing is None:
            settled = settled[:-MOST_REORDERED]
        if after_jump:
            settled = settled[max(0, settled.find(_SHOWN)) :]  # before, pictures were not whole
        silent = sum(len(run.group()) - 1 for run in re.finditer(rb"\0{2,}", bytes(settled)))
        report.num_lost += max(num_failed, outcomes.count(_FAILED) + silent) + (missing or 0)


def _is_before(stamp: int | None, first: int | None) -> bool:
    return stamp is not None and first is not None and stamp < first


def _packets(video: OpenedVideo, sound: SoundTimes) -> Iterator[av.Packet[av.VideoStream] | None]:
    """The stream's packets as far as they can be read, then None, to flush the decoder."""
    container, stream = video.container, video.stream
    others = container.streams.audio if has_leaping_clock(container) else ()
    try:
        for packet in container.demux(stream, *others):
            if packet.stream.index == stream.index:
                if packet.size:
                    yield cast("av.Packet[av.VideoStream]", packet)
            elif packet.pts is not None and packet.time_base is not None:
                time = packet.pts * packet.time_base
                if not sound or abs(time - sound[-1]) >= SOUND_STEP_SECONDS:
                    sound.append(time)
    except (av.error.FFmpegError, OSError):
        video.report.num_errors += 1
    yield None


def _missing_packets(video: OpenedVideo, *, num_read: int, end_slot: int) -> int:
    """How many packets the file has lost at its end, as far as its header can be believed.

    MP4 lists every packet. AVI has but a number, in which packets without data count; it is
    believed only where the file is shorter than its first RIFF chunk says, and as many of the
    missing ones are taken to hold data as of those that were read.
    """
    name, num_stated = video.container.format.name, video.stream.frames
    if "mp4" in name:
        return max(0, num_stated - num_read)
    if name == "avi" and _is_cut_off_riff(Path(video.container.name)):
        missing = max(0, num_stated - end_slot)
        return round(missing * num_read / end_slot) if end_slot else missing
    return 0


def _is_cut_off_riff(path: Path) -> bool:
    """Whether a RIFF file is shorter than it says; False where it does not say."""
    try:
        with path.open("rb") as file:
            stated = int.from_bytes(file.read(8)[4:], "little")
        return stated < 0xFFFFFFFF and path.stat().st_size < stated + 8
    except OSError:
        return False
