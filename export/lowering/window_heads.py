"""Shifted-window attention as plain attention whose heads are windows times heads.

With the permutation p that puts the tokens of each of the W windows next to each other (`windows`),
every window of every head attends for itself, which is what heads do:

    WindowAttention(x) = p^-1( FusedAttention( p(x) as (B, W · heads, M·M, D) ) )

The relative-position bias and the shift mask become one constant of (1, W · heads, M·M, M·M),
broadcast over the batch: one addition on four axes and nothing that depends on the batch, as
TensorRT's fusion of attention wants it. (`windows` keeps windows in the batch, for CPUs.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from calibration.linears import constant
from export.attention import shift_mask
from export.lowering.emit import Emitter
from export.lowering.maps import map_sizes
from export.lowering.rule import Rule
from export.lowering.windows import into_windows, out_of_windows, window_order
from export.operators import DOMAIN, VERSION, local_functions


def _windows_as_heads(model: ir.Model) -> ir.Model:
    found = False
    for node in list(model.graph):
        if node.domain == DOMAIN and node.op_type == "WindowAttention":
            bias = constant(node.inputs[1])
            if map_sizes(node.inputs[0]) is None or bias is None:
                continue
            _lower(node, bias)
            found = True
    if found:
        body = local_functions()["FusedAttention"]
        model.functions.setdefault(body.identifier(), body)
        model.opset_imports[DOMAIN] = VERSION
    return model


def _lower(node: ir.Node, bias: np.ndarray) -> None:
    qkv, sizes = node.inputs[0], map_sizes(node.inputs[0])
    assert qkv is not None and sizes is not None and node.graph is not None
    height, width, triple = sizes
    window, shift, heads = (node.attributes[n].as_int() for n in ("window", "shift", "heads"))
    area, tokens, channels = window * window, height * width, triple // 3
    windows, size = tokens // area, triple // 3 // heads
    order = window_order(height, width, window, shift)
    emit = Emitter(node)
    parts = [
        _heads_first(emit, part, (windows, area, heads, size), name)
        for name, part in zip(("query", "key", "value"), into_windows(emit, order), strict=True)
    ]
    added = np.broadcast_to(bias.reshape(1, heads, area, area), (windows, heads, area, area))
    if shift:
        mask = shift_mask(height, width, window, shift, torch.zeros(())).numpy()
        added = added + mask[:, None].astype(bias.dtype)
    added = np.ascontiguousarray(added.reshape(1, windows * heads, area, area))
    attention = ir.node(
        "FusedAttention", [*parts, emit.constant(added, "bias_and_mask")],
        {"scale": node.attributes["scale"].as_float()},
        domain=DOMAIN, name=emit.name,
    )  # fmt: skip
    emit.graph.insert_before(node, attention)
    mixed = attention.outputs[0]
    mixed.name, mixed.type = f"{emit.name}.mixed", qkv.type
    mixed.shape = ir.Shape([qkv.shape[0] if qkv.shape else None, windows * heads, area, size])
    apart = emit.reshape(mixed, [-1, windows, heads, area, size], "windows")
    joined = emit.transpose(apart, (0, 1, 3, 2, 4), "joined")
    out_of_windows(emit, emit.reshape(joined, [-1, tokens, channels], "tokens"), order)


def _heads_first(
    emit: Emitter, part: ir.Value, sizes: tuple[int, int, int, int], name: str
) -> ir.Value:
    """(B, W · M·M, C) as (B, W · heads, M·M, D)."""
    windows, area, heads, size = sizes
    split = emit.reshape(part, [-1, windows, area, heads, size], f"{name}.windows")
    moved = emit.transpose(split, (0, 1, 3, 2, 4), f"{name}.heads")
    return emit.reshape(moved, [-1, windows * heads, area, size], f"{name}.merged")


WINDOWS_AS_HEADS = Rule("windows as heads", _windows_as_heads)
