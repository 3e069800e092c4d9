"""Patch merging as one Gather of tokens.

Swin joins the channels of 2 x 2 neighbours: strided slices of the map, concatenated. With the
constant order m that puts the tokens of a group next to each other, in the order of the slices,

    Concat(slices of x) = m(x) as (B, groups, 4C)

and m meets the permutations before and after it (`permutations`). Any slices of constant bounds
along the two axes of a map are read this way, whatever their number.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import constant
from export.lowering.emit import Emitter
from export.lowering.maps import map_sizes, replace_map, tokens_of
from export.lowering.rule import Rule


def _gathered(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.op_type == "Concat" and not node.domain:
            _merge(node)
    return model


def _merge(concat: ir.Node) -> None:
    out = concat.outputs[0]
    sizes = map_sizes(out)
    if sizes is None or concat.attributes["axis"].as_int() % 4 != 3 or len(concat.inputs) < 2:
        return
    slices = [_slice_of_map(value) for value in concat.inputs]
    found = [entry for entry in slices if entry is not None]
    if len(found) != len(slices) or len({source for source, _ in found}) != 1:
        return
    source = found[0][0]
    height, width, channels = sizes
    rows = np.stack([tokens for _, tokens in found], axis=-1).reshape(-1)
    emit = Emitter(concat)
    grouped = emit.gather(tokens_of(emit, source), rows, 1, "groups")
    merged = emit.reshape(grouped, [-1, height * width, channels], "merged")
    assert out.shape is not None
    merged.shape = ir.Shape([out.shape[0], height * width, channels])
    replace_map(emit, out, merged)
    emit.graph.remove(concat, safe=True)


def _slice_of_map(value: ir.Value | None) -> tuple[ir.Value, np.ndarray] | None:
    """(map, which of its tokens) when the value is slices of slices of a map; else None."""
    steps = []
    while value is not None and (node := value.producer()) is not None:
        if node.op_type != "Slice" or node.domain:
            break
        step = _bounds(node)
        if step is None:
            return None
        steps.append(step)
        value = node.inputs[0]
    sizes = map_sizes(value)
    if value is None or sizes is None or not steps:
        return None
    tokens = np.arange(sizes[0] * sizes[1]).reshape(sizes[:2])
    for step in reversed(steps):
        tokens = tokens[step]
    return value, tokens


def _bounds(node: ir.Node) -> tuple[slice, slice] | None:
    """What a Slice takes of a map's rows and columns; None when not constant, or of other axes."""
    if len(node.inputs) < 4:
        return None
    constants = [constant(value) for value in node.inputs[1:]]
    if any(array is None for array in constants):
        return None
    starts, ends, axes, *steps = (array.tolist() for array in constants if array is not None)
    taken = [slice(None), slice(None)]
    strides = steps[0] if steps else [1] * len(axes)
    for start, end, axis, step in zip(starts, ends, axes, strides, strict=True):
        if axis not in (1, 2) or step < 1:
            return None
        taken[axis - 1] = slice(start, end, step)
    return taken[0], taken[1]


MERGING_AS_GATHER = Rule("patch merging as one gather", _gathered)
