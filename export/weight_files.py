"""Where weights are and what is in their files: a hub, a folder, safetensors or a plain pickle."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from export.spec import ROOT, ModelSpec
from export.zoo.family import StateDict

_HUB_FILES = ["config.json", "preprocessor_config.json", "model.safetensors", "merges.txt"]


class WeightsError(ValueError):
    """Weights that cannot be read, or that are not this model's, in one line."""


def locate(spec: ModelSpec, weights: str | None) -> Path:
    """The file or folder that `--weights` means; None is the record's own. Downloads from a hub.

    Raises:
        WeightsError: nothing there, or the hub did not give it.
    """
    if weights is None:
        return _own(spec)
    if Path(weights).exists():
        return Path(weights)
    suffix = Path(weights).suffix
    looks_like_path = weights.count("/") != 1 or weights.startswith((".", "/", "~")) or suffix
    if looks_like_path and suffix in (".safetensors", ".pth", ".pt", ".bin", ""):
        raise WeightsError(
            f"--weights {weights}: no such file or folder; give a safetensors or .pth state dict, "
            "a Hugging Face folder, a hub id (owner/name), or random"
        )
    return _download(weights, "main")


def _own(spec: ModelSpec) -> Path:
    """The weights that a record names."""
    if spec.weights is None:
        raise WeightsError(
            f"{spec.name} has no published weights that can be read here; pass --weights PATH (a "
            "state dict in its own names), or --weights random"
        )
    if spec.weights.file:
        return ROOT / spec.weights.file
    return _download(str(spec.weights.hub), spec.weights.revision)


def _download(hub_id: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(hub_id, revision=revision, allow_patterns=_HUB_FILES)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"the hub did not give {hub_id} ({type(error).__name__}); connect to it once, or pass "
            "--weights PATH (a local file or folder) or --weights random"
        ) from error
    return Path(folder)


def weight_file(folder: Path) -> Path:
    """The state dict within a Hugging Face folder; `WeightsError` when there is none."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(
        f"{folder} holds no model.safetensors; expected a Hugging Face model folder: point "
        "--weights at one, or at a state dict file"
    )


def read_state(file: Path) -> tuple[StateDict, str]:
    """A state dict and the sha256 of its file; pickles that hold code are refused."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise WeightsError(f"{file}: {error.strerror}; check the path and its rights") from error
    digest = hashlib.sha256(data).hexdigest()
    try:
        if file.suffix == ".safetensors":
            return load_safetensors(data), digest
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(
            f"{file.name} is not a whole safetensors file ({error}); download or copy it again"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{file.name} is not a plain state dict, and pickles that run code are refused; "
            "convert it to safetensors where you trust it"
        ) from error
    for key in ("model", "state_dict", "model_state"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(
        isinstance(t, torch.Tensor) for t in loaded.values()
    ):
        raise WeightsError(
            f"{file.name} holds {type(loaded).__name__}, expected tensors by name; save "
            "`model.state_dict()`"
        )
    return loaded, digest


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file, `WeightsError` where it is not JSON."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise WeightsError(f"{file} is not JSON ({error}); download it again") from error
    return record if isinstance(record, dict) else {}
