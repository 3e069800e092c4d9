"""Splitting what was concatenated gives the parts: Split(Concat(a, b, c)) = a, b, c.

WindowAttention takes queries, keys and values as one tensor; as primitives it needs them apart,
and the linears that compute them are three.
"""

from __future__ import annotations

import onnx_ir as ir

from export.lowering.emit import replace
from export.lowering.rule import Rule
from export.row_axes import rank_of


def _cancel(model: ir.Model) -> ir.Model:
    for split in list(model.graph):
        whole = split.inputs[0] if split.op_type == "Split" and not split.domain else None
        concat = None if whole is None else whole.producer()
        if concat is None or concat.op_type != "Concat" or _axis(split) != _axis(concat):
            continue
        if [_size(part, split) for part in concat.inputs] != [
            _size(o, split) for o in split.outputs
        ]:
            continue
        for out, part in zip(split.outputs, concat.inputs, strict=True):
            assert part is not None
            replace(out, part)
        model.graph.remove(split, safe=True)
    return model


def _axis(node: ir.Node) -> int:
    return (node.attributes.get_int("axis") or 0) % rank_of(node.outputs[0])


def _size(value: ir.Value | None, split: ir.Node) -> object:
    return None if value is None or value.shape is None else value.shape[_axis(split)]


CONCATENATED_PARTS = Rule("the parts of a concatenation", _cancel)
