"""Weights from a hub, a folder, a file or thin air, into a reference module; all accounted for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.processor_clusters import colours_from
from export.processor_config import preprocess_from
from export.spec import ROOT, ModelSpec, SpecError
from export.weight_files import WeightsError, locate, read_json, read_state, weight_file
from export.zoo import find_family
from export.zoo.family import StateDict
from runtime.colours import Colours
from runtime.preparation import Preparation
from runtime.preprocess import Preprocess

__all__ = ["Reference", "WeightsError", "load_reference"]

_LISTED = 8  # tensor names that a message shows before it counts the rest


@dataclass(frozen=True)
class Reference:
    """The PyTorch model that every engine is measured against.

    Attributes:
        module: of the model's family, float32, eval mode.
        preprocess: the preprocessing these weights were trained with.
        labels: class names by index.
        source: for the manifest: where the weights came from, their sha256 and naming.
        folder: in Hugging Face's layout, that the weights are from; None of others.
    """

    module: nn.Module
    preprocess: Preparation
    labels: tuple[str, ...]
    source: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None


def load_reference(spec: ModelSpec, weights: str | None = None, seed: int = 0) -> Reference:
    """Builds a model and fills it.

    Args:
        spec: the model's record.
        weights: None for the record's own, "random", a folder in Hugging Face's layout, a
            `.safetensors` or `.pth`/`.pt`/`.bin` state dict, or a hub id ("owner/name").
        seed: of random weights.

    Raises:
        WeightsError: nothing there, not readable, or tensors missing, surplus or misshapen.
    """
    check_settings(spec)
    if weights == "random":
        torch.manual_seed(seed)
        module = find_family(spec.family).reference.build(spec.config).float().eval()
        source = {"weights": "random", "seed": seed, "sha256": ""}
        return Reference(module, spec.preprocess.opened(ROOT.joinpath), spec.labels, source)
    path = locate(spec, weights)
    settings = _folder_settings(path, spec) if path.is_dir() else {}
    file = weight_file(path) if path.is_dir() else path
    state, digest = read_state(file)
    expected = spec.weights.sha256 if weights is None and spec.weights else None
    if expected is not None and digest != expected:
        raise WeightsError(
            f"{file.name} has sha256 {digest[:12]}…, models.yaml expects {expected[:12]}…; "
            "restore the file with git"
        )
    convention, state = _to_hugging_face(spec, state)
    module = _fill(spec, state, settings.get("config", {}), file)
    preprocess = spec.preprocess_by_convention.get(convention, spec.preprocess)  # type: ignore[call-overload]
    try:
        location = str(file.resolve().relative_to(ROOT))
    except ValueError:
        location = str(file.resolve())
    # A path is kept whole: the drift gate may run from another folder.
    given = str(Path(weights).resolve()) if weights and Path(weights).exists() else weights
    source = {"weights": given or "default", "file": location, "sha256": digest}
    return Reference(
        module.eval(),
        settings.get("preprocess", preprocess).opened(ROOT.joinpath),
        settings.get("labels", spec.labels),
        {**source, "naming": convention},
        path if path.is_dir() else None,
    )


def check_settings(spec: ModelSpec) -> None:
    """Refuses a key that is no setting: `transformers` itself would keep a misspelt one silently.

    Raises:
        SpecError: names the nearest setting.
    """
    known = find_family(spec.family).reference.settings()
    for key in spec.config.keys() - known:
        near = difflib.get_close_matches(key, known, n=1)
        raise SpecError(
            f"models.yaml: `config.{key}` of {spec.name} is not a setting of a {spec.family}; "
            + (f"did you mean `{near[0]}`?" if near else f"it has {', '.join(sorted(known))}")
        )


def _to_hugging_face(spec: ModelSpec, state: StateDict) -> tuple[str, StateDict]:
    for convention in find_family(spec.family).conventions:
        if convention.marker in state:
            return convention.name, convention.convert(state)
    return "Hugging Face", state


def _fill(spec: ModelSpec, state: StateDict, overrides: dict[str, Any], file: Path) -> nn.Module:
    state = {name: tensor.float() for name, tensor in state.items() if tensor.is_floating_point()}
    reference = find_family(spec.family).reference
    module, wrong = reference.fill({**spec.config, **overrides}, state)
    if any(wrong):
        by_kind = wrong._asdict().items()
        found = "; ".join(f"{len(v)} {kind}: {_some(v)}" for kind, v in by_kind if v)
        raise WeightsError(
            f"{file.name} is not {spec.name}'s: {found}; choose the --model these weights belong to"
        )
    return module.float()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _folder_settings(folder: Path, spec: ModelSpec) -> dict[str, Any]:
    """What a Hugging Face folder knows better than the record: epsilon, labels, preprocessing."""
    settings: dict[str, Any] = {}
    config = read_json(folder / "config.json")
    kind = str(config.get("model_type", spec.family)).replace("-", "_")
    if kind not in (spec.family, "deit"):
        raise WeightsError(
            f"{folder} holds a {config['model_type']}, {spec.name} is a {spec.family}; choose the "
            "--model these weights belong to"
        )
    known = find_family(spec.family).reference.settings()
    settings["config"] = {k: config[k] for k in ("layer_norm_eps",) if k in config and k in known}
    names = config.get("id2label")
    if isinstance(names, dict) and len(names) == len(spec.labels):
        settings["labels"] = tuple(str(names[key]) for key in sorted(names, key=int))
    processor = read_json(folder / "preprocessor_config.json")
    if processor and isinstance(spec.preprocess, Preprocess):
        settings["preprocess"] = preprocess_from(processor, spec.preprocess)
    if processor and isinstance(spec.preprocess, Colours):
        settings["preprocess"] = colours_from(processor, spec.preprocess)
    return settings
