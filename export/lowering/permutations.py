"""Permutations of tokens move to where they cost least, and meet there.

A Gather by a permutation p of an axis commutes with every f that treats the rows of that axis
independently (LayerNorm over channels, weights, biases, activations, per-tensor Q/DQ):

    f(p(x)) = p(f(x))

A shifted-window block (`windows`) permutes before its attention and undoes it after. The first
permutation moves up to the residual stream, the second down through the projection, and

    x + p^-1(u) = p^-1( p(x) + u )      where p(x) is there already

takes it past the addition, on through the MLP, and to the next block's permutation q, where the
two are one: q(p^-1(z)) = (q o p^-1)(z), nothing where they are equal. So the whole network keeps
its tokens in window order, and one Gather stands where the order changes. Merging groups of
adjacent tokens into one (Swin's patch merging, `merging`) commutes with a permutation of groups.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import constant
from export.lowering.emit import Emitter, replace
from export.lowering.rule import Rule
from export.row_axes import rank_of, row_axes

_Up = set[ir.Node]
"""Permutations that move towards the inputs; all others move towards the outputs."""


def permutation(value: ir.Value | None) -> tuple[ir.Value, np.ndarray, int] | None:
    """(x, p, axis) when `value` is x permuted by constants along an axis of known length."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Gather" or node.domain:
        return None
    data, rows = node.inputs[0], constant(node.inputs[1])
    if data is None or data.shape is None or rows is None or rows.ndim != 1:
        return None
    axis = (node.attributes.get_int("axis") or 0) % rank_of(data)
    if data.shape[axis] != len(rows) or not np.array_equal(np.sort(rows), np.arange(len(rows))):
        return None
    return data, rows, axis


def _moved(model: ir.Model) -> ir.Model:
    gathers = [node for node in model.graph if permutation(_out(node)) is not None]
    up = {node for node in gathers if not _reads_rows(node)}
    changed = True
    while changed:
        changed = False
        for node in list(model.graph):
            if node.graph is None or not node.outputs or permutation(_out(node)) is None:
                continue
            changed |= _join(node, up) or (_lift(node, up) if node in up else _sink(node, up))
    return model


def _reads_rows(gather: ir.Node) -> bool:
    """Whether something behind a Gather treats its rows independently, so that it may sink."""
    found = permutation(_out(gather))
    assert found is not None
    axis = found[2]
    sources = [_rows(user, axis) for user, _ in _out(gather).uses()]
    return any(group == 1 for found in sources for _, group in found.values())


def _join(gather: ir.Node, up: _Up) -> bool:
    """Two permutations in a row become one; the identity vanishes."""
    outer = permutation(_out(gather))
    assert outer is not None
    data, rows, axis = outer
    if not _out(gather).uses() and not _out(gather).is_graph_output():
        _remove(gather)
        return True
    if np.array_equal(rows, np.arange(len(rows))):
        replace(_out(gather), data)
        _remove(gather)
        return True
    inner = permutation(data)
    if inner is None or inner[2] != axis:
        return False
    joined = _permuted(inner[0], inner[1][rows], axis, gather, up, upwards=gather in up)
    replace(_out(gather), joined)
    _remove(gather)
    return True


def _lift(gather: ir.Node, up: _Up) -> bool:
    """p(f(x)) -> f(p(x)), where nothing else reads f(x)."""
    found = permutation(_out(gather))
    assert found is not None
    value, rows, axis = found
    node = value.producer()
    if node is None or len(value.uses()) > 1 or value.is_graph_output():
        return False
    sources = _rows(node, axis)
    if len(sources) != 1:
        return False
    ((index, (its_axis, group)),) = sources.items()
    source = node.inputs[index]
    assert source is not None
    node.replace_input_with(
        index, _permuted(source, _grouped(rows, group), its_axis, node, up, upwards=True)
    )
    replace(_out(gather), value)
    _remove(gather)
    return True


def _sink(gather: ir.Node, up: _Up) -> bool:
    """f(p(x)) -> p(f(x)) for every f that reads the Gather."""
    found = permutation(_out(gather))
    assert found is not None
    _, rows, axis = found
    changed = False
    for node, index in list(_out(gather).uses()):
        if node.graph is None or permutation(_out(node)) is not None or len(node.outputs) != 1:
            continue
        out = _out(node)
        for its_axis in range(rank_of(out) if out.shape is not None else 0):
            sources = _rows(node, its_axis)
            if sources.get(index) == (axis, 1):
                changed |= _pass(node, sources, rows, its_axis, up)
                break
    return changed


