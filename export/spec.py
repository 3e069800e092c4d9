"""`models.yaml` read into frozen records; a key that is not known is an error with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from export.yaml_lines import line_of, refuse_duplicates
from export.zoo import FAMILIES, find_family
from runtime.preparation import Preparation, read_preparation
from runtime.tasks import TASKS
from shapes.datasets import DATASETS

if TYPE_CHECKING:
    from export.zoo.family import Family

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


class GraphSpec(_Record):
    """What the pipeline knows of one graph.

    Attributes:
        preprocess: of the default weights.
        labels: a file of names, one a line, or the names themselves.
        drift: limits by precision, then by metric.
    """

    task: str
    preprocess: Preparation
    labels: tuple[str, ...] = ()
    drift: dict[Precision, dict[str, float]]
    keep_float: tuple[KeepFloat, ...] = ()

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str) -> str:
        return _one_of(value, TASKS)

    @field_validator("preprocess", mode="before")
    @classmethod
    def _preprocess(cls, value: Any) -> Preparation:
        return read_preparation(value)

    @field_validator("labels", mode="before")
    @classmethod
    def _labels(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple((ROOT / value).read_text(encoding="utf-8").splitlines())


class ModelSpec(GraphSpec):
    """Everything the pipeline knows of one model, or of a part of one.

    Attributes:
        config: keyword arguments of the family's configuration.
        weights: None where none are published in a form that can be read, so that a build must be
            given some.
        preprocess_by_convention: overrides `preprocess` for weights published under other tensor
            names ("timm", "torchvision").
        parts: further graphs, by the names that the family has for them.
    """

    name: str
    family: str
    config: dict[str, Any]
    weights: Weights | None = None
    preprocess_by_convention: dict[Literal["timm", "torchvision"], Preparation] = {}
    calibration: Calibration = Calibration()
    parts: dict[str, GraphSpec] = {}
    _whole: ModelSpec | None = PrivateAttr(None)

    @field_validator("family")
    @classmethod
    def _known_family(cls, value: str) -> str:
        return _one_of(value, FAMILIES)

    @field_validator("preprocess_by_convention", mode="before")
    @classmethod
    def _preprocesses(cls, value: dict[str, Any]) -> dict[str, Preparation]:
        return {name: read_preparation(fields) for name, fields in value.items()}

    @property
    def whole(self) -> ModelSpec:
        """The model that this is a part of; itself where it is a whole one."""
        return self._whole or self

    @property
    def part(self) -> str | None:
        """Which part of `whole` it is."""
        return None if self._whole is None else self.name.removeprefix(f"{self._whole.name}.")

    @property
    def exported(self) -> Family:
        """The family, and of a part the family with that part for its main graph."""
        family = find_family(self.family)
        return family if self.part is None else family.of_part(self.part)

    def of_part(self, name: str) -> ModelSpec:
        """The record of a part, which is built like a model."""
        part = self.parts[name]
        fields = {field: getattr(part, field) for field in GraphSpec.model_fields}
        own = {"name": f"{self.name}.{name}", "parts": {}, "preprocess_by_convention": {}}
        found = self.model_copy(update=fields | own)
        found._whole = self
        return found


def load_models(path: Path | None = None) -> dict[str, ModelSpec]:
    """Every record of a models file (the repository's by default), by name.

    Raises:
        SpecError: not YAML, an unknown or missing key, or a wrong value; names file and line.
    """
    path = path or MODELS_FILE
    text = path.read_text(encoding="utf-8")
    try:
        tree, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
        refuse_duplicates(tree)
    except yaml.YAMLError as error:
        raise SpecError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise SpecError(f"{path.name}, {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("models"), dict):
        raise SpecError(f"{path.name}: expected the keys `families` and `models` at the top")
    for extra in sorted(data.keys() - {"families", "models"}):
        line = line_of(tree, (extra,))
        raise SpecError(f"{path.name}, line {line}: unknown key `{extra}`; use families or models")
    families = data.get("families") or {}
    for extra in sorted(families.keys() - set(FAMILIES)):
        line = line_of(tree, ("families", extra))
        raise SpecError(
            f"{path.name}, line {line}: unknown family `{extra}`; use {', '.join(FAMILIES)}"
        )
    return {
        name: _record(path, tree, name, record, families) for name, record in data["models"].items()
    }


def find_model(name: str, models: Mapping[str, ModelSpec]) -> ModelSpec:
    """The record called `name`, or NAME.PART; `SpecError` with the nearest names for others."""
    if name in models:
        return models[name]
    whole, _, part = name.partition(".")
    if part and part in getattr(models.get(whole), "parts", ()):
        return models[whole].of_part(part)
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(models))}"
    raise SpecError(f"unknown model {name!r}; {hint} (`vitrine models` lists all)")


def _record(path: Path, tree: Any, name: str, record: Any, families: Any) -> ModelSpec:
    if not isinstance(record, dict):
        line = line_of(tree, ("models", name))
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
        line = line_of(tree, (*above, *keys))
        what = f"`{'.'.join(keys)}` of {name}"
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(keys[-1], ModelSpec.model_fields, n=1)
            message = f"unknown key {what}" + (f"; did you mean `{near[0]}`?" if near else "")
        else:
            message = f"{what}: {first['msg']}, found {first['input']!r}"
        raise SpecError(f"{path.name}, line {line}: {message}") from error
    except (OSError, TypeError, ValueError) as error:
        line = line_of(tree, ("models", name))
        raise SpecError(f"{path.name}, line {line}: {name}: {error}") from error


def _culprit(error: Any) -> tuple[str, ...]:
    """The key within a refused mapping that the message names first; none where it names none."""
    if error["type"] != "value_error" or not isinstance(error["input"], dict):
        return ()
    found = {key: re.search(rf"\b{re.escape(str(key))}\b", error["msg"]) for key in error["input"]}
    named = sorted((match.start(), str(key)) for key, match in found.items() if match)
    return (named[0][1],) if named else ()
