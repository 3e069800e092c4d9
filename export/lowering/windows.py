"""Shifted-window attention as a permutation of tokens around plain attention of small batches.

On a map of Hh x Ww tokens the cyclic shift and the cutting into windows of M x M are one constant
permutation p of the Hh·Ww tokens, after which the tokens of a window are adjacent:

    WindowAttention(x) = p^-1( Attention( p(x) as (B · windows, M·M, 3C) ) )

so that the operators between are those of a plain transformer on four axes, which back ends fuse
(OpenVINO fuses nothing on the five axes of the operator's own body), and the permutation can
move to where it costs least (`permutations`). The shift mask is of shape (windows, 1, M·M, M·M)
where the scores have B · windows first, so it is repeated B times, once for all blocks of a stage.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import torch

from export.attention import shift_mask
from export.lowering.emit import Emitter
from export.lowering.maps import map_sizes, replace_map, tokens_of
from export.lowering.rule import Rule
from export.operators import DOMAIN

_THIRDS = ("query", "key", "value")
_Masks = dict[tuple[int, int, int, int, ir.DataType | None], ir.Value]


def window_order(height: int, width: int, window: int, shift: int) -> np.ndarray:
    """The tokens of a row-major map in window order: (height * width,) int64.

    Token `order[i]` of the map is at place i: window by window in rows of windows, each
    row-major, after a cyclic shift by `-shift` rows and columns.
    """
    tokens = np.arange(height * width).reshape(height, width)
    tiles = np.roll(tokens, (-shift, -shift), (0, 1)).reshape(
        height // window, window, width // window, window
    )
    return tiles.transpose(0, 2, 1, 3).reshape(-1)


def _in_window_order(model: ir.Model) -> ir.Model:
    masks: _Masks = {}
    for node in list(model.graph):
        windows = node.domain == DOMAIN and node.op_type == "WindowAttention"
        if windows and map_sizes(node.inputs[0]) is not None:
            _lower(node, masks)
    return model


def _lower(node: ir.Node, masks: _Masks) -> None:
    qkv, bias = node.inputs
    sizes = map_sizes(qkv)
    assert qkv is not None and qkv.shape is not None and bias is not None and sizes is not None
    height, width, triple = sizes
    window, shift = (node.attributes[name].as_int() for name in ("window", "shift"))
    tokens, channels = height * width, triple // 3
    order = window_order(height, width, window, shift)
    emit = Emitter(node)

    thirds = into_windows(emit, order)
    mask = _tiled_mask(emit, (height, width, window, shift), masks) if shift else None
    mixed = _attention(emit, thirds, bias, mask)
    out_of_windows(emit, emit.reshape(mixed, [-1, tokens, channels], "tokens"), order)


def into_windows(emit: Emitter, order: np.ndarray) -> list[ir.Value]:
    """Queries, keys and values of the emitter's WindowAttention: three of (B, N, C), permuted."""
    qkv = emit.node.inputs[0]
    assert qkv is not None
    return [
        emit.gather(third, order, 1, f"{name}.into_windows")
        for name, third in zip(_THIRDS, _thirds(emit, tokens_of(emit, qkv)), strict=True)
    ]


def out_of_windows(emit: Emitter, mixed: ir.Value, order: np.ndarray) -> None:
    """Puts (B, N, C) tokens in window order in the place of the emitter's WindowAttention."""
    node = emit.node
    sizes = map_sizes(node.inputs[0])
    assert sizes is not None and node.inputs[0] is not None and node.inputs[0].shape is not None
    batch, channels = node.inputs[0].shape[0], sizes[2] // 3
    mixed.shape = ir.Shape([batch, len(order), channels])
    mixed = emit.gather(mixed, np.argsort(order), 1, "out_of_windows")
    node.outputs[0].shape = ir.Shape([batch, *sizes[:2], channels])
    replace_map(emit, node.outputs[0], mixed)
    emit.graph.remove(node, safe=True)


