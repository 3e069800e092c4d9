"""The hybrid ViT: published size and names, section 3.1's tokens, and the exported graph."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from exported_models import logits_equal_to_pytorchs
from foreign_names import VIT_TIMM, VIT_TRANSFORMERS_4, Table, renamed
from safetensors.torch import save_file
from tiny_models import Tiny, inputs
from torch import nn
from torch.nn import functional

from export.spec import ModelSpec, find_model, load_models
from export.to_onnx import onnx_from_module
from export.weights import load_reference
from export.zoo import find_family

TINY = Tiny(
    "vit_hybrid",
    (32, 32),
    {
        "image_size": 32,
        "stem_width": 16,
        "stage_depths": [1, 2],
        "stage_widths": [32, 64],
        "num_groups": 4,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    },
)
BACKBONE = "vit.embeddings.patch_embeddings.backbone.bit."
# From the reference to timm; transformers' own conversion script of this model has the same pairs.
TIMM: Table = {
    rf"^{BACKBONE}embedder\.convolution": "patch_embed.backbone.stem.conv",
    rf"^{BACKBONE}embedder\.norm": "patch_embed.backbone.stem.norm",
    rf"^{BACKBONE}encoder\.stages\.(\d+)\.layers": r"patch_embed.backbone.stages.\1.blocks",
    **VIT_TIMM,
}
# float32 sums in another order: a few units in the last place for each of some twenty layers, on
# logits of order 1. An error in any weight or bias shows above 1e-2.
TOLERANCE = 5e-5


def test_the_full_size_model_has_the_published_parameters() -> None:
    # timm publishes 98.95 M for vit_base_r50_s16_384.
    record = find_model("vit_hybrid_b_16", load_models())
    with torch.device("meta"):
        module = find_family("vit_hybrid").reference.build(record.config)
    assert sum(parameter.numel() for parameter in module.parameters()) == 98_950_952
    positions = module.get_parameter("vit.embeddings.position_embeddings")
    assert positions.shape == (1, 24 * 24 + 1, 768)  # a token for each 16 x 16 pixels of 384


@torch.no_grad()
def test_tokens_are_the_cells_of_the_map_one_by_one() -> None:
    embedding = TINY.module().get_submodule("vit.embeddings.patch_embeddings")
    pixels = inputs(TINY, 2)["pixel_values"]
    (features,) = embedding.get_submodule("backbone")(pixels).feature_maps
    assert features.shape == (2, 64, 4, 4)  # two stages: eight pixels apart
    weight, bias = (embedding.get_parameter(f"projection.{name}") for name in ("weight", "bias"))
    tokens = embedding(pixels)
    for row, column in ((0, 0), (1, 2), (3, 3)):
        expected = features[:, :, row, column] @ weight[:, :, 0, 0].T + bias
        # Sums of 64 products in another order.
        torch.testing.assert_close(tokens[:, 4 * row + column], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_block_of_the_resnet_standardises_weights_and_normalises_groups() -> None:
    module = TINY.module()
    block = module.get_submodule(f"{BACKBONE}encoder.stages.0.layers.0")
    maps = torch.randn(2, 16, 5, 6, generator=torch.Generator().manual_seed(0))

    def unit(x: torch.Tensor, path: str, norm: str, padding: int = 0) -> torch.Tensor:
        kernel = block.get_parameter(f"{path}.weight").double()
        kernel = kernel - kernel.mean((1, 2, 3), keepdim=True)
        kernel = kernel / kernel.square().mean((1, 2, 3), keepdim=True).sqrt()
        groups = functional.conv2d(x, kernel, padding=padding).unflatten(1, (4, -1))
        groups = groups - groups.mean((2, 3, 4), keepdim=True)
        groups = groups / (groups.square().mean((2, 3, 4), keepdim=True) + 1e-5).sqrt()
        scale, offset = (block.get_parameter(f"{norm}.{name}") for name in ("weight", "bias"))
        return groups.flatten(1, 2) * scale[:, None, None] + offset[:, None, None]

    x = maps.double()
    inner = unit(unit(x, "conv1", "norm1").relu(), "conv2", "norm2", padding=1).relu()
    expected = unit(inner, "conv3", "norm3") + unit(x, "downsample.conv", "downsample.norm")
    # float32 against float64 through three layers whose outputs are of order 1.
    torch.testing.assert_close(block(maps).double(), expected.relu(), atol=2e-5, rtol=0)


def test_an_image_that_cells_do_not_tile_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^image_size 36: expected a multiple of 8, "):
        TINY.family.reference.build({**TINY.config, "num_labels": 7, "image_size": 36})


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return TINY.module()


@pytest.fixture(scope="module")
def graph(module: nn.Module) -> ir.Model:
    return onnx_from_module(module, TINY.family, TINY.inputs)


def test_every_batch_equals_pytorch(module: nn.Module, graph: ir.Model) -> None:
    logits_equal_to_pytorchs(TINY, module, graph, tolerance=TOLERANCE, varies=0.05)


def test_the_graph_has_the_operators_and_nothing_left_to_work_out(
    module: nn.Module, graph: ir.Model
) -> None:
    operators = Counter(node.op_type for node in graph.graph)
    assert operators["FusedAttention"] == TINY.config["num_hidden_layers"]
    assert operators["Softmax"] == 0
    norms = sum(isinstance(layer, nn.GroupNorm) for layer in module.modules())
    assert operators["InstanceNormalization"] == norms
    # The class token is repeated for the batch; every other shape is a constant.
    assert operators["Shape"] <= 1
    convolutions = [node for node in graph.graph if node.op_type == "Conv"]
    paths = {path for path, layer in module.named_modules() if isinstance(layer, nn.Conv2d)}
    assert {node.name for node in convolutions} == paths
    assert all(node.inputs[1].is_initializer() for node in convolutions)  # standardised before


def spec() -> ModelSpec:
    return ModelSpec(
        name="tiny", family="vit_hybrid", task="classification", weights={"hub": "nobody/nothing"},
        config={**TINY.config, "num_labels": 7}, preprocess={"size": 32}, labels=list("abcdefg"),
        drift={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("table", "convention"),
    [
        pytest.param(TIMM, "timm", id="timm"),
        pytest.param(VIT_TRANSFORMERS_4, "Hugging Face", id="hub"),
        pytest.param({}, "Hugging Face", id="own"),
    ],
)
def test_published_names_fill_every_tensor(tmp_path: Path, table: Table, convention: str) -> None:
    state = TINY.module(seed=1).state_dict()
    file = tmp_path / "model.safetensors"
    save_file({k: v.contiguous() for k, v in renamed(state, table).items()}, file)
    # As the published folder calls it.
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit-hybrid"}))
    for weights in (file, tmp_path):
        reference = load_reference(spec(), str(weights))
        found = reference.module.state_dict()
        assert reference.source["naming"] == convention
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