def _pass(
    node: ir.Node, sources: dict[int, tuple[int, int]], rows: np.ndarray, axis: int, up: _Up
) -> bool:
    """Takes a permutation from the inputs of a node to its output."""
    undone: dict[int, ir.Value] = {}
    for index, (its_axis, _) in sources.items():
        value = node.inputs[index]
        assert value is not None
        plain = _existing(value, np.argsort(rows), its_axis)
        if plain is None:
            return False
        undone[index] = plain
    for index, value in undone.items():
        node.replace_input_with(index, value)
    out = _out(node)
    readers = list(out.uses())
    after = _gather_after(node, out, rows, axis)
    if out.is_graph_output():
        replace(out, _out(after))
        after.replace_input_with(0, out)
    for reader, index in readers:
        reader.replace_input_with(index, _out(after))
    return True


def _existing(value: ir.Value, rows: np.ndarray, axis: int) -> ir.Value | None:
    """The value permuted by `rows`, where that is in the graph already."""
    found = permutation(value)
    if found is not None and found[2] == axis:
        value, rows = found[0], found[1][rows]
        if np.array_equal(rows, np.arange(len(rows))):
            return value
    for node, index in value.uses():
        if index == 0 and node.op_type == "Gather":
            other = permutation(_out(node))
            if other is not None and other[2] == axis and np.array_equal(other[1], rows):
                return _out(node)
    return None


def _permuted(
    value: ir.Value, rows: np.ndarray, axis: int, near: ir.Node, up: _Up, upwards: bool
) -> ir.Value:
    """The value permuted: what is there already, or a new Gather as early as can be."""
    found = _existing(value, rows, axis)
    if found is not None:
        return found
    gather = _gather_after(value.producer() or near, value, rows, axis)
    if upwards:
        up.add(gather)
    return _out(gather)


def _gather_after(node: ir.Node, value: ir.Value, rows: np.ndarray, axis: int) -> ir.Node:
    emit = Emitter(node)
    gather = emit.gather(value, rows, axis, "order").producer()
    assert gather is not None
    if value.producer() is node:
        emit.graph.remove(gather)
        emit.graph.insert_after(node, gather)
    return gather


def _rows(node: ir.Node, axis: int) -> dict[int, tuple[int, int]]:
    """Computed input -> (its axis that the rows run along, how many of its rows make one)."""
    if len(node.outputs) != 1 or _out(node).shape is None:
        return {}
    if any(v is not None and v.shape is None for v in node.inputs):
        return {}
    if node.op_type == "Transpose":  # would move single elements rather than rows
        return {}
    out = _out(node)
    if node.op_type == "Gather" and not node.domain:  # of channels: rows stay
        its = (node.attributes.get_int("axis") or 0) % rank_of(node.inputs[0])
        vector = node.inputs[1] is not None and rank_of(node.inputs[1]) == 1
        return {0: (axis, 1)} if vector and its != axis else {}
    if node.op_type == "Reshape" and axis == 1 and rank_of(out) == 3:
        return _merged(node)
    found = row_axes(node, axis, rank_of(out))
    return {i: (a, 1) for i, a in found.items()}


def _merged(node: ir.Node) -> dict[int, tuple[int, int]]:
    """(B, N, C) -> (B, N / g, g C): each row is made of g adjacent ones."""
    before, after = node.inputs[0], _out(node)
    assert before is not None and before.shape is not None and after.shape is not None
    if before.shape.rank() != 3:
        return {}
    rows, width, groups, wide = (*before.shape[1:], *after.shape[1:])
    if not (isinstance(rows, int) and isinstance(groups, int) and rows % groups == 0):
        return {}
    if not (isinstance(width, int) and isinstance(wide, int) and rows * width == groups * wide):
        return {}
    return {0: (1, rows // groups)}


def _grouped(rows: np.ndarray, group: int) -> np.ndarray:
    """A permutation of groups as one of their members."""
    return (rows[:, None] * group + np.arange(group)).reshape(-1)


def _out(node: ir.Node) -> ir.Value:
    return node.outputs[0]


def _remove(gather: ir.Node) -> None:
    assert isinstance(gather.graph, ir.Graph)
    gather.graph.remove(gather, safe=True)


MOVE_PERMUTATIONS = Rule("permutations move and meet", _moved)
