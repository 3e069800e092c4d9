"""Lowering for TensorRT: every form computes what the portable graph does.

TensorRT itself does not run here, so ONNX Runtime runs the primitive form, ONNX's reference
evaluator its own Attention, and the plugin nodes run as the local functions that they replace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from exported_models import Exported
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_graphs import graph_of, operators, run
from tiny_models import inputs

from calibration.attention import attentions, float_scores
from calibration.calibrate import Settings
from calibration.half import half_from_onnx
from calibration.quantise import Quantised, quantised_from_onnx
from export.lowering.for_tensorrt import FORMS, lowered_for_tensorrt
from export.lowering.plugin_nodes import plugin_name
from export.lowering.tensorrt_support import check_supported
from export.operators import DOMAIN, local_functions

random = np.random.default_rng(0)
# Sums in another order: a few units in the last place of values of order 1, through layers.
FLOAT32 = 2e-5
# The same, in float16 (2^-11 relative): roundings of intermediate values of up to 4 differ.
FLOAT16 = 2e-2


def as_functions(model: ir.Model) -> ir.Model:
    """The graph with every plugin node as a call of the local function that it stands for."""
    copy = model.clone()
    bodies = local_functions()
    for node in copy.graph:
        for name, body in bodies.items():
            if node.op_type == plugin_name(name):
                node.op_type = name
                del node.attributes["plugin_namespace"], node.attributes["plugin_version"]
                if name == "FusedAttention" and len(node.inputs) == 3:
                    zero = ir.Value(
                        name=f"{node.name}.zero", type=node.inputs[0].type, shape=ir.Shape([1]),
                        const_value=ir.tensor(np.zeros(1, node.inputs[0].dtype.numpy())),
                    )  # fmt: skip
                    copy.graph.register_initializer(zero)
                    node.resize_inputs(4)
                    node.replace_input_with(3, zero)
                copy.functions[body.identifier()] = body
    copy.opset_imports[DOMAIN] = 1
    return copy


def outputs(model: ir.Model, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    if "Attention" in operators(model):
        return list(ReferenceEvaluator(ir.to_proto(model)).run(None, feed))
    return run(as_functions(model), feed)


def feed_of(exported: Exported, batch: int) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in inputs(exported.tiny, batch).items()}


@cache
def float_form(exported: Exported, form: str) -> ir.Model:
    return lowered_for_tensorrt(exported.model, form)


@cache
def half(exported: Exported) -> ir.Model:
    return half_from_onnx(exported.model, [feed_of(exported, 2)]).model


@cache
def int8(exported: Exported) -> Quantised:
    return quantised_from_onnx(exported.model, [feed_of(exported, 2)], Settings("minmax"))


@cache
def int8_in_half(exported: Exported) -> ir.Model:
    return half_from_onnx(int8(exported).model, [feed_of(exported, 2)]).model


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("name", ["vit", "swin", "swin_padded", "swin_odd", "detr"])
def test_every_form_equals_the_portable_graph(
    name: str, form: str, batch: int, export_tiny: Callable[[str], Exported]
) -> None:
    exported = export_tiny(name)
    feed = feed_of(exported, batch)
    found = outputs(float_form(exported, form), feed)
    for ours, theirs in zip(found, run(exported.model, feed), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=FLOAT32, rtol=0)


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("name", ["vit", "swin_padded", "detr"])
def test_every_form_of_a_float16_graph_is_float16(
    name: str, form: str, export_tiny: Callable[[str], Exported]
) -> None:
    exported = export_tiny(name)
    feed = feed_of(exported, 2)
    lowered = lowered_for_tensorrt(half(exported), form)
    for ours, theirs in zip(outputs(lowered, feed), run(half(exported), feed), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=FLOAT16, rtol=0)
    attention = {"primitives": "Softmax", "plugin": "VitrineFusedAttention", "onnx": "Attention"}
    if name == "swin_padded":
        attention["plugin"] = "VitrineWindowAttention"
    found = [node for node in lowered.graph if node.op_type == attention[form]]
    assert found
    assert {value.dtype for node in found for value in node.inputs} == {ir.DataType.FLOAT16}


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("name", ["vit", "swin", "detr"])
def test_int8_without_int8_scores(
    name: str, form: str, export_tiny: Callable[[str], Exported]
) -> None:
    exported = export_tiny(name)
    feed = feed_of(exported, 2)
    quantised = int8(exported)
    lowered = lowered_for_tensorrt(float_scores(quantised.model.clone()), form)
    linears = sum(
        entry["type"] == "int8" and entry["why"] == "a linear layer"
        for entry in quantised.precision_map.values()
    )
    in_int8 = [
        node
        for node in lowered.graph
        if node.op_type in ("MatMul", "Gemm", "Conv")
        and all(v.producer() is not None for v in node.inputs[:2])
        and [v.producer().op_type for v in node.inputs[:2]] == ["DequantizeLinear"] * 2
    ]
    assert len(in_int8) == linears
    assert attentions(exported.model)
    # Without the roundings of queries and keys the outputs are nearer the float graph's.
    float_outputs = run(exported.model, feed)
    for ours, theirs, exact in zip(
        outputs(lowered, feed), run(quantised.model, feed), float_outputs, strict=True
    ):
        assert np.abs(ours - exact).mean() <= 1.2 * np.abs(theirs - exact).mean()


def test_plugins_leave_no_local_function_and_name_their_namespace(
    export_tiny: Callable[[str], Exported],
) -> None:
    lowered = float_form(export_tiny("swin"), "plugin")
    found = [node for node in lowered.graph if node.op_type.startswith("Vitrine")]
    assert found
    assert not lowered.functions
    for node in found:
        assert node.attributes["plugin_namespace"].as_string() == "vitrine"
        assert node.attributes["plugin_version"].as_string() == "1"


def test_no_plugin_is_named_like_an_onnx_operator() -> None:
    # TensorRT's parser looks at the type of a node alone, whatever its domain.
    standard = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert not {plugin_name(name) for name in local_functions()} & standard


@pytest.mark.parametrize(
    ("bias", "taken"),
    [
        pytest.param(np.zeros(1, "f"), None, id="zeros"),
        pytest.param(np.ones((4, 4), "f"), [1, 1, 4, 4], id="two-axes"),
        pytest.param(np.ones((1, 2, 4, 4), "f"), [1, 2, 4, 4], id="four-axes"),
    ],
)
def test_the_plugins_bias_has_four_axes_or_is_left_out(
    bias: np.ndarray, taken: list[int] | None
) -> None:
    node = helper.make_node(
        "FusedAttention", ["q", "k", "v", "bias"], ["y"], domain="vitrine", scale=0.5
    )
    values = {"q": ("n", 2, 4, 8), "k": ("n", 2, 4, 8), "v": ("n", 2, 4, 8), "y": ("n", 2, 4, 8)}
    portable = graph_of([node], values, {"bias": bias}, ("FusedAttention",))
    lowered = lowered_for_tensorrt(portable, "plugin")
    (plugin,) = lowered.graph
    if taken is None:
        assert len(plugin.inputs) == 3
    else:
        assert list(plugin.inputs[3].shape) == taken
    feed = {name: random.normal(size=(2, 2, 4, 8)).astype("f") for name in "qkv"}
    np.testing.assert_allclose(outputs(lowered, feed)[0], run(portable, feed)[0], atol=1e-6)


def test_primitives_scale_the_queries_before_the_first_product(
    export_tiny: Callable[[str], Exported],
) -> None:
    lowered = float_form(export_tiny("swin"), "primitives")
    softmaxes = [node for node in lowered.graph if node.op_type == "Softmax"]
    assert softmaxes
    for softmax in softmaxes:
        added = softmax.inputs[0].producer()
        assert added.op_type == "Add"  # one, of bias and mask together
        product = next(v.producer() for v in added.inputs if v.producer() is not None)
        assert product.op_type == "MatMul"
        assert [v.producer().op_type for v in product.inputs] == ["Mul", "Transpose"]


def test_windows_depend_on_nothing_of_the_batch(export_tiny: Callable[[str], Exported]) -> None:
    found = Counter(operators(float_form(export_tiny("swin_padded"), "primitives")))
    assert found["Tile"] == found["Shape"] == found["Mod"] == 0


@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_parser_takes_every_form(form: str, exported: Exported) -> None:
    in_half = lowered_for_tensorrt(int8_in_half(exported), form)
    for lowered in (float_form(exported, form), in_half):
        check_supported(lowered, 23 if form == "onnx" else 20)
        if form != "plugin":
            onnx.checker.check_model(ir.to_proto(lowered), full_check=True)


def _unary(op_type: str, kind: int, **attributes: object) -> ir.Model:
    node = helper.make_node(op_type, ["x"], ["y"], name="one", **attributes)
    infos = [helper.make_tensor_value_info(name, kind, ["n", 2, 4, 4]) for name in "xy"]
    graph = helper.make_graph([node], "one", infos[:1], infos[1:])
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(_unary("Bernoulli", 1), "knows no operator ai.onnx::Bernoulli", id="operator"),
        pytest.param(_unary("Erf", 7), "its Erf takes no INT64", id="type"),
        pytest.param(_unary("Resize", 1, antialias=1), "no antialiasing", id="antialias"),
        pytest.param(_unary("Resize", 1, mode="cubic"), "no cubic mode", id="cubic"),
    ],
)
def test_what_the_parser_refuses_is_named(model: ir.Model, message: str) -> None:
    with pytest.raises(ValueError, match=f"node 'one': .*{message}"):
        check_supported(model, 20)


def test_an_opset_that_the_parser_does_not_read_is_named() -> None:
    with pytest.raises(ValueError, match="is of opset 20, the target's parser reads up to 19"):
        check_supported(_unary("Erf", 1), 19)


@pytest.mark.parametrize(
    ("zero", "message"),
    [
        pytest.param(np.zeros((), np.uint8), "found a zero point of uint8", id="uint8"),
        pytest.param(np.ones((), np.int8), "found a zero point of int8", id="asymmetric"),
        pytest.param(None, "without a zero point", id="missing"),
    ],
)
def test_only_symmetric_int8_passes(zero: np.ndarray | None, message: str) -> None:
    scale = numpy_helper.from_array(np.ones((), np.float32), "scale")
    given = [] if zero is None else [numpy_helper.from_array(zero, "zero")]
    node = helper.make_node(
        "QuantizeLinear", ["x", "scale", *[g.name for g in given]], ["y"], name="one"
    )
    kind = onnx.TensorProto.INT8 if zero is not None and zero.dtype == np.int8 else 2
    infos = [helper.make_tensor_value_info(name, k, ["n"]) for name, k in (("x", 1), ("y", kind))]
    graph = helper.make_graph([node], "one", infos[:1], infos[1:], [scale, *given])
    with pytest.raises(ValueError, match=message):
        check_supported(ir.from_proto(helper.make_model(graph)), onnx.defs.onnx_opset_version())
