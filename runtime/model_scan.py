"""Looks through an ONNX file before a back end's own parser does, without reading weights.

The parsers of back ends are written in C++ and trust a model more than a file of unknown origin
deserves: external data has led out of the folder (CVE-2022-25882, CVE-2024-27318), and deep chains
of functions overrun the stack. Here every message is visited, and refused unless it is of the form
that Vitrine's own builds have.
"""

from __future__ import annotations

import math
import mmap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import EngineError
from runtime.onnx_schema import MESSAGES
from runtime.protobuf_wire import parts

LARGEST_MODEL = (1 << 31) - 1  # bytes; protobuf's own bound, for which there is external data
_MOST_PARTS = 1 << 19  # fields in all messages: two seconds of reading; swin_t has 25,000
_DEEPEST = 16  # messages inside each other: a plain model has 6, each nested subgraph adds 3
_DEEPEST_CALLS = 8  # functions that call each other; Vitrine's call none
_MOST_NODES = 1 << 17  # with every call of a function replaced by its nodes; swin_t has 700
_MOST_AXES = 16  # of a tensor; TensorRT has 8
_LATEST = 1000  # of a set of operators; ONNX had 26 in 2026. OpenVINO counts through them all
_LONGEST_AXIS = 1 << 31  # the first length that 32 bits do not hold
_ENTRIES = (b"location", b"offset", b"length", b"checksum")  # of external data
_LONGEST_ENTRY = 256  # bytes of one of them; a file name has at most 255
_REFUSED = {  # operators that no model here needs, and why not
    b"EPContext": "would open a file",  # ONNX Runtime's, for what other compilers made
    b"Loop": "need not end",
}

_Function = tuple[bytes, bytes, bytes]  # domain, name, overload
_Found = dict[int, list[Any]]  # by a field's number: integers, (start, end), or entries


