"""Archives of arrays (.npz) of unknown origin: every size is known before any data is read.

An archive is a zip file (APPNOTE.TXT, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT)
of arrays in NumPy's format (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html),
here as `numpy.savez` and `numpy.savez_compressed` write both. Nothing in it is ever evaluated.
"""

from __future__ import annotations

import dataclasses
import math
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import zipfile

MOST_BYTES = 1 << 30  # of all arrays: 16 probes of 20 megapixels; also of the archive
_MOST_ARRAYS = 1 << 12  # 999 probes with three outputs each, and their frames
_LONGEST_ENTRY = 512  # bytes that the zip directory spends on an array, its name included
_END = struct.Struct("<4s4H2LH")  # end of central directory record
_LOCATOR = 20  # bytes of a zip64 locator, which would come before the end record
_STORED, _DEFLATED = 0, 8  # compression methods; others may need memory without bound
_PREFIX = struct.Struct("<6s2BH")  # magic, version, length of an array's header
_HEADER = re.compile(
    rb"\{'descr': '(\|u1|<f4|<i8)', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,9},)?|\d{1,9}(?:, \d{1,9}){1,7})\), \} *\n"
)


@dataclasses.dataclass(frozen=True)
class _Header:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool  # the first axis varies fastest
    start: int  # where the data begins, in bytes


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an archive, by name: uint8, float32 or int64, read-only.

    Raises:
        ValueError: it is no such archive, is damaged, or holds more than `MOST_BYTES`.
        OSError: it cannot be read.
    """
    import zipfile  # here, as it would be a tenth of the package's import time
    import zlib

    try:
        with path.open("rb") as file:
            announced = _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                _check_entries(entries, announced)
                headers = [_read_header(archive, entry) for entry in entries]
                return {
                    entry.filename.removesuffix(".npy"): _array(archive.read(entry), header)
                    for entry, header in zip(entries, headers, strict=True)
                }
    # RuntimeError is how zipfile says that it needs a password or lacks a feature.
    except (
        zipfile.BadZipFile, zlib.error, struct.error, EOFError, OverflowError, RuntimeError
    ) as error:  # fmt: skip
        raise ValueError(f"a damaged archive: {error}") from error


def _check_directory(file: BinaryIO) -> int:
    """Bound the directory of the archive, which `zipfile` reads and parses whole.

    Returns:
        How many arrays it announces.
    """
    size = file.seek(0, 2)
    if not _END.size <= size <= MOST_BYTES:
        raise ValueError(f"an archive of {size} bytes")
    file.seek(max(0, size - _END.size - _LOCATOR))
    tail = file.read()
    if tail[: -_END.size].startswith(b"PK\x06\x07"):
        raise ValueError("an archive of the form zip64")
    magic, disk, first, here, entries, length, offset, comment = _END.unpack(tail[-_END.size :])
    if magic != b"PK\x05\x06" or disk or first or here != entries or comment:
        raise ValueError("no end of a zip directory")
    if entries > _MOST_ARRAYS or length > entries * _LONGEST_ENTRY:
        raise ValueError(f"{entries} arrays in a directory of {length} bytes")
    if offset + length + _END.size != size:
        raise ValueError("a zip directory that is elsewhere")
    return int(entries)


def _check_entries(entries: list[zipfile.ZipInfo], announced: int) -> None:
    # A comment of an entry may swallow the next one, of which `zipfile` says nothing.
    if len(entries) != announced:
        raise ValueError(f"{len(entries)} arrays where {announced} are announced")
    names = {entry.filename for entry in entries}
    if len(names) < len(entries) or not all(name.endswith(".npy") for name in names):
        raise ValueError("arrays whose names are not NAME.npy, each once")
    if any(entry.compress_type not in (_STORED, _DEFLATED) for entry in entries):
        raise ValueError("an array that is compressed in another way than savez_compressed does")
    total = sum(entry.file_size for entry in entries)
    if total > MOST_BYTES:
        raise ValueError(f"arrays of {total} bytes, expected at most {MOST_BYTES}")


def _read_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Header:
    with archive.open(entry) as file:
        magic, major, minor, length = _PREFIX.unpack(file.read(_PREFIX.size))
        text = file.read(length)
    match = _HEADER.fullmatch(text)
    if magic != b"\x93NUMPY" or (major, minor) != (1, 0) or match is None:
        raise ValueError(f"{entry.filename[:40]!r} is no array of uint8, float32 or int64")
    dtype, shape = np.dtype(match[1].decode()), tuple(map(int, re.findall(rb"\d+", match[3])))
    header = _Header(dtype, shape, match[2] == b"True", _PREFIX.size + length)
    expected = header.start + math.prod(shape) * dtype.itemsize
    if entry.file_size != expected:
        raise ValueError(
            f"{entry.filename[:40]!r} has {entry.file_size} bytes, its shape {shape} needs "
            f"{expected}"
        )
    return header


def _array(data: bytes, header: _Header) -> npt.NDArray[Any]:
    flat: npt.NDArray[Any] = np.frombuffer(data, header.dtype, offset=header.start)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")
