"""`models.yaml` read into frozen records; a key that is not known is an error with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from export.zoo import FAMILIES
from runtime import Preprocess
from runtime.tasks import TASKS
from shapes.datasets import DATASETS

ROOT = Path(__file__).resolve().parents[1]
MODELS_FILE = ROOT / "models.yaml"
Precision = Literal["fp32", "fp16", "int8"]


class SpecError(ValueError):
    """A mistake in `models.yaml` or in a model's name, in one line."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def _one_of(value: str, known: Iterable[str]) -> str:
    if value not in known:
        raise ValueError(f"use one of {', '.join(known)}")
    return value


class Weights(_Record):
    """Where default weights come from: a hub id with its revision, or a file with its sha256."""

    hub: str | None = None
    revision: str = "main"
    file: str | None = None
    sha256: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Weights:
        if (self.hub is None) == (self.file is None) or (self.file and not self.sha256):
            raise ValueError("weights: give either `hub` (and `revision`) or `file` and `sha256`")
        return self

    def __str__(self) -> str:
        """The file, or the hub id and revision."""
        return self.file or f"{self.hub}@{self.revision}"


class Calibration(_Record):
    """How activation ranges are measured, and on how many other images drift is.

    Attributes:
        images: that set the ranges.
        held_out: that measure drift; no choice of the build has seen them.
        seed: of the split.
        method: of turning a histogram of activations into a range.
        rendered: which rendered data set of `shapes` serves when no folder is given.
    """

    images: int = Field(default=128, ge=1)
    held_out: int = Field(default=256, ge=1)
    seed: int = 0
    rendered: str | None = None
    method: Literal["minmax", "percentile", "mse", "entropy", "output_mse"] = "minmax"

    @field_validator("rendered")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return value if value is None else _one_of(value, DATASETS)


class KeepFloat(_Record):
    """Linears that stay float: a glob over node names, and the reason."""

    pattern: str
    why: str


class ModelSpec(_Record):
    """Everything the pipeline knows of one model.

    Attributes:
        config: keyword arguments of the family's `transformers` configuration.
        weights: None where none are published in a form that can be read, so that a build must be
            given some.
        preprocess: of the default weights; `preprocess_by_convention` overrides it for weights
            published under other tensor names ("timm", "torchvision").
        labels: a file of names, one a line, or the names themselves.
        drift: limits by precision, then by metric.
    """

    name: str
    family: str
    task: str
    config: dict[str, Any]
    weights: Weights | None = None
    preprocess: Preprocess
    preprocess_by_convention: dict[Literal["timm", "torchvision"], Preprocess] = {}
    labels: tuple[str, ...] = ()
    calibration: Calibration = Calibration()
    drift: dict[Precision, dict[str, float]]
    keep_float: tuple[KeepFloat, ...] = ()

    @field_validator("family", "task")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        return _one_of(value, FAMILIES if info.field_name == "family" else TASKS)

    @field_validator("preprocess", mode="before")
    @classmethod
    def _preprocess(cls, value: Any) -> Preprocess:
        return Preprocess.from_dict(value)

    @field_validator("preprocess_by_convention", mode="before")
    @classmethod
    def _preprocesses(cls, value: dict[str, Any]) -> dict[str, Preprocess]:
        return {name: Preprocess.from_dict(fields) for name, fields in value.items()}

    @field_validator("labels", mode="before")
    @classmethod
    def _labels(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple((ROOT / value).read_text(encoding="utf-8").splitlines())

    @property
    def trace_size(self) -> tuple[int, int]:
        """Height and width in pixels at which the model is traced."""
        return self.preprocess.image_size


def load_models(path: Path | None = None) -> dict[str, ModelSpec]:
    """Every record of a models file (the repository's by default), by name.

    Raises:
        SpecError: not YAML, an unknown or missing key, or a wrong value; names file and line.
    """
    path = path or MODELS_FILE
    text = path.read_text(encoding="utf-8")
    try:
        tree, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from error
    _refuse_duplicates(path, tree)
    if not isinstance(data, dict) or not isinstance(data.get("models"), dict):
        raise SpecError(f"{path.name}: expected the keys `families` and `models` at the top")
    for extra in sorted(data.keys() - {"families", "models"}):
        line = _line(tree, (extra,))
        raise SpecError(f"{path.name}, line {line}: unknown key `{extra}`; use families or models")
    families = data.get("families") or {}
    for extra in sorted(families.keys() - set(FAMILIES)):
        line = _line(tree, ("families", extra))
        raise SpecError(
            f"{path.name}, line {line}: unknown family `{extra}`; use {', '.join(FAMILIES)}"
        )
    return {
        name: _record(path, tree, name, record, families) for name, record in data["models"].items()
    }


def find_model(name: str, models: Mapping[str, ModelSpec]) -> ModelSpec:
    """The record called `name`; `SpecError` with the nearest names when there is none."""
    if name in models:
        return models[name]
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(models))}"
    raise SpecError(f"unknown model {name!r}; {hint} (`vitrine models` lists all)")