def scan_model(path: Path, files: Mapping[str, int]) -> None:
    """Check the structure of an ONNX file.

    Args:
        path: of the file.
        files: sizes in bytes, by name, of the files beside it that external data may lie in.

    Raises:
        EngineError: it is not of the form that a build writes: malformed or unknown parts,
            external data elsewhere, tensors larger than their data, nesting or calls too deep,
            too many parts.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        try:
            if not 0 < size <= LARGEST_MODEL:
                raise ValueError(f"it has {size} bytes")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _Scan(data, files).model(size)
        except ValueError as error:
            raise EngineError(
                f"{path} is no model as Vitrine writes them ({error}); build the bundle again"
            ) from error


class _Scan:
    """One pass over a model; `ValueError` says what is wrong."""

    def __init__(self, data: mmap.mmap, files: Mapping[str, int]) -> None:
        self._data = data
        self._files = files
        self._left = _MOST_PARTS
        self._calls: Counter[_Function] = Counter()  # operators of the graph or function at hand
        self._functions: dict[_Function, Counter[_Function]] = {}
        self._checks = {
            "TensorProto": self._tensor,
            "TensorShapeProto.Dimension": self._dimension,
            "OperatorSetIdProto": self._operator_set,
            "NodeProto": self._node,
        }

    def model(self, size: int) -> None:
        found = self._message("ModelProto", 0, size, 1)
        if not found.keys() >= {1, 7, 8}:
            raise ValueError("a version, a graph or operator sets are missing")
        known: dict[_Function, tuple[int, int]] = {}
        for calls in (*self._functions.values(), self._calls):
            nodes, _ = _expanded(calls, self._functions, known, 0)
            if nodes > _MOST_NODES:
                raise ValueError(f"functions expand to more than {_MOST_NODES} nodes")

    def _message(self, kind: str, start: int, end: int, depth: int) -> _Found:
        """Visit a message and all that is in it; gives its fields, where they are looked at."""
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} messages lie inside each other")
        if kind == "FunctionProto":
            outer, self._calls = self._calls, Counter()
        fields = MESSAGES[kind]
        found: _Found = {}
        for number, wire, low, high in parts(self._data, start, end):
            field = fields.get(number)
            if field is None or wire != field.wire:
                raise ValueError(f"unknown field {number} of wire type {wire} in a {kind}")
            if number in found and not field.repeated:
                raise ValueError(f"field {number} is twice in a {kind}")
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {_MOST_PARTS} parts")
            inner = field.message
            value = self._message(inner, low, high, depth + 1) if inner else (low, high)
            found.setdefault(number, []).append(value)
        if kind == "FunctionProto":
            self._function(found)
            self._calls = outer
        elif kind in self._checks:
            self._checks[kind](found, end - start)
        return found if kind in ("StringStringEntryProto", "ModelProto") else {}

    def _tensor(self, found: _Found, size: int) -> None:
        if 13 in found or (1, 1) in found.get(14, ()):  # external_data, data_location EXTERNAL
            size = max(size, self._external(found.get(13, [])))
        lengths = [low for low, _ in found.get(1, ())]
        if len(lengths) > _MOST_AXES or max(lengths, default=0) >= _LONGEST_AXIS:
            raise ValueError(f"a tensor has the shape {tuple(lengths[:_MOST_AXES])}")
        if math.prod(lengths) > 8 * size:  # the smallest numbers have two bits, texts two bytes
            raise ValueError(f"a tensor has the shape {tuple(lengths)} in {size} bytes")

    def _external(self, entries: list[_Found]) -> int:
        """The bytes of external data, which must lie within a listed file."""
        texts: dict[bytes, bytes] = {}
        for entry in entries:
            key, value = self._text(entry, 1), self._text(entry, 2)
            if key not in _ENTRIES or key in texts:
                raise ValueError(f"external data has an entry {key!r}, or has it twice")
            texts[key] = value
        name = texts.get(b"location", b"").decode(errors="replace")
        if name not in self._files:
            raise ValueError(f"external data lies in {name!r}, which the manifest does not list")
        offset, length = (texts.get(key, b"0") for key in (b"offset", b"length"))
        if not (offset.isdigit() and length.isdigit()):
            raise ValueError(f"external data has offset {offset!r} and length {length!r}")
        if int(offset) + int(length) > self._files[name]:
            raise ValueError(f"external data ends beyond the {self._files[name]} bytes of {name}")
        return int(length) if b"length" in texts else self._files[name] - int(offset)

    def _dimension(self, found: _Found, _: int) -> None:
        for low, _high in found.get(1, ()):
            if low >= _LONGEST_AXIS:
                raise ValueError(f"an axis has the length {low}")

    def _operator_set(self, found: _Found, _: int) -> None:
        version, _end = found.get(2, [(0, 0)])[0]
        if not 1 <= version <= _LATEST:
            raise ValueError(f"a set of operators has the version {version}")

    def _node(self, found: _Found, _: int) -> None:
        name = self._name(found, 7, 4, 8)
        if name[1] in _REFUSED:
            raise ValueError(f"an operator {name[1].decode()} {_REFUSED[name[1]]}")
        self._calls[name] += 1

    def _function(self, found: _Found) -> None:
        name = self._name(found, 10, 1, 13)
        if name in self._functions:
            raise ValueError(f"the function {name[1]!r} is there twice")
        self._functions[name] = self._calls

    def _name(self, found: _Found, domain: int, name: int, overload: int) -> _Function:
        """What a node calls, or a function is called, from these fields."""
        within, called = self._text(found, domain), self._text(found, name)
        # The standard operators' domain has two names.
        return b"" if within == b"ai.onnx" else within, called, self._text(found, overload)

    def _text(self, found: _Found, number: int) -> bytes:
        start, end = found.get(number, [(0, 0)])[0]
        if end - start > _LONGEST_ENTRY:
            raise ValueError(f"a name has {end - start} bytes")
        return self._data[start:end]


def _expanded(
    calls: Mapping[_Function, int],
    functions: Mapping[_Function, Mapping[_Function, int]],
    known: dict[_Function, tuple[int, int]],
    level: int,
) -> tuple[int, int]:
    """Nodes when calls are replaced by what they call, and how deep they do; fills `known`."""
    if level > _DEEPEST_CALLS:
        raise ValueError(f"functions call each other more than {_DEEPEST_CALLS} deep")
    nodes, deepest = 0, 0
    for name, count in calls.items():
        inner = 0
        if name in functions:
            if name not in known:
                known[name] = _expanded(functions[name], functions, known, level + 1)
            inner, depth = known[name]
            deepest = max(deepest, depth + 1)
        nodes += count * (1 + inner)
    if deepest > _DEEPEST_CALLS:
        raise ValueError(f"functions call each other more than {_DEEPEST_CALLS} deep")
    return nodes, deepest
