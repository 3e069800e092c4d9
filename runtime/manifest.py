"""The manifest of a bundle, read strictly: a field that is wrong is named and refused."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

from runtime.errors import EngineError, one_line
from runtime.preparation import Preparation, read_preparation
from runtime.strict_json import parse_json

SCHEMA = 1
_MOST_PROBES = 999  # golden.npz numbers them with three digits
_MOST_LABELS = 1 << 17  # ImageNet-21k has 21,841
_MOST_TENSORS = 64  # inputs, and outputs, of a model
_MOST_AXES = 8  # of one, as TensorRT has
_LONGEST_AXIS = 1 << 31  # the first length that 32 bits do not hold
_DTYPES = ("float32", "float16", "float64", "uint8", "int8", "int32", "int64", "bool")
# Control characters could make a terminal do things; lone surrogates cannot be printed.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """A model input or output; a named axis may have any length, equal names equal lengths."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclasses.dataclass(frozen=True)
class EngineInfo:
    """What the engine was built for.

    Attributes:
        compute_capability: a GPU's, e.g. "8.7".
        platform: operating system and processor that a plan is bound to, e.g. "Linux-aarch64".
        options: of "version-compatible" (later versions load it) and "hardware-compatible" (other
            GPUs do), and further ones of the builder.
        fallbacks: further back ends that were found to compute model.onnx faithfully, best first.
    """

    backend: str
    version: str
    device: str
    compute_capability: str | None = None
    platform: str | None = None
    options: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class GoldenInfo:
    """How many probes golden.npz holds, and the least cosine each output must reach."""

    min_cosine: float
    probes: int


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Everything a bundle says about itself.

    Attributes:
        files: sha256 in lower-case hexadecimal by file name, manifest.json excepted.
        parts: sha256 of the manifest of each bundle within this one, by the name of its folder.
        precision_map: by ONNX node, `{"type": "int8" | "fp16" | "fp32", "why": ...}`.
        calibration, drift, latency, source: kept as they are, for reports.
    """

    model: str
    task: str
    precision: str
    target: str
    engine: EngineInfo
    files: dict[str, str]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    preprocess: Preparation
    labels: tuple[str, ...]
    golden: GoldenInfo
    precision_map: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)
    drift: dict[str, Any] = dataclasses.field(default_factory=dict)
    latency: dict[str, Any] = dataclasses.field(default_factory=dict)
    source: dict[str, Any] = dataclasses.field(default_factory=dict)
    parts: dict[str, str] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The text of manifest.json: sorted keys, so that equal builds give equal files."""
        record = dataclasses.asdict(self)
        record["preprocess"] = self.preprocess.to_dict()
        # Left out where they are empty, so that earlier runtimes read it.
        if not self.engine.fallbacks:
            del record["engine"]["fallbacks"]
        if not self.parts:
            del record["parts"]
        return json.dumps(record, sort_keys=True, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The inverse of `to_json`.

        Raises:
            EngineError: not JSON, a newer schema, or a missing, unknown or wrong field.
        """
        try:
            record = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise EngineError(
                f"manifest.json is not JSON ({one_line(error)}); build the bundle again"
            ) from error
        record = _object(record, "the manifest")
        schema = _exactly(int)(record.get("schema"), "schema")
        if schema > SCHEMA:
            raise EngineError(
                f"manifest.json has schema {schema}, this runtime reads up to {SCHEMA}; "
                "update Vitrine"
            )
        if schema != SCHEMA:
            raise _wrong("schema", schema, str(SCHEMA))
        record = {"parts": {}, **record}
        manifest: Manifest = _read_record(cls, record, _READERS, "the manifest")
        return manifest


Reader = Callable[[Any, str], Any]


def _read_record(
    kind: type[Any], record: dict[str, Any], readers: dict[str, Reader], at: str
) -> Any:
    missing, unknown = sorted(readers.keys() - record), sorted(record.keys() - readers)
    if missing or unknown:
        found = f"lacks {', '.join(missing)}" if missing else f"has unknown {_shown(unknown[0])}"
        raise EngineError(f"manifest.json: {at} {found}; build the bundle again")
    return kind(**{name: read(record[name], name) for name, read in readers.items()})


def _wrong(name: str, value: Any, wanted: str) -> EngineError:
    return EngineError(
        f"manifest.json: {_shown(name)} is {_short(repr(value))}, expected {wanted}; build the "
        "bundle again"
    )


def _shown(name: str) -> str:
    """A key of the manifest, which may be anything, within a line."""
    return _short(repr(name)[1:-1])


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


def _exactly(kind: type[Any]) -> Reader:
    words = {str: "a string", int: "an integer", dict: "an object", list: "a list"}

    def read(value: Any, name: str) -> Any:
        if type(value) is not kind:  # bool is an int to isinstance
            raise _wrong(name, value, words[kind])
        return value

    return read


_string, _integer, _list = _exactly(str), _exactly(int), _exactly(list)
_object = _exactly(dict)


def _text(value: Any, name: str) -> str:
    if _UNPRINTABLE.search(_string(value, name)):
        raise _wrong(name, value, "text without control characters")
    return str(value)


def _count(value: Any, name: str) -> int:
    if not 1 <= _integer(value, name) <= _MOST_PROBES:
        raise _wrong(name, value, f"1 to {_MOST_PROBES}")
    return int(value)


def _unit(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not -1 <= value <= 1:
        raise _wrong(name, value, "a number in -1..1")
    return float(value)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if len(_list(value, name)) > _MOST_LABELS:
        raise _wrong(name, value, f"at most {_MOST_LABELS}")
    return tuple(_text(item, name) for item in _list(value, name))


def _text_map(value: Any, name: str) -> dict[str, str]:
    return {key: _string(item, f"{name}.{key}") for key, item in _object(value, name).items()}


def _precision_map(value: Any, name: str) -> dict[str, dict[str, str]]:
    return {key: _text_map(item, f"{name}.{key}") for key, item in _object(value, name).items()}


def _optional_text(value: Any, name: str) -> str | None:
    return None if value is None else _text(value, name)


def _shape(value: Any, name: str) -> tuple[int | str, ...]:
    for axis in _list(value, name):
        if type(axis) is not str and (type(axis) is not int or not 1 <= axis < _LONGEST_AXIS):
            raise _wrong(name, value, "positive integers below 2^31 and axis names")
    if len(value) > _MOST_AXES:
        raise _wrong(name, value, f"at most {_MOST_AXES} axes")
    return tuple(value)


def _dtype(value: Any, name: str) -> str:
    if value not in _DTYPES:
        raise _wrong(name, value, f"one of {', '.join(_DTYPES)}")
    return str(value)


def _tensors(value: Any, name: str) -> tuple[TensorInfo, ...]:
    readers: dict[str, Reader] = {"name": _text, "dtype": _dtype, "shape": _shape}
    items = [_object(item, name) for item in _list(value, name)]
    if not 1 <= len(items) <= _MOST_TENSORS:
        raise _wrong(name, value, f"at least one tensor and at most {_MOST_TENSORS}")
    tensors = tuple(_read_record(TensorInfo, item, readers, name) for item in items)
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise _wrong(name, [tensor.name for tensor in tensors], "each name once")
    return tensors


def _engine(value: Any, name: str) -> Any:
    readers: dict[str, Reader] = dict.fromkeys(("backend", "version", "device"), _text)
    readers |= dict.fromkeys(("compute_capability", "platform"), _optional_text)
    readers |= dict.fromkeys(("options", "fallbacks"), _texts)
    # What bundles of CPU engines, and older ones, leave out.
    record = {"platform": None, "options": [], "fallbacks": [], **_object(value, name)}
    return _read_record(EngineInfo, record, readers, name)


def _golden(value: Any, name: str) -> Any:
    readers: dict[str, Reader] = {"min_cosine": _unit, "probes": _count}
    return _read_record(GoldenInfo, _object(value, name), readers, name)


def _preprocess(value: Any, name: str) -> Preparation:
    try:
        return read_preparation(_object(value, name))
    except (ValueError, TypeError) as error:
        raise EngineError(f"manifest.json: {one_line(error)}; build the bundle again") from error


_READERS: dict[str, Reader] = {
    "schema": _integer,
    **dict.fromkeys(("model", "task", "precision", "target"), _text),
    "engine": _engine,
    **dict.fromkeys(("files", "parts"), _text_map),
    "inputs": _tensors,
    "outputs": _tensors,
    "preprocess": _preprocess,
    "labels": _texts,
    "golden": _golden,
    "precision_map": _precision_map,
    **dict.fromkeys(("calibration", "drift", "latency", "source"), _object),
}
