"""Pure: damage to a file's bytes, decided by a random generator alone."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

Rng = np.random.Generator

# Names of fields and boxes whose neighbours say how large, how many and where.
MARKS = (
    *(b"ftyp", b"moov", b"mvhd", b"trak", b"tkhd", b"edts", b"elst", b"mdhd", b"stsd", b"avcC"),
    *(b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stco", b"moof", b"trun", b"tfhd", b"mdat"),
    *(b"RIFF", b"avih", b"strh", b"strf", b"idx1", b"movi", b"\x1aE\xdf\xa3", b"\x16T\xaek"),
    *(b"\x1fC\xb6u", b"\x1cS\xbbk", b"\xe0", b"G@\x00", b"G@\x11", b"\x00\x00\x01"),
)
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def flip_bits(video: bytes, other: bytes, rng: Rng) -> bytes:
    """Up to 64 bits turned, anywhere."""
    del other
    damaged = bytearray(video)
    for _ in range(int(rng.integers(1, 65))):
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncate(video: bytes, other: bytes, rng: Rng) -> bytes:
    """The end cut off; now and then nothing is left."""
    del other
    return video[: int(rng.integers(len(video)))]


def swap_blocks(video: bytes, other: bytes, rng: Rng) -> bytes:
    """Two stretches of equal length change places."""
    del other
    length = int(rng.integers(1, max(2, len(video) // 4)))
    first, second = sorted(int(at) for at in rng.integers(0, len(video) - length + 1, 2))
    second = min(max(second, first + length), len(video) - length)
    if second < first + length:
        return video[first:] + video[:first]
    return (
        video[:first]
        + video[second : second + length]
        + video[first + length : second]
        + video[first : first + length]
        + video[second + length :]
    )


def zero_range(video: bytes, other: bytes, rng: Rng) -> bytes:
    """A stretch becomes zeros, as a lost block of a disk does."""
    del other
    start, stop = _stretch(video, rng)
    return video[:start] + bytes(stop - start) + video[stop:]


def noise_range(video: bytes, other: bytes, rng: Rng) -> bytes:
    """A stretch becomes noise."""
    del other
    start, stop = _stretch(video, rng)
    return video[:start] + rng.bytes(stop - start) + video[stop:]


def delete_range(video: bytes, other: bytes, rng: Rng) -> bytes:
    """A stretch is gone and the rest moves up."""
    del other
    start, stop = _stretch(video, rng)
    return video[:start] + video[stop:]


def repeat_range(video: bytes, other: bytes, rng: Rng) -> bytes:
    """A stretch is there twice and the rest moves down."""
    del other
    start, stop = _stretch(video, rng)
    return video[:stop] + video[start:]


def edit_fields(video: bytes, other: bytes, rng: Rng) -> bytes:
    """Up to 4 numbers near a known mark of a header become extreme ones."""
    del other
    damaged = bytearray(video)
    places = [at for mark in MARKS if (at := video.find(mark)) >= 0] or [0]
    for _ in range(int(rng.integers(1, 5))):
        at = places[int(rng.integers(len(places)))] + int(rng.integers(-4, 64))
        layout = (">I", "<I", ">H", "<H", "B")[int(rng.integers(5))]
        size = struct.calcsize(layout)
        value = EXTREMES[int(rng.integers(len(EXTREMES)))] & (1 << 8 * size) - 1
        if 0 <= at <= len(damaged) - size:
            struct.pack_into(layout, damaged, at, value)
    return bytes(damaged)


def splice(video: bytes, other: bytes, rng: Rng) -> bytes:
    """The head of one file and the tail of another."""
    return video[: int(rng.integers(len(video)))] + other[int(rng.integers(len(other))) :]


def _stretch(video: bytes, rng: Rng) -> tuple[int, int]:
    """Start and end of a stretch; short ones are as likely as long ones."""
    length = int(np.exp(rng.uniform(0, np.log(max(2, len(video))))))
    start = int(rng.integers(0, max(1, len(video) - length)))
    return start, min(len(video), start + length)


MUTATIONS: dict[str, Callable[[bytes, bytes, Rng], bytes]] = {
    "bits flipped": flip_bits,
    "truncated": truncate,
    "blocks swapped": swap_blocks,
    "zeros": zero_range,
    "noise": noise_range,
    "deleted": delete_range,
    "repeated": repeat_range,
    "header fields": edit_fields,
    "spliced": splice,
}


def mutate(video: bytes, other: bytes, *, seed: int, index: int) -> tuple[str, bytes]:
    """The damage number ``index`` of a seed: its name and the damaged file.

    Args:
        other: a file whose bytes may be spliced in.
    """
    rng = np.random.default_rng([seed, index])
    name = list(MUTATIONS)[int(rng.integers(len(MUTATIONS)))]
    return name, MUTATIONS[name](video, other, rng)
