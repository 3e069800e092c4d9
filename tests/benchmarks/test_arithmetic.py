"""Counted multiply-accumulates against closed forms of the architectures."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.arithmetic import Work, multiply_accumulates
from benchmarks.gemm import matrix_product
from export.lowering.cpu import lowered
from export.spec import find_model, load_models
from export.to_onnx import example_inputs, onnx_from_module
from export.weights import load_reference
from export.zoo import find_family


@cache
def vit() -> ir.Model:
    spec = find_model("vit_tiny_shapes", load_models())
    module = load_reference(spec).module
    return lowered(
        onnx_from_module(module, find_family(spec.family), example_inputs(spec.preprocess))
    )


@pytest.mark.parametrize("batch", [1, 8])
def test_a_vit_has_the_closed_form_of_its_configuration(batch: int) -> None:
    config = find_model("vit_tiny_shapes", load_models()).config
    width, hidden = config["hidden_size"], config["intermediate_size"]
    layers, patch = config["num_hidden_layers"], config["patch_size"]
    patches = (config["image_size"] // patch) ** 2
    tokens = patches + 1  # the class token
    mlp = 2 * width * hidden
    # The head reads the class token alone, so the last block computes keys and values of every
    # token, and the rest of that one. Patches do not overlap: a linear layer of their pixels.
    linears = (
        patches * 3 * patch**2 * width
        + (layers - 1) * tokens * (4 * width**2 + mlp)
        + tokens * 2 * width**2
        + 2 * width**2
        + mlp
        + width * config["num_labels"]
    )
    # Scores and the weighted sum of values: queries · keys · width each, all heads together.
    attention = 2 * width * ((layers - 1) * tokens**2 + tokens)
    counts = multiply_accumulates(vit(), {"pixel_values": (batch, 3, 64, 64)})
    assert counts == {Work.FLOAT_LINEAR: batch * linears, Work.ATTENTION: batch * attention}


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
def test_one_product_is_rows_times_inputs_times_outputs(int8: bool) -> None:
    model = ir.from_proto(matrix_product((24, 32, 48), int8=int8))
    kind = Work.INT8_LINEAR if int8 else Work.FLOAT_LINEAR
    assert multiply_accumulates(model, {"source": (24, 32)}) == {kind: 24 * 32 * 48}


def convolution(groups: int) -> ir.Model:
    value = helper.make_tensor_value_info
    kernel = np.ones((8, 4 // groups, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "k"], ["y"], group=groups, strides=[2, 2])
    graph = helper.make_graph(
        [node], "g",
        [value("x", TensorProto.FLOAT, ["n", 4, 9, 9])],
        [value("y", TensorProto.FLOAT, ["n", 8, "h", "w"])],
        [numpy_helper.from_array(kernel, "k")],
    )  # fmt: skip
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_counts_every_output_times_the_inputs_of_its_group(groups: int) -> None:
    counts = multiply_accumulates(convolution(groups), {"x": (2, 4, 9, 9)})
    # (9 - 3) / 2 + 1 = 4 rows and columns of eight channels.
    assert counts == {Work.FLOAT_CONVOLUTION: 2 * 8 * 4 * 4 * 9 * 4 // groups}


def test_an_operator_that_is_not_counted_is_refused() -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Einsum", ["a", "a"], ["b"], equation="ij,kj->ik")], "g",
        [value("a", TensorProto.FLOAT, [2, 3])], [value("b", TensorProto.FLOAT, [2, 2])],
    )  # fmt: skip
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))
    with pytest.raises(ValueError, match="Einsum"):
        multiply_accumulates(model, {"a": (2, 3)})
