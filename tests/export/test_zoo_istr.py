"""ISTR: its parameters, its parts against their definitions, and the exported graph."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from safe_forms import safe
from small_graphs import onnxruntime, run
from tiny_models import Tiny, example_images, inputs, reference_outputs
from torch import Tensor, nn
from torch.nn import functional

from export.spec import find_model, load_models
from export.to_onnx import onnx_from_module
from export.zoo import find_family
from export.zoo.istr import Istr
from export.zoo.istr_config import IstrConfig
from export.zoo.istr_stage import DynamicConvolution, SelfAttention, moved
from export.zoo.mask_embedding import MaskEmbedding

TINY = Tiny(
    "istr",
    (64, 64),
    {
        "image_size": [64, 64],
        "num_queries": 6,
        "stages": 2,
        "width": 16,
        "heads": 2,
        "feedforward": 24,
        "dynamic_width": 4,
        "head_layers": 1,
        "pool_size": 3,
        "canonical_size": 32,
        "mask_side": 6,
        "mask_size": 5,
        "layer_type": "basic",
        "embedding_size": 8,
        "hidden_sizes": [8, 12, 16],
        "depths": [1, 1, 1],
    },
)
# float32 sums in another order: a few units in the last place for each of some thirty layers, on
# values of order 10. A box or weight that is wrong shows above 1e-1.
TOLERANCE = 1e-4


def linear(inside: int, outside: int, *, bias: bool = True) -> int:
    return inside * outside + bias * outside


def test_the_full_size_model_has_the_parameters_of_its_parts() -> None:
    record = find_model("istr_r50", load_models())
    assert record.weights is None and len(set(record.labels)) == record.config["num_labels"]
    with torch.device("meta"):
        module = find_family("istr").reference.build(record.config)
    width, norm = 256, 2 * 256
    heads = 3 * 3 * (linear(width, width, bias=False) + norm)
    heads += linear(width, 80) + linear(width, 4) + linear(width, 60)
    dynamic = linear(width, 2 * width * 64) + 2 * 64 + norm
    dynamic += linear(7 * 7 * width, width) + norm
    feedforward = linear(width, 2048) + linear(2048, width)
    stage = 4 * linear(width, width) + dynamic + feedforward + 3 * norm + heads
    # What the authors' own module of a stage counts, six times.
    assert 6 * stage == 81_486_432
    pyramid = sum(linear(channels, width) for channels in (256, 512, 1024, 2048))
    pyramid += 4 * linear(9 * width, width)
    # ResNet-50 as torchvision counts it, without its classifier of 1000.
    backbone = 25_557_032 - linear(2048, 1000)
    masks = (60 + 1) * 28**2 + 60
    total = backbone + pyramid + 6 * stage + 300 * (width + 4) + masks
    assert sum(parameter.numel() for parameter in module.parameters()) == total == 108_464_732


def built() -> Istr:
    """A tiny reference whose boxes are spread over the image and beyond, of all sizes."""
    module = TINY.module()
    assert isinstance(module, Istr) and isinstance(module.mask_embedding, MaskEmbedding)
    generator = torch.Generator().manual_seed(1)
    module.mask_embedding.fit(torch.rand(50, 6, 6, generator=generator) > 0.5)
    with torch.no_grad():
        module.boxes[:, :2] = torch.rand(6, 2, generator=generator)
        module.boxes[:, 2:] = torch.linspace(0.1, 1.2, 6)[:, None]
        for stage in module.stages:
            # Steps of the size that training leaves: the next stage's boxes are sound ones.
            stage.box_head[-1].weight.mul_(0.2)  # type: ignore[operator,union-attr,index]
    return module


@pytest.fixture(scope="module")
def exported() -> tuple[Istr, ir.Model]:
    module = built()
    return module, onnx_from_module(module, TINY.family, TINY.inputs)


@pytest.mark.parametrize("batch", [1, 3])
def test_every_batch_equals_pytorch(exported: tuple[Istr, ir.Model], batch: int) -> None:
    module, model = exported
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    tensors = inputs(TINY, batch, seed=batch)
    expected = reference_outputs(module, TINY, tensors)
    found = session.run(None, {"pixel_values": tensors["pixel_values"].numpy()})
    for output, (name, wanted) in zip(found, expected.items(), strict=True):
        np.testing.assert_allclose(output, wanted, atol=TOLERANCE, rtol=0, err_msg=name)
        # Queries differ, and images do: neither attention nor a box was lost.
        assert wanted.std(axis=1).mean() > 0.05
        assert batch == 1 or wanted.std(axis=0).mean() > 0.02
    assert [output.shape for output in found] == [(batch, 6, 7), (batch, 6, 4), (batch, 6, 6, 6)]


def test_operators_are_fused_and_norms_are_folded(exported: tuple[Istr, ir.Model]) -> None:
    operators = Counter(node.op_type for node in exported[1].graph)
    assert operators["FusedAttention"] == 2
    assert operators["RoiAlign"] == 2 * 3  # stages, levels
    assert operators["Softmax"] == operators["BatchNormalization"] == operators["Sigmoid"] == 0
    names = {str(node.name) for node in exported[1].graph}
    # Of all but the last stage only the boxes are used.
    assert {"stages.0.box_head.3", "stages.1.class_head.3", "mask_embedding.0"} <= names
    assert not {"stages.0.class_head.3", "stages.0.mask_head.3"} & names


def test_regions_survive_in_tensorrts_form(exported: tuple[Istr, ir.Model]) -> None:
    lowered = safe(exported[1], "RoiAlign")
    pixels = {"pixel_values": inputs(TINY, 2)["pixel_values"].numpy()}
    for found, expected in zip(run(lowered, pixels), run(exported[1], pixels), strict=True):
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_each_stage_begins_where_the_one_before_it_ended() -> None:
    module = built()
    given: list[tuple[Tensor, ...]] = []
    for stage in module.stages:
        stage.register_forward_pre_hook(lambda _, arguments: given.append(arguments))
    pixels = inputs(TINY, 2)["pixel_values"]
    first, last = module.refine(pixels)
    centres, sides = module.boxes[:, :2], module.boxes[:, 2:]
    corners = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    torch.testing.assert_close(given[0][1], corners.expand(2, -1, -1))
    torch.testing.assert_close(given[1][1], first.boxes)
    outputs = module(pixels)
    torch.testing.assert_close(outputs["boxes"], last.boxes)
    torch.testing.assert_close(outputs["logits"], last.logits)
    maps = module.pyramid(module.backbone(pixels).feature_maps)
    average = sum(each.mean((2, 3)) for each in maps)
    torch.testing.assert_close(given[0][2], average[:, None] + module.positions)


def test_before_training_every_box_is_the_whole_image() -> None:
    module = find_family("istr").reference.build({"num_labels": 7, **TINY.config})
    assert isinstance(module, Istr)
    assert module.boxes.tolist() == [[0.5, 0.5, 1, 1]] * 6
    logits = module(torch.zeros(1, 3, 64, 64))["logits"]
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, abs=0.02)


@torch.no_grad()
def test_attention_is_pytorchs_own() -> None:
    own = SelfAttention(16, 4)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    parts = [own.q_proj, own.k_proj, own.v_proj]
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(own.o_proj.state_dict())
    queries = torch.randn(2, 5, 16)
    expected, _ = theirs(queries, queries, queries)
    # Some four operations of unit scale.
    torch.testing.assert_close(own(queries), expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_each_query_convolves_its_own_boxes_features() -> None:
    """Sun et al. 2021, figure 4 (dynamic head), one query at a time."""
    layer = DynamicConvolution(8, 3, 4)
    queries, features = torch.randn(2, 3, 8), torch.randn(6, 4, 8)
    found = layer(queries, features)
    for index, (query, bins) in enumerate(zip(queries.flatten(0, 1), features, strict=True)):
        made = layer.make(query)
        first, second = made[:24].reshape(8, 3), made[24:].reshape(3, 8)
        picture = bins.T.reshape(1, 8, 2, 2)
        inner = functional.conv2d(picture, first.T[..., None, None]).permute(0, 2, 3, 1)
        inner = functional.elu(layer.inner_norm(inner)).permute(0, 3, 1, 2)
        outer = functional.conv2d(inner, second.T[..., None, None]).permute(0, 2, 3, 1)
        outer = functional.elu(layer.outer_norm(outer)).flatten()
        expected = functional.elu(layer.norm(layer.gather(outer)))
        # Normalised values; a dozen roundings.
        torch.testing.assert_close(found.flatten(0, 1)[index], expected, atol=1e-5, rtol=0)


def test_boxes_move_by_halves_of_their_sides_and_grow_by_a_factor() -> None:
    box = torch.tensor([[0.2, 0.4, 0.6, 0.6]])  # 0.4 x 0.2 around (0.4, 0.5)
    assert moved(box, torch.zeros(1, 4)).tolist()[0] == pytest.approx([0.2, 0.4, 0.6, 0.6])
    found = moved(box, torch.tensor([[1.0, -2.0, np.log(2), np.log(0.5)]]))
    # Around (0.4 + 0.4 / 2, 0.5 - 0.2), now 0.8 x 0.1.
    assert found.tolist()[0] == pytest.approx([0.2, 0.25, 1.0, 0.35], abs=1e-6)
    wide = moved(box, torch.tensor([[0.0, 0.0, 100.0, 0.0]]))
    assert (wide[0, 2] - wide[0, 0]).item() == pytest.approx(0.4 * 100_000 / 16, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, r"width 16 is not a multiple of heads 3"),
        ({"depths": [1, 1]}, r"depths has 2 stages, hidden_sizes 3; give one each"),
        ({"image_size": [64, 72]}, r"\[64, 72\] is not of multiples of 16"),
    ],
    ids=["heads", "depths", "image"],
)
def test_a_configuration_that_makes_no_sense_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IstrConfig(**{**TINY.config, **changes})


@pytest.mark.slow
def test_the_full_size_graph_holds_the_model() -> None:
    record = find_model("istr_r50", load_models())
    family = find_family("istr")
    module = family.reference.build(record.config).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = onnx_from_module(module, family, example_images(800, 1344))
    operators = Counter(node.op_type for node in model.graph)
    assert operators["FusedAttention"] == 6 and operators["RoiAlign"] == 24
    shapes: dict[str, Any] = {v.name: [str(d) for d in v.shape] for v in model.graph.outputs}
    assert shapes == {
        "logits": ["batch", "300", "80"],
        "boxes": ["batch", "300", "4"],
        "masks": ["batch", "300", "28", "28"],
    }
