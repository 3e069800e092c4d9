"""Centres and equalises the input of a linear that follows an activation function.

GELU's output is lopsided (from -0.17 to whatever the largest value is), so half of a symmetric
int8 range goes to waste; and its channels differ in size. With an offset o and a positive scale s
per channel

    x W + b  =  ((x - o) / s) (diag(s) W)  +  (b + o W)

GELU is not linear, so the change cannot be folded backwards: the graph gains one Sub and one Mul
per linear, which back ends fuse with the activation before and the quantisation after. The bias
`b + o W` is exact for float weights; with int8 weights Wq the offset must cancel against Wq, and
that is what the bias correction in calibration/qdq.py does: the mean of the new input is close to
-o / s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from calibration.biases import add_to_bias
from calibration.linears import Linear, add_constant, find_linears, private_copy
from calibration.local_error import Affine
from calibration.transforms.weights import scale_inputs

ACTIVATIONS = frozenset({"Gelu", "Relu", "Swish", "HardSwish"})


def lopsided_linears(model: ir.Model, quantised: Collection[str]) -> list[str]:
    """The int8 MatMuls and Gemms that alone read an activation function's output."""
    return [
        linear.name
        for linear in find_linears(model)
        if linear.name in quantised
        and linear.node.op_type != "Conv"
        and (producer := linear.source.producer()) is not None
        and producer.op_type in ACTIVATIONS
        and len(linear.source.uses()) == 1
        and not linear.source.is_graph_output()
    ]


def centre_activations(model: ir.Model, affines: Mapping[str, Affine]) -> ir.Model:
    """Inserts a Sub and a Mul before linears.

    Args:
        model: Left as it is.
        affines: Linear name -> change of its input; the identity leaves a linear alone.

    Returns:
        A copy with the same float output.
    """
    copy = private_copy(model)
    for linear in find_linears(copy):
        affine = affines.get(linear.name)
        if affine is not None and not affine.is_identity:
            _insert(linear, affine)
    return copy


def _insert(linear: Linear, affine: Affine) -> None:
    node, graph, source = linear.node, linear.node.graph, linear.source
    assert isinstance(graph, ir.Graph)
    # The offset as the graph will hold it, so that the bias cancels exactly that.
    offset = affine.offset.astype(np.float32)
    add_to_bias(linear, offset.astype(np.float64) @ linear.matrix().astype(np.float64))
    centred = _channelwise(graph, "Sub", source, offset, f"{linear.name}.centre")
    inverse = (1.0 / affine.scale).astype(np.float32)
    scaled = _channelwise(graph, "Mul", centred.outputs[0], inverse, f"{linear.name}.equalise")
    node.replace_input_with(0, scaled.outputs[0])
    graph.insert_before(node, [centred, scaled])
    scale_inputs(linear, 1.0 / inverse.astype(np.float64))


def _channelwise(
    graph: ir.Graph, op_type: str, value: ir.Value, constant: np.ndarray, name: str
) -> ir.Node:
    operand = add_constant(graph, f"{name}.{op_type.lower()}", constant)
    node = ir.node(op_type, [value, operand], name=name)
    node.outputs[0].name = f"{name}.output"
    node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    return node
