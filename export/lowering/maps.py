"""Feature maps (B, Hh, Ww, C) and their tokens (B, Hh·Ww, C), without a Reshape where one undoes
another."""

from __future__ import annotations

import onnx_ir as ir

from export.lowering.emit import Emitter, replace


def map_sizes(value: ir.Value | None) -> tuple[int, int, int] | None:
    """(Hh, Ww, C) of a map of any batch; None when the value is none or its sizes are not known."""
    if value is None or value.shape is None or value.shape.rank() != 4:
        return None
    _, height, width, channels = value.shape
    if isinstance(height, int) and isinstance(width, int) and isinstance(channels, int):
        return height, width, channels
    return None


def tokens_of(emit: Emitter, feature_map: ir.Value) -> ir.Value:
    """The row-major tokens of a map."""
    sizes = map_sizes(feature_map)
    assert sizes is not None and feature_map.shape is not None
    height, width, channels = sizes
    node = feature_map.producer()
    if node is not None and node.op_type == "Reshape" and not node.domain:
        source = node.inputs[0]
        if source is not None and _are_tokens(source, height * width, channels):
            return source
    flat = emit.reshape(feature_map, [-1, height * width, channels], "flat")
    flat.shape = ir.Shape([feature_map.shape[0], height * width, channels])
    return flat


def replace_map(emit: Emitter, feature_map: ir.Value, tokens: ir.Value) -> None:
    """Makes every reader of a map read these tokens instead, as a map where it needs one."""
    sizes = map_sizes(feature_map)
    assert sizes is not None
    height, width, channels = sizes
    for user, _ in list(feature_map.uses()):
        reshape = user.op_type == "Reshape" and not user.domain
        if reshape and _are_tokens(user.outputs[0], height * width, channels):
            replace(user.outputs[0], tokens)
            emit.graph.remove(user, safe=True)
    if feature_map.uses() or feature_map.is_graph_output():
        replace(feature_map, emit.reshape(tokens, [-1, height, width, channels], "map"))


def _are_tokens(value: ir.Value, tokens: int, channels: int) -> bool:
    shape = value.shape
    return shape is not None and shape.rank() == 3 and list(shape)[1:] == [tokens, channels]
