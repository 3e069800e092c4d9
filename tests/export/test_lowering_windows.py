"""Window attention as permutations: the operator's own values, in the fewest steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from exported_models import Exported
from onnx import helper
from onnx.reference import ReferenceEvaluator
from small_graphs import graph_of, operators, run
from tiny_models import inputs, reference_outputs

from calibration.calibrate import Settings
from calibration.half import half_from_onnx
from calibration.quantise import quantised_from_onnx
from export.lowering.cpu import RULES, lowered
from export.lowering.windows import window_order
from export.spec import find_model, load_models
from export.to_onnx import example_inputs, onnx_from_module
from export.weights import load_reference
from export.zoo import find_family

random = np.random.default_rng(0)


def window_attention(
    height: int, width: int, window: int, shift: int, heads: int, bias: np.ndarray
) -> ir.Model:
    node = helper.make_node(
        "WindowAttention", ["qkv", "bias"], ["y"], domain="vitrine",
        window=window, shift=shift, heads=heads, scale=0.5,
    )  # fmt: skip
    values = {"qkv": ("n", height, width, 24 * heads), "y": ("n", height, width, 8 * heads)}
    return graph_of([node], values, {"bias": bias}, ("WindowAttention",))


def bias_of(heads: int, window: int) -> np.ndarray:
    return random.normal(size=(heads, window**2, window**2)).astype("f")


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize(
    ("height", "width", "window", "shift", "heads"),
    [
        pytest.param(8, 8, 4, 0, 2, id="four-windows"),
        pytest.param(8, 8, 4, 2, 2, id="shifted"),
        pytest.param(6, 9, 3, 1, 1, id="oblong-uneven-shift"),
        pytest.param(4, 4, 4, 0, 3, id="one-window"),
    ],
)
def test_it_equals_the_operators_body(
    height: int, width: int, window: int, shift: int, heads: int, batch: int
) -> None:
    portable = window_attention(height, width, window, shift, heads, bias_of(heads, window))
    qkv = random.normal(size=(batch, height, width, 24 * heads)).astype("f")
    expected = ReferenceEvaluator(ir.to_proto(portable)).run(None, {"qkv": qkv})[0]
    found = run(lowered(portable), {"qkv": qkv})[0]
    # Another back end sums 8 products of a score and 16 of an output in another order: a few
    # units in the last place (1.2e-7) of values up to 4.
    np.testing.assert_allclose(found, expected, atol=5e-6, rtol=0)


def test_without_shift_the_order_is_the_only_thing_to_gather() -> None:
    # The thirds of a graph input stay a Split; three linears before them would be none.
    assert operators(lowered(window_attention(8, 8, 4, 0, 1, bias_of(1, 4)))) == [
        "Reshape", "Split", "Gather", "Gather", "Gather",
        "Reshape", "Transpose", "Reshape", "Transpose", "Reshape", "Transpose",
        "Mul", "Transpose", "MatMul", "Add", "Softmax", "MatMul", "Transpose",
        "Reshape", "Gather", "Reshape",
    ]  # fmt: skip


def test_one_window_gathers_nothing() -> None:
    assert "Gather" not in operators(lowered(window_attention(4, 4, 4, 0, 1, bias_of(1, 4))))


def test_blocks_of_a_stage_share_one_mask() -> None:
    call = {"domain": "vitrine", "window": 4, "heads": 1, "scale": 0.5, "shift": 2}
    nodes = [
        helper.make_node("WindowAttention", ["qkv", "bias"], ["a"], **call),
        helper.make_node("WindowAttention", ["qkv", "other"], ["b"], **call),
        helper.make_node("Sub", ["a", "b"], ["y"]),
    ]
    values = {"qkv": ("n", 8, 8, 24), "y": ("n", 8, 8, 8)}
    biases = {"bias": bias_of(1, 4), "other": bias_of(1, 4)}
    found = Counter(operators(lowered(graph_of(nodes, values, biases, ("WindowAttention",)))))
    assert (found["Softmax"], found["Tile"]) == (2, 1)


def test_window_order_is_the_authors_partition() -> None:
    rows = window_order(4, 6, 2, 1)
    grid = np.arange(24).reshape(4, 6)
    # By hand: the first window of the map rolled up and left by one; then the last.
    assert rows[:4].tolist() == [grid[1, 1], grid[1, 2], grid[2, 1], grid[2, 2]]
    assert rows[-4:].tolist() == [grid[3, 5], grid[3, 0], grid[0, 5], grid[0, 0]]
    assert sorted(rows) == list(range(24))


@pytest.mark.parametrize("name", ["swin", "swin_padded", "swin_odd"])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_lowered_swin_answers_as_pytorch(
    export_tiny: Callable[[str], Exported], name: str, batch: int
) -> None:
    exported = export_tiny(name)
    tensors = inputs(exported.tiny, batch)
    expected = reference_outputs(exported.module, exported.tiny, tensors)["logits"]
    found = run(exported.lowered, {k: v.numpy() for k, v in tensors.items()})[0]
    # Float32 through four blocks, in two back ends: logits of order 1, dozens of roundings.
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)


def test_a_trained_swin_answers_as_pytorch() -> None:
    spec = find_model("swin_tiny_shapes", load_models())
    reference = load_reference(spec, None, 0)
    portable = onnx_from_module(
        reference.module, find_family("swin"), example_inputs(spec.preprocess)
    )
    pixels = torch.randn(
        3, 3, *spec.preprocess.image_size, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        expected = reference.module(pixel_values=pixels)["logits"].numpy()
    found = run(lowered(portable), {"pixel_values": pixels.numpy()})[0]
    # Float32 through six blocks, relative to logits of up to 10.
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_a_swin_gathers_only_where_the_order_changes(
    export_tiny: Callable[[str], Exported],
) -> None:
    found = Counter(operators(export_tiny("swin").lowered))
    # Into windows, into shifted windows, and into groups to merge; one window is in order.
    assert found["Gather"] == 3
    # Query, key twice, value and output of four blocks; pixels to patches; tokens to the pooler.
    assert found["Transpose"] == 4 * 5 + 1 + 1
    # One mask, of the only shifted block.
    assert found["Tile"] == 1
    assert {"Slice", "Split", "Range", "Mod", "Cast"}.isdisjoint(found)


@pytest.mark.parametrize("name", ["swin", "swin_padded"])
@pytest.mark.parametrize("typed", ["int8", "fp16"])
def test_typed_graphs_keep_their_values(
    export_tiny: Callable[[str], Exported], name: str, typed: str
) -> None:
    exported = export_tiny(name)
    images = [
        {k: v.numpy() for k, v in inputs(exported.tiny, 1, seed=seed).items()} for seed in range(4)
    ]
    if typed == "fp16":
        model = half_from_onnx(exported.model, images).model
    else:
        model = quantised_from_onnx(exported.model, images, Settings(threads=1)).model
    feed = {"pixel_values": np.concatenate([image["pixel_values"] for image in images[:3]])}
    # Rounding to float16 or int8 follows the same float values, so only a last-place difference
    # that crosses a rounding boundary can show: one step of one term among the 48 of a sum.
    np.testing.assert_allclose(run(lowered(model), feed)[0], run(model, feed)[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("left_out", [rule.name for rule in RULES if "primitives" not in rule.name])
def test_no_rule_needs_another(export_tiny: Callable[[str], Exported], left_out: str) -> None:
    exported = export_tiny("swin_padded")
    found = lowered(exported.model, [rule for rule in RULES if rule.name != left_out])
    feed = {k: v.numpy() for k, v in inputs(exported.tiny, 2).items()}
    np.testing.assert_allclose(run(found, feed)[0], run(exported.model, feed)[0], atol=2e-5, rtol=0)