def _attention(
    emit: Emitter, thirds: Sequence[ir.Value], bias: ir.Value, mask: ir.Value | None
) -> ir.Value:
    """Attention of each M·M adjacent tokens: three of (B, N, C) -> (B * windows, M·M, heads, D)."""
    attributes = emit.node.attributes
    heads, area = attributes["heads"].as_int(), attributes["window"].as_int() ** 2
    shape, dtype = thirds[0].shape, thirds[0].dtype
    assert shape is not None and isinstance(shape[2], int) and dtype is not None
    size = shape[2] // heads
    query, key, value = (
        emit.transpose(
            emit.reshape(third, [-1, area, heads, size], f"{name}.windows"),
            (0, 2, 1, 3),
            f"{name}.heads",
        )
        for name, third in zip(_THIRDS, thirds, strict=True)
    )
    scale = np.array(attributes["scale"].as_float(), dtype.numpy())
    # Between the keys' two transpositions the scale keeps them apart: OpenVINO moves whole rows
    # for the first, and the second becomes a flag of the product. The linear takes the scale.
    scaled = emit.op(
        "Mul", [key, emit.constant(scale, "scale")], [None, heads, area, size], "scaled"
    )
    scores = [None, heads, area, area]
    columns = emit.transpose(scaled, (0, 1, 3, 2), "key.columns")
    products = emit.op("MatMul", [query, columns], scores, "scores")
    products = emit.op("Add", [products, bias], scores, "biased")
    if mask is not None:
        products = emit.op("Add", [products, mask], scores, "masked")
    weights = emit.op("Softmax", [products], scores, "weights", {"axis": -1})
    mixed = emit.op("MatMul", [weights, value], [None, heads, area, size], "mixed")
    return emit.transpose(mixed, (0, 2, 1, 3), "joined")


def _thirds(emit: Emitter, qkv: ir.Value) -> tuple[ir.Value, ...]:
    assert qkv.shape is not None and isinstance(qkv.shape[2], int)
    node = ir.node("Split", [qkv], {"axis": 2, "num_outputs": 3}, num_outputs=3)
    node.name = f"{emit.name}.thirds"
    emit.graph.insert_before(emit.node, node)
    for name, out in zip(_THIRDS, node.outputs, strict=True):
        out.name, out.type = f"{emit.name}.{name}", qkv.type
        out.shape = ir.Shape([qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3])
    return tuple(node.outputs)


def _tiled_mask(emit: Emitter, sizes: tuple[int, int, int, int], masks: _Masks) -> ir.Value:
    """The shift mask B times over: (B * windows, 1, M·M, M·M), shared by blocks of equal maps."""
    qkv = emit.node.inputs[0]
    assert qkv is not None and qkv.dtype is not None and qkv.shape is not None
    key = (*sizes, qkv.dtype)
    if key not in masks:
        like = torch.zeros((), dtype=torch.float32)
        mask = shift_mask(*sizes, like).numpy()[:, None].astype(qkv.dtype.numpy())
        batch = emit.op("Shape", [_of_batch(emit.graph, qkv)], [1], "batch", {"start": 0, "end": 1})
        batch.type = ir.TensorType(ir.DataType.INT64)
        rest = emit.constant(np.ones(3, np.int64), "mask.once")
        repeats = emit.op("Concat", [batch, rest], [4], "mask.repeats", {"axis": 0})
        constant = emit.constant(mask, "mask")
        masks[key] = emit.op("Tile", [constant, repeats], [None, *mask.shape[1:]], "mask.tiled")
    return masks[key]


def _of_batch(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """A graph input with the value's batch size, so that the mask waits for nothing."""
    assert value.shape is not None
    for entry in graph.inputs:
        if entry.shape is not None and entry.shape[0] == value.shape[0]:
            return entry
    return value


WINDOWS_AS_PERMUTATIONS = Rule("windows as permutations", _in_window_order)
