"""The zip archive of a torch.export file, let pass only where every reader sees the same in it.

Readers of zip differ. Python's looks for the table of contents from the end and forgives bytes put
in front; torch's goes to the place that is stated. One file can so show each another content, and
what was checked would not be what is loaded. Here nothing is left to choose: entries follow one
another from the first byte, then comes the table, then the records that state where it is.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from slowfast_finetune.base.errors import ExportError

# PKWARE's APPNOTE.TXT, 4.3: local file header, its data descriptor, end of central directory, and
# the two records of zip64 before that.
_ENTRY = struct.Struct("<4s5H3I2H")
_DESCRIPTOR_BYTES = 16
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_HAS_DESCRIPTOR = 0x08


def members_of(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """Names without the folder that torch puts all of them into → names.

    Raises:
        ExportError: it is not packed as torch.export packs, or readers could disagree about it.
        BadZipFile: it is cut short.
    """
    infos = archive.infolist()
    folders = {info.filename.partition("/")[0] for info in infos}
    names = {info.filename.partition("/")[2]: info.filename for info in infos}
    if (
        len(folders) != 1
        or len(names) < len(infos)
        # A stored member is as long as its bytes; a packed one may unpack to anything.
        or any(info.compress_type != zipfile.ZIP_STORED for info in infos)
        or not (_entries_fill(archive) and _end_is_plain(archive))
    ):
        raise ExportError(f"{path}: is not packed as torch.export packs")
    return names


def _entries_fill(archive: zipfile.ZipFile) -> bool:
    """Whether the entries lie one after the other from the first byte to the table of contents."""
    place = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.header_offset != place or info.compress_size != info.file_size:
            return False
        kind, _, flags, method, _, _, _, _, _, name_bytes, extra_bytes = _ENTRY.unpack(
            _bytes_at(archive, place, _ENTRY.size)
        )
        name = _bytes_at(archive, place + _ENTRY.size, name_bytes)
        if kind != b"PK\3\4" or method or name != info.orig_filename.encode():
            return False
        place += _ENTRY.size + name_bytes + extra_bytes + info.file_size
        if flags & _HAS_DESCRIPTOR:
            if _bytes_at(archive, place, 4) != b"PK\7\x08":
                return False
            place += _DESCRIPTOR_BYTES
    return place == archive.start_dir


def _end_is_plain(archive: zipfile.ZipFile) -> bool:
    """Whether all records at the end state the one table of contents, and nothing follows."""
    assert archive.fp is not None
    size = archive.fp.seek(0, 2)
    end = size - _END.size
    kind, *disks, here, count, table_bytes, table, comment = _END.unpack(
        _bytes_at(archive, end, _END.size)
    )
    stated = (count, table_bytes, table)
    locator = _bytes_at(archive, max(0, end - _LOCATOR.size), _LOCATOR.size)
    if locator.startswith(b"PK\6\7"):
        end -= _LOCATOR.size + _END64.size
        kind64, length, _, _, _, _, here64, *stated64 = _END64.unpack(
            _bytes_at(archive, end, _END64.size)
        )
        if (
            (kind64, length, here64) != (b"PK\6\6", _END64.size - 12, len(archive.infolist()))
            or _LOCATOR.unpack(locator) != (b"PK\6\7", 0, end, 1)
            or tuple(stated64) != stated
        ):
            return False
    number = len(archive.infolist())
    return (kind, disks, here, comment) == (b"PK\5\6", [0, 0], number, 0) and stated == (
        number,
        end - archive.start_dir,
        archive.start_dir,
    )


def _bytes_at(archive: zipfile.ZipFile, place: int, count: int) -> bytes:
    assert archive.fp is not None
    archive.fp.seek(place)
    found = archive.fp.read(count)
    if len(found) < count:
        raise zipfile.BadZipFile
    return found