def _record(path: Path, tree: Any, name: str, record: Any, families: Any) -> ModelSpec:
    if not isinstance(record, dict):
        line = _line(tree, ("models", name))
        raise SpecError(f"{path.name}, line {line}: {name} is not a mapping; give its keys")
    shared = families.get(record.get("family")) or {}
    try:
        return ModelSpec(**{"name": name, **shared, **record})
    except ValidationError as error:
        # An unknown key explains the missing one beside it.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        keys = (*(str(key) for key in first["loc"]), *_culprit(first))
        # What a record leaves out comes from its family.
        inherited = keys[0] not in record and keys[0] in shared
        above = ("families", record["family"]) if inherited else ("models", name)
        line = _line(tree, (*above, *keys))
        what = f"`{'.'.join(keys)}` of {name}"
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(keys[-1], ModelSpec.model_fields, n=1)
            message = f"unknown key {what}" + (f"; did you mean `{near[0]}`?" if near else "")
        else:
            message = f"{what}: {first['msg']}, found {first['input']!r}"
        raise SpecError(f"{path.name}, line {line}: {message}") from error
    except (OSError, TypeError, ValueError) as error:
        line = _line(tree, ("models", name))
        raise SpecError(f"{path.name}, line {line}: {name}: {error}") from error


def _culprit(error: Any) -> tuple[str, ...]:
    """The key within a refused mapping that the message names first; none where it names none."""
    if error["type"] != "value_error" or not isinstance(error["input"], dict):
        return ()
    found = {key: re.search(rf"\b{re.escape(str(key))}\b", error["msg"]) for key in error["input"]}
    named = sorted((match.start(), str(key)) for key, match in found.items() if match)
    return (named[0][1],) if named else ()


def _refuse_duplicates(path: Path, node: Any) -> None:
    """YAML's loader would take the last of equal keys and drop the others."""
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in first:
                raise SpecError(
                    f"{path.name}, line {line}: `{key.value}` is given again, first in line "
                    f"{first[key.value]}; keep one"
                )
            first[key.value] = line
            _refuse_duplicates(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicates(path, value)


def _line(node: Any, keys: tuple[str, ...]) -> int:
    """1-based line of the deepest of `keys` that the document has under `node`."""
    line: int = node.start_mark.line + 1
    for key in keys:
        pairs = [(k, v) for k, v in _entries(node) if k.value == key]
        if not pairs:
            break
        line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
    return line


def _entries(node: Any) -> Iterator[tuple[Any, Any]]:
    """A mapping's keys and values, its own before those it merges with `<<`; a list's items."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield yaml.ScalarNode("", str(index), item.start_mark), item
    if isinstance(node, yaml.MappingNode):
        yield from node.value
        for key, value in node.value:
            if key.value == "<<":
                yield from _entries(value)
