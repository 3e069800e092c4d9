"""ResNet: published sizes and names, and a graph of nothing but folded convolutions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from exported_models import logits_equal_to_pytorchs
from foreign_names import RESNET_TORCHVISION, renamed
from safetensors.torch import save_file
from tiny_models import Tiny
from torch import nn

from export.processor_config import preprocess_from
from export.spec import ModelSpec, find_model, load_models
from export.to_onnx import onnx_from_module
from export.weights import load_reference
from export.zoo import find_family
from export.zoo.folding import fold_norm

CONFIG = {"depths": [2, 1], "embedding_size": 16, "hidden_sizes": [32, 64]}
TINY = {
    kind: Tiny("resnet", (64, 64), {**CONFIG, "layer_type": kind})
    for kind in ("bottleneck", "basic")
}
# float32 sums in another order: a few units in the last place for each of some ten layers, on
# logits of order 10, of which images decide some tenths.
TOLERANCE = 1e-4


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet_50", 25_557_032), ("resnet_101", 44_549_160)]
)
def test_full_size_models_have_the_published_parameters(name: str, parameters: int) -> None:
    # Counts that torchvision publishes with its ResNet50_Weights and ResNet101_Weights.
    record = find_model(name, load_models())
    with torch.device("meta"):
        module = find_family("resnet").reference.build(record.config)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


@pytest.fixture(scope="module", params=TINY)
def exported(request: pytest.FixtureRequest) -> tuple[Tiny, nn.Module, ir.Model]:
    tiny = TINY[request.param]
    module = tiny.module()
    return tiny, module, onnx_from_module(module, tiny.family, tiny.inputs)


def test_every_batch_equals_pytorch(exported: tuple[Tiny, nn.Module, ir.Model]) -> None:
    tiny, module, model = exported
    logits_equal_to_pytorchs(tiny, module, model, tolerance=TOLERANCE, varies=0.1)


def test_the_graph_has_no_norms_and_every_convolution_a_bias(
    exported: tuple[Tiny, nn.Module, ir.Model],
) -> None:
    _, module, model = exported
    operators = Counter(node.op_type for node in model.graph)
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    assert len(convolutions) == sum(isinstance(m, nn.Conv2d) for m in module.modules())
    assert all(len(node.inputs) == 3 for node in convolutions)
    assert operators["BatchNormalization"] == operators["Softmax"] == 0
    assert operators["Add"] == sum(CONFIG["depths"])  # residual sums only
    for node in convolutions:
        assert {use.node.op_type for use in node.outputs[0].uses()} <= {"Relu", "Add"}, node.name


@pytest.mark.parametrize("kind", TINY)
def test_torchvisions_names_fill_every_tensor(tmp_path: Path, kind: str) -> None:
    tiny = TINY[kind]
    state = tiny.module(seed=1).state_dict()
    foreign = renamed(state, RESNET_TORCHVISION)
    assert not [name for name in foreign if name.startswith("resnet")]
    save_file({k: v.contiguous() for k, v in foreign.items()}, tmp_path / "w.safetensors")
    spec = ModelSpec(
        name="tiny", family="resnet", task="classification", weights={"hub": "nobody/nothing"},
        config={**tiny.config, "num_labels": 7}, preprocess={"size": 64},
        labels=list("abcdefg"), drift={},
    )  # fmt: skip
    reference = load_reference(spec, str(tmp_path / "w.safetensors"))
    found = reference.module.state_dict()
    assert reference.source["naming"] == "torchvision"
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):  # counts training's batches; nothing reads it
            assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    "size", [224, {"shortest_edge": 224}, 384], ids=["crop", "edge", "squeeze"]
)
def test_a_published_folders_preprocessing_is_transformers_own(size: Any) -> None:
    pil = pytest.importorskip("transformers.models.convnext.image_processing_pil_convnext")
    record = find_model("resnet_50", load_models()).preprocess
    # As published with microsoft/resnet-50, but for its size.
    published = {
        "feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "size": size,
        "image_mean": list(record.mean), "image_std": list(record.std), "resample": 3,
    }  # fmt: skip
    side = 384 if size == 384 else 224
    found = preprocess_from(published, replace(record, crop=side))
    assert (found == record) == (side == 224)  # which says what the folder says
    frame = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    processor = pil.ConvNextImageProcessorPil(**published)
    expected = processor(frame, input_data_format="channels_last", return_tensors="np")
    ours = found([frame]).inputs["pixel_values"]
    assert ours.shape == (1, 3, side, side)
    # float32 in another order, on values of order 1.
    np.testing.assert_allclose(ours, expected["pixel_values"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@torch.no_grad()
def test_a_folded_norm_computes_the_same(bias: bool) -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 8, 3, bias=bias), nn.BatchNorm2d(8, eps=0.1).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    pixels = torch.randn(2, 3, 6, 6)
    expected = norm(convolution(pixels))
    fold_norm(convolution, norm)
    # A few float32 roundings of sums of 27 products of order 1.
    torch.testing.assert_close(convolution(pixels), expected, atol=1e-5, rtol=0)
