"""`models.yaml` read into frozen records; a key that is not known is an error with its line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from runtime import Preprocess

ROOT = Path(__file__).resolve().parents[1]
MODELS_FILE = ROOT / "models.yaml"
Precision = Literal["fp32", "fp16", "int8"]


class SpecError(ValueError):
    """A mistake in `models.yaml` or in a model's name, in one line."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


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
    rendered: Literal["classification", "detection"] | None = None
    method: Literal["minmax", "percentile", "mse", "entropy"] = "minmax"


class KeepFloat(_Record):
    """Linears that stay float: a glob over node names, and the reason."""

    pattern: str
    why: str


class ModelSpec(_Record):
    """Everything the pipeline knows of one model.

    Attributes:
        config: keyword arguments of the family's `transformers` configuration.
        preprocess: of the default weights; `preprocess_by_convention` overrides it for weights
            published under other tensor names ("timm", "torchvision").
        labels: a file of names, one a line, or the names themselves.
        drift: limits by precision, then by metric.
    """

    name: str
    family: Literal["vit", "swin", "detr"]
    task: Literal["classification", "detection"]
    config: dict[str, Any]
    weights: Weights
    preprocess: Preprocess
    preprocess_by_convention: dict[Literal["timm", "torchvision"], Preprocess] = {}
    labels: tuple[str, ...]
    calibration: Calibration = Calibration()
    drift: dict[Precision, dict[str, float]]
    keep_float: tuple[KeepFloat, ...] = ()

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
        side = self.preprocess.crop or self.preprocess.size
        return side, side


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
    if not isinstance(data, dict) or not isinstance(data.get("models"), dict):
        raise SpecError(f"{path.name}: expected the keys `families` and `models` at the top")
    for extra in sorted(data.keys() - {"families", "models"}):
        line = _line(tree, (extra,))
        raise SpecError(f"{path.name}, line {line}: unknown key `{extra}`; use families or models")
    families = data.get("families") or {}
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
        first = error.errors()[0]
        keys = tuple(str(key) for key in first["loc"])
        line = _line(tree, ("models", name, *keys))
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


def _line(node: Any, keys: tuple[str, ...]) -> int:
    """1-based line of the deepest of `keys` that the document has under `node`."""
    line: int = node.start_mark.line + 1
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        pairs = [(k, v) for k, v in node.value if k.value == key]
        if not pairs:
            break
        line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
    return line
