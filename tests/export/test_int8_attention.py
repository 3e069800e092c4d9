"""The further INT8 graph of a device kit: attention in int8 where that is measured faithful."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from exported_models import Exported
from small_graphs import operators, run
from tiny_models import inputs

from calibration.attention import float_scores
from calibration.calibrate import Settings
from calibration.quantise import quantised_from_onnx
from export import int8_attention
from export.answers import SingleImages
from export.int8_attention import with_int8_attention
from export.lowering.for_tensorrt import lowered_for_tensorrt
from export.lowering.tensorrt_support import check_supported
from export.typed import Typed, float_parts_in_half


class Images(SingleImages):
    """Inputs of one image each that are there already."""

    def __init__(self, feeds: list[dict[str, np.ndarray]]) -> None:
        self.feeds = feeds

    def first(self, count: int) -> Images:
        return Images(self.feeds[:count])

    def __iter__(self):
        return iter(self.feeds)


def single_images(exported: Exported, count: int) -> Images:
    return Images(
        [
            {name: tensor.numpy() for name, tensor in inputs(exported.tiny, 1, seed=seed).items()}
            for seed in range(count)
        ]
    )


def quantised(exported: Exported, images: Images) -> Typed:
    found = quantised_from_onnx(exported.model, images.feeds, Settings())
    return Typed(found.model, found.precision_map)


def int8_products(model: ir.Model) -> list[ir.Node]:
    """Products of two activations, both dequantised right before."""
    return [
        node
        for node in model.graph
        if node.op_type == "MatMul"
        and all(v.producer() is not None for v in node.inputs)
        and all(v.producer().op_type == "DequantizeLinear" for v in node.inputs)
        and all(v.producer().inputs[0].producer() is not None for v in node.inputs)
    ]


class Windows(NamedTuple):
    """A tiny Swin in INT8, with float and with int8 attention."""

    exported: Exported
    typed: Typed
    attention: Typed
    told: list[str]
    plain: ir.Model
    graph: ir.Model


@pytest.fixture(scope="module")
def windows(export_tiny: Callable[[str], Exported]) -> Windows:
    exported, told = export_tiny("swin"), list[str]()
    images = single_images(exported, 4)
    typed = quantised(exported, images)
    found = with_int8_attention(typed, images, told.append)
    assert found is not None
    halves = [float_parts_in_half(each, images) for each in (typed, found)]
    graphs = [lowered_for_tensorrt(half.model, "primitives") for half in halves]
    return Windows(exported, halves[0], halves[1], told, *graphs)


def test_windows_become_int8(windows: Windows) -> None:
    assert windows.told[0].startswith(
        "int8 attention: 4 of 4 qualify; 4 are of a size that is fused"
    )
    check_supported(windows.graph, 20)
    onnx.checker.check_model(ir.to_proto(windows.graph), full_check=True)
    products = int8_products(windows.graph)
    assert len(products) == 8
    assert not int8_products(windows.plain)
    assert {product.inputs[0].dtype for product in products} == {ir.DataType.FLOAT16}
    # Besides eight times a Q/DQ on two operands nothing is added.
    added = Counter(operators(windows.graph)) - Counter(operators(windows.plain))
    assert added == {"QuantizeLinear": 16, "DequantizeLinear": 16}


def test_int8_windows_cost_little(windows: Windows) -> None:
    tiny = windows.exported.tiny
    feed = {key: tensor.numpy() for key, tensor in inputs(tiny, 3, seed=9).items()}
    exact = run(windows.exported.model, feed)[0]
    ours, theirs = run(windows.graph, feed)[0], run(windows.plain, feed)[0]
    # The limit is of each attention's output; at the logits the linears' own error dominates.
    assert np.square(ours - exact).sum() < 4 * np.square(theirs - exact).sum()
    singles = [run(windows.graph, {k: v[i : i + 1] for k, v in feed.items()})[0] for i in range(3)]
    # Float16 between the same integers: one unit in the last place of values up to 4.
    np.testing.assert_allclose(ours, np.concatenate(singles), atol=4e-3)


def test_the_precision_map_says_what_was_measured(windows: Windows) -> None:
    decided = windows.attention.precision_map
    entries = {n: e for n, e in decided.items() if e["why"].startswith("both products")}
    assert {entry["type"] for entry in entries.values()} == {"int8"}
    assert len(entries) == 4
    # The first product of each carries the name, so that an engine's inspector is asked about it.
    assert set(entries) <= {str(node.name) for node in int8_products(windows.graph)}


def test_the_rest_of_a_mixed_graph_stays_float(
    export_tiny: Callable[[str], Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tiny ViT's last block has one query, the class token's, which no kernel is made for.
    monkeypatch.setattr(int8_attention, "LIMIT", 1.0)
    exported = export_tiny("vit")
    images = single_images(exported, 4)
    typed = quantised(exported, images)
    attention = with_int8_attention(typed, images, lambda text: None)
    assert attention is not None
    graph = lowered_for_tensorrt(attention.model, "primitives")
    assert len(int8_products(graph)) == 2
    softmaxes = [node for node in graph.graph if node.op_type == "Softmax"]
    readers = [next(iter(node.outputs[0].uses())).node.op_type for node in softmaxes]
    assert readers == ["QuantizeLinear", "MatMul"]
    left = [entry for entry in attention.precision_map.values() if "queries" in entry["why"]]
    assert len(left) == 1


def test_attention_over_the_limit_makes_no_graph(
    export_tiny: Callable[[str], Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    exported, told = export_tiny("swin"), list[str]()
    images = single_images(exported, 2)
    typed = quantised(exported, images)
    monkeypatch.setattr(int8_attention, "LIMIT", 1e-9)
    assert with_int8_attention(typed, images, told.append) is None
    assert "0 of 4 qualify" in told[0]
    before = [node.op_type for node in float_scores(typed.model.clone()).graph]
    assert "WindowAttention" in before  # and the graph that was asked about is as it was
