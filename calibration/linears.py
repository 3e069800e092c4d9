"""The linear layers of a graph, found by structure, and edits of their constants.

A linear is a MatMul or Gemm whose second input is a constant matrix, or a Conv whose weight is
constant. Only these carry multiply-accumulates worth running in int8 and only these have weights
to quantise; products of two activations (attention) are not linears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

SMALLEST_SIDE = 16
"""Linears with fewer inputs or outputs gain nothing from int8 (kernels pad to 16 or 32)."""


@dataclass(frozen=True)
class Linear:
    """One linear layer: `node` computes source @ matrix (+ bias)."""

    node: ir.Node
    source: ir.Value
    weight: ir.Value

    @property
    def name(self) -> str:
        """The name of its MatMul, Gemm or Conv node."""
        return str(self.node.name)

    @property
    def out_axis(self) -> int:
        """The axis of the weight tensor that runs over output channels."""
        if self.node.op_type == "Conv":
            return 0
        transposed = self.node.op_type == "Gemm" and _flag(self.node, "transB")
        return 0 if transposed else 1

    def matrix(self) -> np.ndarray:
        """The weights as float32 (inputs, outputs); a Conv's kernel is flattened into inputs."""
        weight = constant(self.weight)
        assert weight is not None, "find_linears() returns constant weights only"
        outputs_last = np.moveaxis(weight, self.out_axis, -1)
        return outputs_last.reshape(-1, outputs_last.shape[-1])

    def obstacle(self) -> str | None:
        """Why int8 would gain nothing or be unsafe here; None when nothing speaks against it."""
        inputs, outputs = self.matrix().shape
        if min(inputs, outputs) < SMALLEST_SIDE:
            return f"{inputs} x {outputs}: a side below {SMALLEST_SIDE} gains nothing from int8"
        if self.node.op_type == "Gemm":
            attributes = self.node.attributes
            plain = attributes.get_float("alpha", 1.0) == attributes.get_float("beta", 1.0) == 1.0
            if not plain or _flag(self.node, "transA"):
                return "a Gemm with alpha, beta or transA set"
        return None


def _flag(node: ir.Node, name: str) -> bool:
    return bool(node.attributes.get_int(name) or 0)


def private_copy(model: ir.Model) -> ir.Model:
    """A copy that may be edited: constants are initialisers, every node has a unique name.

    Raises:
        ValueError: Two nodes of the main graph have the same name.
    """
    copy = model.clone()
    LiftConstantsToInitializersPass(lift_all_constants=False, size_limit=0)(copy)
    taken: set[str] = set()
    for node in copy.graph:
        node.name = node.name or f"{node.op_type}.{node.outputs[0].name}"
        if node.name in taken:
            raise ValueError(
                f"two nodes are named {node.name!r}; names key the precision map, rename one"
            )
        taken.add(node.name)
    return copy


def find_linears(model: ir.Model) -> list[Linear]:
    """All linears of the main graph, in graph order."""
    found = []
    for node in model.graph:
        if node.domain or node.op_type not in ("MatMul", "Gemm", "Conv"):
            continue
        source, weight = node.inputs[0], node.inputs[1]
        if source is None or weight is None or constant(source) is not None:
            continue
        array = constant(weight)
        if array is None or array.dtype != np.float32:
            continue
        if node.op_type == "Conv" or array.ndim == 2:
            found.append(Linear(node, source, weight))
    return found


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of an initialiser; None for anything that can change from run to run."""
    if value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return None if value.const_value is None else value.const_value.numpy()


def set_constant(node: ir.Node, index: int, array: np.ndarray) -> ir.Value:
    """Gives `node` a new constant input; other users of the old one keep theirs.

    The name of the old initialiser is kept when nobody else uses it.
    """
    old, graph = node.inputs[index], node.graph
    assert isinstance(graph, ir.Graph)
    if old is not None and old.is_initializer() and len(old.uses()) == 1:
        name = str(old.name)
        node.replace_input_with(index, None)
        del graph.initializers[name]
    else:
        name = f"{node.name}.{('input', 'weight', 'bias')[min(index, 2)]}"
    value = add_constant(graph, name, array)
    while len(node.inputs) <= index:
        node.resize_inputs(len(node.inputs) + 1)
    node.replace_input_with(index, value)
    return value


def add_constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Registers a new initialiser; a taken name gets a numeric suffix."""
    unique, count = name, 1
    while unique in graph.initializers:
        unique, count = f"{name}_{count}", count + 1
    value = ir.val(unique, const_value=ir.tensor(array, name=unique))
    graph.register_initializer(value)
    return value
