"""The wire format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding/).

Read strictly, and lazily: what a field holds is skipped by its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

_LONGEST_VARINT = 10  # bytes of 64 bits, seven a byte
_LONGEST_TAG = 5  # bytes of a field's number (29 bits) and wire type (3 bits)
_FIXED = {1: 8, 5: 4}  # bytes by wire type


class Buffer(Protocol):
    """Bytes in memory or a mapped file; an index gives an integer."""

    def __getitem__(self, index: int, /) -> int:
        """One byte."""


class Part(NamedTuple):
    """A field of a message.

    Attributes:
        number: of the field.
        wire: its wire type.
        start, end: where its contents lie; of a varint they are its value, twice.
    """

    number: int
    wire: int
    start: int
    end: int


def parts(data: Buffer, start: int, end: int) -> Iterator[Part]:
    """The fields of the message that lies in `data[start:end]`, in order.

    Raises:
        ValueError: it is no message, or uses groups, which ONNX never did.
    """
    while start < end:
        tag, start = _varint(data, start, min(end, start + _LONGEST_TAG))
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise ValueError(f"a field has the number {number}")
        if wire == 0:
            value, start = _varint(data, start, min(end, start + _LONGEST_VARINT))
            if value >= 1 << 64:
                raise ValueError("an integer has more than 64 bits")
            yield Part(number, wire, value, value)
            continue
        if wire == 2:
            length, start = _varint(data, start, min(end, start + _LONGEST_VARINT))
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise ValueError(f"field {number} has the wire type {wire}")
        if length > end - start:
            raise ValueError(f"field {number} has {length} bytes, of which {end - start} are there")
        yield Part(number, wire, start, start + length)
        start += length


def _varint(data: Buffer, start: int, end: int) -> tuple[int, int]:
    """An integer that ends before `end`, and where it ends."""
    value = shift = 0
    for index in range(start, end):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
    raise ValueError("an integer has no end")
