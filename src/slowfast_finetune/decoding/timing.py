"""When each frame of a video is shown: decode packets, give frames times that never go back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error

from slowfast_finetune.decoding.decode_settings import DecodeSettings
from slowfast_finetune.decoding.opening import check_frame_size
from slowfast_finetune.decoding.video_facts import DecodeReport


@dataclass(frozen=True)
class TimedFrame:
    frame: av.VideoFrame
    time: Fraction
    end: Fraction


def timed_frames(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    *,
    report: DecodeReport,
    settings: DecodeSettings,
) -> Iterator[TimedFrame]:
    """Decode frames in presentation order with times from 0 that never go back [s]."""
    usual = _usual_duration(stream)
    first: Fraction | None = None
    previous_end = Fraction(0)
    previous_time = Fraction(0)
    for frame in _in_slots(container, stream, report):
        check_frame_size(frame.width, frame.height, settings)
        # Frames that were held back until the end of the file come without a time base.
        time_base = frame.time_base or stream.time_base
        if frame.pts is None or time_base is None:
            time = previous_end
        else:
            stamp = frame.pts * time_base
            first = stamp if first is None else first
            # Broken stamps that go back become "right after the last one".
            time = stamp - first
            if report.num_decoded and time <= previous_time:
                time = previous_end
        step = time - previous_time
        stated = frame.duration * time_base if frame.duration and time_base else Fraction(0)
        # Matroska may state no duration, or a thousandth: the last step is the better guess.
        if stated > step / 10:
            usual = stated
        elif step > 0:
            usual = step
        previous_time, previous_end = time, time + usual
        report.num_decoded += 1
        yield TimedFrame(frame, time, previous_end)


def _in_slots(
    container: av.container.InputContainer, stream: av.VideoStream, report: DecodeReport
) -> Iterator[av.VideoFrame]:
    """Decoded frames, those of an AVI with the time of their place.

    AVI has no presentation times: it numbers packets in the order of decoding, one a frame. Where
    that is not the order of showing, the i-th frame shown belongs in the i-th of these slots.
    """
    slots: deque[int | None] = deque()
    for frame in _decode(container, stream, report, slots):
        slot = slots.popleft() if slots else None
        if slot is not None:
            frame.pts = slot if stream.codec_context.has_b_frames else frame.dts
        yield frame


def _usual_duration(stream: av.VideoStream) -> Fraction:
    """How long a frame lasts that does not say so: by the stream's average rate, else 1/30 s."""
    rate = stream.average_rate or stream.base_rate
    return Fraction(1, 30) if not rate or rate <= 0 else 1 / Fraction(rate)


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    report: DecodeReport,
    slots: deque[int | None],
) -> Iterator[av.VideoFrame]:
    """Decode every packet; a damaged one is counted and passed over, as a player does.

    Adds each packet's decoding time to ``slots``.
    """
    hidden = 0
    for packet in _packets(container, stream, report):
        hidden += packet is not None and packet.is_discard
        report.num_packets += packet is not None and packet.size > 0 and not packet.is_discard
        if packet is not None and container.format.name == "avi":
            slots.append(packet.dts)
        try:
            for frame in stream.codec_context.decode(packet):
                report.num_errors += bool(getattr(frame, "is_corrupt", False))
                yield frame
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):
            report.num_errors += 1
            if slots:
                slots.pop()  # the place of a frame that will not come
    # Only the header of a cut-off file still knows how many frames it once held.
    report.num_packets = max(report.num_packets, (stream.frames or 0) - hidden)


def _packets(
    container: av.container.InputContainer, stream: av.VideoStream, report: DecodeReport
) -> Iterator[av.Packet[av.VideoStream] | None]:
    """The stream's packets as far as they can be read, then None: "give out what you hold"."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except (av.error.FFmpegError, OSError):
        report.num_errors += 1
    yield None
