"""H.264 whose frames are coded as two fields, which no encoder within reach writes.

ITU-T H.264, clauses 7.3 and 9.1: Main profile, every macroblock as plain samples (I_PCM).
"""

from __future__ import annotations

from pathlib import Path

WIDTH, HEIGHT = 16, 32  # of a frame: a field is one macroblock [px]
SEQUENCE, PICTURE, KEY_SLICE, SLICE = 0x67, 0x68, 0x65, 0x61  # NAL headers


def ue(number: int) -> str:
    """An unsigned number as Exp-Golomb code, in bits."""
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


def _unit(header: int, bits: str) -> bytes:
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    body = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    for end in range(4):
        assert bytes([0, 0, end]) not in body, "would need emulation prevention"
    return b"\0\0\0\1" + bytes([header]) + body


def _sequence() -> bytes:
    # Profile 77, level 3, id 0; frame numbers of 4 bits, no reordering (POC type 2),
    # one reference; 1 × 1 macroblocks, not of frames alone, not adaptive; no crop, no VUI.
    bits = f"{77:08b}{0:08b}{30:08b}" + ue(0) + ue(0) + ue(2) + ue(1) + "0" + ue(0) + ue(0)
    return _unit(SEQUENCE, bits + "0" + "0" + "1" + "0" + "0")


def _picture() -> bytes:
    # Ids 0, CAVLC, POC of fields absent, one slice group, one reference each, no weights,
    # QP 26 for all, no deblocking control, no constrained prediction, no redundance.
    return _unit(PICTURE, ue(0) + ue(0) + "00" + ue(0) * 3 + "000" + ue(0) * 3 + "000")


def _field(number: int, *, level: int, bottom: bool) -> bytes:
    is_key = number == 0 and not bottom
    # First macroblock 0, an I slice (7), picture set 0, frame number, a field, which of them.
    bits = ue(0) + ue(7) + ue(0) + f"{number % 16:04b}" + "1" + str(int(bottom))
    bits += ue(0) + "00" if is_key else "0"  # idr_pic_id; marking of references
    bits += ue(0)  # QP as it is (signed 0)
    # I_PCM is type 25; the header of the unit is whole bytes.
    bits += ue(25)
    bits += "0" * (-len(bits) % 8)
    bits += f"{level:08b}" * 256 + f"{128:08b}" * 128
    return _unit(KEY_SLICE if is_key else SLICE, bits)


def write_fields(path: Path, levels: list[int]) -> Path:
    """A raw stream of grey frames, each coded as a top and a bottom field: two packets a frame."""
    fields = [
        _field(number, level=level, bottom=bottom)
        for number, level in enumerate(levels)
        for bottom in (False, True)
    ]
    path.write_bytes(b"".join([_sequence(), _picture(), *fields]))
    return path
