"""A linear whose output is split becomes one linear for each part.

    Split(x W + b) = x W_1 + b_1, x W_2 + b_2, ...

with the columns of the constants, of their scales and zero points where they are int8. The
input, quantised or not, is shared. Queries, keys and values as one linear cost a copy of each
part afterwards (OpenVINO, Swin-T, batch 8: 20 ms), and nothing is saved by one larger product.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import add_constant, constant
from export.lowering.emit import Emitter, replace
from export.lowering.rule import Rule

_BINARY = ("Add", "Sub", "Mul", "Div")


def _split(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.op_type == "Split" and not node.domain:
            _split_linear(node)
    return model


def _split_linear(split: ir.Node) -> None:
    whole = split.inputs[0]
    if whole is None or whole.shape is None or len(whole.uses()) > 1 or whole.is_graph_output():
        return
    axis = (split.attributes.get_int("axis") or 0) % whole.shape.rank()
    widths = [None if out.shape is None else out.shape[-1] for out in split.outputs]
    if axis != whole.shape.rank() - 1 or not all(isinstance(w, int) for w in widths):
        return
    if not _has_columns(whole):
        return
    bounds = np.cumsum([0, *widths]).tolist()
    for number, out in enumerate(split.outputs):
        replace(out, _columns(whole, slice(bounds[number], bounds[number + 1]), number, split))
    assert isinstance(split.graph, ir.Graph)
    split.graph.remove(split, safe=True)


def _has_columns(value: ir.Value) -> bool:
    """Whether the columns of a value follow from the columns of constants alone."""
    if constant(value) is not None:
        return True
    node = value.producer()
    if node is None or node.domain or value.shape is None or len(value.uses()) > 1:
        return False
    sources = [v for v in _column_inputs(node) if v is not None]
    return bool(sources) and all(_has_columns(v) for v in sources)


def _column_inputs(node: ir.Node) -> list[ir.Value | None]:
    """The inputs whose columns make the columns of the output; empty when there are none."""
    if node.op_type in _BINARY:
        return list(node.inputs)
    if node.op_type == "MatMul":
        return [node.inputs[1]]
    if node.op_type == "Cast":
        return [node.inputs[0]]
    if node.op_type == "DequantizeLinear" and constant(node.inputs[0]) is not None:
        return list(node.inputs)
    return []


def _columns(value: ir.Value, columns: slice, number: int, before: ir.Node) -> ir.Value:
    """These columns of a value, by nodes of their own named after the whole ones."""
    array = constant(value)
    emit = Emitter(before)
    if array is not None:
        if array.ndim == 0 or array.shape[-1] == 1:
            return value
        return add_constant(emit.graph, f"{value.name}.{number}", array[..., columns])
    node = value.producer()
    assert node is not None and value.shape is not None
    wanted = _column_inputs(node)
    inputs = [
        _columns(v, columns, number, before) if v is not None and v in wanted else v
        for v in node.inputs
    ]
    part = ir.node(node.op_type, inputs, node.attributes, name=f"{node.name}.{number}")
    emit.graph.insert_before(before, part)
    out = part.outputs[0]
    out.name, out.type = f"{value.name}.{number}", value.type
    out.shape = ir.Shape([*list(value.shape)[:-1], columns.stop - columns.start])
    return out


SPLIT_LINEARS = Rule("one linear for each part of a split", _split)
