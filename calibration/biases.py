"""Reading and editing the float bias of a linear, wherever the graph keeps it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import Linear, add_constant, constant, set_constant


def add_to_bias(linear: Linear, delta: np.ndarray) -> None:
    """Adds `delta` float (outputs,) to the linear's bias; a linear without one gets an Add."""
    if not delta.any():
        return
    site = _bias_site(linear)
    if site is None:
        shaped = delta.astype(np.float32).reshape(_bias_shape(linear))
        graph = linear.node.graph
        assert isinstance(graph, ir.Graph)
        append_add(linear.node, add_constant(graph, f"{linear.name}.bias", shaped))
        return
    node, index = site
    bias = constant(node.inputs[index])
    assert bias is not None
    set_constant(node, index, (bias.astype(np.float64) + delta).astype(np.float32))


def bias_of(linear: Linear) -> np.ndarray:
    """The linear's constant bias, float64 (outputs,); zeros when it has none."""
    site = _bias_site(linear)
    if site is None:
        return np.zeros(linear.matrix().shape[1])
    bias = constant(site[0].inputs[site[1]])
    assert bias is not None
    return bias.astype(np.float64).ravel()


def biased_node(linear: Linear) -> ir.Node:
    """The node whose output is the linear's, bias included: its own, or the Add after it."""
    site = _bias_site(linear)
    return linear.node if site is None else site[0]


def detach_bias(conv: ir.Node) -> None:
    """Moves a Conv's constant bias into an Add after it (the same sum, one more node)."""
    value, weight = conv.inputs[2] if len(conv.inputs) > 2 else None, conv.inputs[1]
    bias = constant(value)
    if bias is None or value is None or weight is None or weight.shape is None:
        return
    name, alone = str(value.name), len(value.uses()) == 1
    conv.resize_inputs(2)
    assert isinstance(conv.graph, ir.Graph)
    if alone:
        del conv.graph.initializers[name]
    shaped = bias.reshape(-1, *([1] * (weight.shape.rank() - 2)))
    append_add(conv, add_constant(conv.graph, name, shaped))


def _bias_site(linear: Linear) -> tuple[ir.Node, int] | None:
    """(node, input index) of the constant bias; None when there is none that may be edited."""
    node = linear.node
    if node.op_type in ("Gemm", "Conv"):
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if bias is not None and bias.shape == (linear.matrix().shape[1],):
            return node, 2
    if node.outputs[0].is_graph_output():
        return None
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or uses[0].node.op_type != "Add":
        return None
    add, position = uses[0].node, 1 - uses[0].idx
    addend = constant(add.inputs[position])
    if addend is None or addend.shape != _bias_shape(linear):
        return None
    return add, position


def _bias_shape(linear: Linear) -> tuple[int, ...]:
    """The shape in which a bias broadcasts over the linear's output."""
    outputs = linear.matrix().shape[1]
    if linear.node.op_type != "Conv":
        return (outputs,)
    weight = constant(linear.weight)
    assert weight is not None
    return (outputs, *([1] * (weight.ndim - 2)))


def append_add(node: ir.Node, addend: ir.Value, what: str = "bias") -> None:
    """Adds `addend` to the node's output; the sum takes over the output's name and readers.

    `what` is added keeps the names of two such sums after one node apart.
    """
    graph, output = node.graph, node.outputs[0]
    assert isinstance(graph, ir.Graph)
    add = ir.node("Add", [output, addend], name=f"{node.name}.add_{what}")
    add.outputs[0].name, output.name = output.name, f"{node.name}.without_{what}"
    add.outputs[0].type, add.outputs[0].shape = output.type, output.shape
    ir.convenience.replace_all_uses_with(output, add.outputs[0], replace_graph_outputs=True)
    add.replace_input_with(0, output)
    graph.insert_after(node, add)
