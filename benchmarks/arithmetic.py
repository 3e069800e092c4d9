"""Multiply-accumulates of a typed ONNX graph by kind, from the shapes of its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from enum import StrEnum
from math import prod
from pathlib import Path

import onnx_ir as ir

from export.simplify import simplify

_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})
# Operators that multiply and accumulate too, which none of our lowered graphs uses.
_UNCOUNTED = frozenset({"Einsum", "MatMulInteger", "QLinearMatMul", "ConvTranspose", "Attention"})


class Work(StrEnum):
    """Kinds of arithmetic; "attention" is products of two activations."""

    INT8_LINEAR = "int8 linears"
    FLOAT_LINEAR = "float linears"
    ATTENTION = "attention"
    INT8_CONVOLUTION = "int8 convolutions"
    FLOAT_CONVOLUTION = "float convolutions"


def multiply_accumulates(graph: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> Counter[Work]:
    """Counts a lowered graph for inputs of the given shapes.

    A product of matrices (…, m, k) and (…, k, n) is prod(…)·m·k·n; a convolution is its output's
    size times the kernel's inputs. A product is int8 where both its inputs are dequantised.

    Args:
        graph: lowered, without local functions; left as it is.
        shapes: of every graph input, by name.

    Raises:
        ValueError: a shape that stays unknown, or an operator that is not counted.
    """
    fixed = graph.clone()
    for value in fixed.graph.inputs:
        value.shape = ir.Shape(shapes[str(value.name)])
    fixed = simplify(fixed)  # shapes become constants, and with them every tensor's own
    counts: Counter[Work] = Counter()
    varying = set(fixed.graph.inputs)  # what depends on the inputs; the rest are weights
    for node in fixed.graph:
        if not varying.isdisjoint(node.inputs):
            varying.update(node.outputs)
        if node.op_type in _UNCOUNTED or node.domain not in ("", "ai.onnx"):
            raise ValueError(f"found {node.domain}.{node.op_type}, which is not counted; add it")
        if node.op_type in _PRODUCTS:
            counts[_kind(node, varying)] += _work(node)
    return counts


def of_file(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> Counter[Work]:
    """As `multiply_accumulates`, of a saved graph."""
    return multiply_accumulates(ir.load(file), shapes)


def _kind(node: ir.Node, varying: Collection[ir.Value | None]) -> Work:
    sources = [_producer(value) for value in node.inputs[:2]]
    int8 = all(source == "DequantizeLinear" for source in sources)
    if node.op_type == "Conv":
        return Work.INT8_CONVOLUTION if int8 else Work.FLOAT_CONVOLUTION
    if all(value in varying for value in node.inputs[:2]):
        return Work.ATTENTION
    return Work.INT8_LINEAR if int8 else Work.FLOAT_LINEAR


def _producer(value: ir.Value | None) -> str:
    node = value.producer() if value is not None else None
    return node.op_type if node is not None else ""


def _work(node: ir.Node) -> int:
    left, right, out = (_shape(v, node) for v in (*node.inputs[:2], node.outputs[0]))
    if node.op_type == "Conv":
        return prod(out) * prod(right[1:])
    transposed = node.op_type == "Gemm" and bool(node.attributes.get_int("transA", 0))
    return prod(out) * left[0 if transposed else -1]


def _shape(value: ir.Value | None, node: ir.Node) -> tuple[int, ...]:
    shape = value.shape if value is not None else None
    if shape is None or not shape.is_static():
        raise ValueError(f"the shape of a tensor of {node.name} is not known ({shape}); fix sizes")
    return tuple(int(size) for size in shape)  # type: ignore[call-overload]
