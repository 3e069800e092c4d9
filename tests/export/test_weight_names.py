"""Weights under every published naming fill the reference exactly."""

from __future__ import annotations

from pathlib import Path

import foreign_names as names
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import TINY
from tiny_specs import spec_of

from export.weights import load_reference

CASES = [
    pytest.param("vit", names.VIT_TIMM, "qkv.", "timm", id="vit-timm"),
    pytest.param("vit", names.VIT_TORCHVISION, "in_proj_", "torchvision", id="vit-torchvision"),
    pytest.param(
        "vit", names.VIT_TORCHVISION_012, "in_proj_", "torchvision", id="vit-torchvision-0.12"
    ),
    pytest.param("vit", {}, "", "Hugging Face", id="vit-transformers"),
    pytest.param("vit", names.VIT_TRANSFORMERS_4, "", "Hugging Face", id="vit-transformers-4"),
    pytest.param("swin", names.SWIN_AUTHORS, "qkv.", "timm", id="swin-authors"),
    pytest.param("swin", names.SWIN_TIMM, "qkv.", "timm", id="swin-timm"),
    pytest.param("swin", names.SWIN_TORCHVISION, "qkv.", "torchvision", id="swin-torchvision"),
    pytest.param("swin", {}, "", "Hugging Face", id="swin-transformers"),
    pytest.param("swin", names.SWIN_TRANSFORMERS_4, "", "Hugging Face", id="swin-transformers-4"),
    pytest.param("detr", names.DETR_AUTHORS, "in_proj_", "torchvision", id="detr-authors"),
    pytest.param("detr", {}, "", "Hugging Face", id="detr-transformers"),
    pytest.param("detr", names.DETR_HUB_WITHOUT_TIMM, "", "Hugging Face", id="detr-hub-no-timm"),
    pytest.param("detr", names.DETR_HUB_WITH_TIMM, "", "timm", id="detr-hub-timm"),
]


def buffers_of(family: str, foreign: names.State) -> names.State:
    """What a published file holds besides, and the reference computes itself."""
    extra: names.State = {}
    for name in foreign:
        if "relative_position_bias_table" in name:
            extra[name.replace("bias_table", "index")] = torch.zeros(16, 16, dtype=torch.int64)
        if family == "swin" and name.endswith(
            ("blocks.1.norm1.weight", "features.1.1.norm1.weight")
        ):
            extra[name.replace("norm1.weight", "attn_mask")] = torch.zeros(4, 16, 16)
        if family == "detr" and name.endswith("running_var"):
            batches = name.replace("running_var", "num_batches_tracked")
            extra[batches] = torch.zeros((), dtype=torch.int64)
    return extra


@pytest.mark.parametrize(("name", "table", "stacked", "convention"), CASES)
def test_every_tensor_arrives(
    tmp_path: Path, name: str, table: names.Table, stacked: str, convention: str
) -> None:
    state = TINY[name].module(seed=1).state_dict()
    foreign = names.renamed(state, table, stacked)
    foreign |= buffers_of(name, foreign)
    save_file({k: v.contiguous() for k, v in foreign.items()}, tmp_path / "w.safetensors")
    reference = load_reference(spec_of(name), str(tmp_path / "w.safetensors"))
    found = reference.module.state_dict()
    assert found.keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(found[key], tensor), key
    assert reference.source["naming"] == convention
    assert not reference.module.training


def test_torchvisions_names_bring_torchvisions_preprocessing(tmp_path: Path) -> None:
    foreign = names.renamed(TINY["vit"].module().state_dict(), names.VIT_TORCHVISION, "in_proj_")
    save_file(foreign, tmp_path / "w.safetensors")
    spec = spec_of("vit", preprocess_by_convention={"torchvision": {"size": 32, "std": [1, 1, 1]}})
    assert load_reference(spec, str(tmp_path / "w.safetensors")).preprocess.std == (1, 1, 1)
    assert spec.preprocess.std == (0.5, 0.5, 0.5)
