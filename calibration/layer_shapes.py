"""What each linear of a graph works on: shapes and multiply-accumulates of one image."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from typing import Any

import onnx_ir as ir

from calibration.activations import Batches, single_images, stream
from calibration.linears import constant, find_linears, private_copy


@dataclass(frozen=True)
class LayerShape:
    """One linear at batch size 1.

    Attributes:
        operator: MatMul, Gemm or Conv.
        source: Shape of its input.
        weight: Shape of its weight.
        attributes: Of the node: (name, integer or integers), sorted.
        macs: Multiply-accumulates.
    """

    operator: str
    source: tuple[int, ...]
    weight: tuple[int, ...]
    attributes: tuple[tuple[str, Any], ...]
    macs: int


def layer_shapes(
    model: ir.Model, names: Collection[str], batches: Batches, threads: int | None = None
) -> dict[str, LayerShape]:
    """Shapes of the named linears, in graph order, as the first image has them."""
    graph = private_copy(model)
    linears = [linear for linear in find_linears(graph) if linear.name in names]
    ends = [(str(each.source.name), str(each.node.outputs[0].name)) for each in linears]
    values = list(dict.fromkeys(name for pair in ends for name in pair))
    first = list(islice(single_images(batches), 1))
    (found,) = stream(graph, values, first, threads)
    shapes = {}
    for linear, (source, output) in zip(linears, ends, strict=True):
        attributes = sorted(
            (name, tuple(item.value) if isinstance(item.value, list | tuple) else item.value)
            for name, item in linear.node.attributes.items()
            if item.type in (ir.AttributeType.INT, ir.AttributeType.INTS)
        )
        array = constant(linear.weight)
        assert array is not None
        shapes[linear.name] = LayerShape(
            linear.node.op_type, found[source].shape, array.shape, tuple(attributes),
            found[output].size * array.size // array.shape[linear.out_axis],
        )  # fmt: skip
    return shapes
