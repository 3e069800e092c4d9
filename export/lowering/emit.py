"""Adding operators to a graph with the shapes and types that later rules read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from calibration.linears import add_constant

Dim = int | ir.SymbolicDim | None


class Emitter:
    """Inserts nodes before `node`, named after it."""

    def __init__(self, node: ir.Node) -> None:
        """Args: node: of a graph; what is emitted stands before it, in order."""
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        self.graph, self.node = graph, node
        self.name = node.name or node.outputs[0].name

    def constant(self, array: np.ndarray, name: str) -> ir.Value:
        """An initialiser of the array's type."""
        return add_constant(self.graph, f"{self.name}.{name}", array)

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        shape: Sequence[Dim],
        name: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        """The output of a new node; its type is that of the first input."""
        node = ir.node(op_type, inputs, attributes or {}, name=f"{self.name}.{name}")
        self.graph.insert_before(self.node, node)
        out = node.outputs[0]
        out.name, out.shape, out.type = f"{node.name}.output", ir.Shape(shape), inputs[0].type
        return out

    def reshape(self, value: ir.Value, shape: Sequence[int], name: str) -> ir.Value:
        """Reshape to a shape whose first axis may be -1."""
        target = self.constant(np.array(shape), f"{name}.shape")
        known: list[Dim] = [None if d < 0 else d for d in shape]
        return self.op("Reshape", [value, target], known, name)

    def transpose(self, value: ir.Value, order: Sequence[int], name: str) -> ir.Value:
        """Transpose of a value whose shape is known."""
        assert value.shape is not None
        shape = [value.shape[axis] for axis in order]
        return self.op("Transpose", [value], shape, name, {"perm": list(order)})

    def gather(self, value: ir.Value, rows: np.ndarray, axis: int, name: str) -> ir.Value:
        """Gather of constant rows along an axis."""
        assert value.shape is not None
        shape = [len(rows) if i == axis else d for i, d in enumerate(value.shape)]
        indices = self.constant(rows.astype(np.int64), f"{name}.indices")
        return self.op("Gather", [value, indices], shape, name, {"axis": axis})


def quantised_again(value: ir.Value, like: ir.Node, name: str) -> list[ir.Node]:
    """A QuantizeLinear and a DequantizeLinear of a value, which the caller puts into the graph.

    Args:
        value: float, and multiples of the scale of `like`: none of them changes.
        like: the quantiser or dequantiser whose scale and zero point are taken.
        name: the nodes are `name`.quantise and `name`.dequantise.
    """
    scale, zero = like.inputs[1:]
    quantise = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}.quantise")
    restored = ir.node(
        "DequantizeLinear", [quantise.outputs[0], scale, zero], name=f"{name}.dequantise"
    )
    for node in (quantise, restored):
        node.outputs[0].name, node.outputs[0].shape = f"{node.name}.output", value.shape
    quantise.outputs[0].type = None if zero is None else zero.type
    restored.outputs[0].type = value.type
    return [quantise, restored]


def replace(old: ir.Value, new: ir.Value) -> None:
    """Makes every reader of `old` read `new`; a graph output keeps its name."""
    if old.is_graph_output():
        old.name, new.name = f"{old.name}.replaced", old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
