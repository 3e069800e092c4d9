"""The manifest of a bundle, read strictly: a field that is wrong is named and refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, NoReturn

from runtime.errors import EngineError, one_line
from runtime.preprocess import Preprocess

SCHEMA = 1


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
    """

    backend: str
    version: str
    device: str
    compute_capability: str | None = None
    platform: str | None = None
    options: tuple[str, ...] = ()


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
    preprocess: Preprocess
    labels: tuple[str, ...]
    golden: GoldenInfo
    precision_map: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)
    drift: dict[str, Any] = dataclasses.field(default_factory=dict)
    latency: dict[str, Any] = dataclasses.field(default_factory=dict)
    source: dict[str, Any] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The text of manifest.json: sorted keys, so that equal builds give equal files."""
        record = dataclasses.asdict(self)
        record["preprocess"] = self.preprocess.to_dict()
        return json.dumps(record, sort_keys=True, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The inverse of `to_json`.

        Raises:
            EngineError: not JSON, a newer schema, or a missing, unknown or wrong field.
        """
        try:
            record = json.loads(text, parse_constant=_refuse_constant)
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
        manifest: Manifest = _read_record(cls, record, _READERS, "the manifest")
        return manifest


Reader = Callable[[Any, str], Any]


def _read_record(
    kind: type[Any], record: dict[str, Any], readers: dict[str, Reader], at: str
) -> Any:
    missing, unknown = sorted(readers.keys() - record), sorted(record.keys() - readers)
    if missing or unknown:
        found = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
        raise EngineError(f"manifest.json: {at} {found}; build the bundle again")
    return kind(**{name: read(record[name], name) for name, read in readers.items()})


def _wrong(name: str, value: Any, wanted: str) -> EngineError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:79] + "…"
    return EngineError(
        f"manifest.json: {name} is {shown}, expected {wanted}; build the bundle again"
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _exactly(kind: type[Any]) -> Reader:
    words = {str: "a string", int: "an integer", dict: "an object", list: "a list"}

    def read(value: Any, name: str) -> Any:
        if type(value) is not kind:  # bool is an int to isinstance
            raise _wrong(name, value, words[kind])
        return value

    return read


_text, _integer, _list = _exactly(str), _exactly(int), _exactly(list)
_object = _exactly(dict)


def _unit(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not -1 <= value <= 1:
        raise _wrong(name, value, "a number in -1..1")
    return float(value)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    return tuple(_text(item, name) for item in _list(value, name))


def _text_map(value: Any, name: str) -> dict[str, str]:
    return {key: _text(item, f"{name}.{key}") for key, item in _object(value, name).items()}


def _precision_map(value: Any, name: str) -> dict[str, dict[str, str]]:
    return {key: _text_map(item, f"{name}.{key}") for key, item in _object(value, name).items()}


def _optional_text(value: Any, name: str) -> str | None:
    return None if value is None else str(_text(value, name))


def _shape(value: Any, name: str) -> tuple[int | str, ...]:
    for axis in _list(value, name):
        if type(axis) is not str and (type(axis) is not int or axis < 1):
            raise _wrong(name, value, "positive integers and axis names")
    return tuple(value)


def _tensors(value: Any, name: str) -> tuple[TensorInfo, ...]:
    readers: dict[str, Reader] = {"name": _text, "dtype": _text, "shape": _shape}
    items = [_object(item, name) for item in _list(value, name)]
    if not items:
        raise _wrong(name, value, "at least one tensor")
    return tuple(_read_record(TensorInfo, item, readers, name) for item in items)


def _engine(value: Any, name: str) -> Any:
    readers: dict[str, Reader] = dict.fromkeys(("backend", "version", "device"), _text)
    readers |= {"compute_capability": _optional_text, "platform": _optional_text, "options": _texts}
    # What bundles of CPU engines, and older ones, leave out.
    record = {"platform": None, "options": [], **_object(value, name)}
    return _read_record(EngineInfo, record, readers, name)


def _golden(value: Any, name: str) -> Any:
    readers: dict[str, Reader] = {"min_cosine": _unit, "probes": _integer}
    return _read_record(GoldenInfo, _object(value, name), readers, name)


def _preprocess(value: Any, name: str) -> Preprocess:
    try:
        return Preprocess.from_dict(_object(value, name))
    except (ValueError, TypeError) as error:
        raise EngineError(f"manifest.json: {error}") from error


_READERS: dict[str, Reader] = {
    "schema": _integer,
    **dict.fromkeys(("model", "task", "precision", "target"), _text),
    "engine": _engine,
    "files": _text_map,
    "inputs": _tensors,
    "outputs": _tensors,
    "preprocess": _preprocess,
    "labels": _texts,
    "golden": _golden,
    "precision_map": _precision_map,
    **dict.fromkeys(("calibration", "drift", "latency", "source"), _object),
}
