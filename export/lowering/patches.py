"""A patch embedding as what it is: a linear layer of each patch's pixels.

A Conv whose kernel is as large as its stride reads every pixel once, so that

    Conv(x) as (B, tokens, C)  =  patches(x) W + b,    W = kernel as (inputs, C)

with patches(x) of shape (B, tokens, inputs), one copy of the small image in place of changes of
layout on both sides of the Conv; and the tokens may then be permuted while they are pixels
(`permutations`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import constant
from export.lowering.emit import Emitter, replace
from export.lowering.maps import map_sizes
from export.lowering.rule import Rule


def _linear(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.op_type == "Transpose" and not node.domain:
            conv = _patch_conv(node)
            if conv is not None:
                _rewrite(node, conv)
    return model


def _patch_conv(transpose: ir.Node) -> ir.Node | None:
    """The Conv of patches behind a Transpose of (B, C, tokens) to (B, tokens, C)."""
    if list(transpose.attributes.get_ints("perm") or ()) != [0, 2, 1]:
        return None
    flat = _only_source(transpose, "Reshape")
    conv = None if flat is None else _only_source(flat, "Conv")
    if flat is None or conv is None or flat.outputs[0].shape is None:
        return None
    image, grid, kernel = map_sizes(conv.inputs[0]), map_sizes(conv.outputs[0]), _kernel(conv)
    if image is None or grid is None or kernel is None or not _reads_each_pixel_once(conv, kernel):
        return None
    channels, rows, columns = grid
    cover = (rows * kernel.shape[2], columns * kernel.shape[3]) == image[1:]
    tokens = list(flat.outputs[0].shape)[1:] == [channels, rows * columns]
    return conv if cover and tokens else None


def _kernel(conv: ir.Node) -> np.ndarray | None:
    """The constant weights, int8 where they are dequantised by the output channel."""
    node = _dequantise(conv.inputs[1])
    if node is None:
        return constant(conv.inputs[1])
    by_channel = node.attributes.get_int("axis", 1) == 0
    return constant(node.inputs[0]) if by_channel else None


def _dequantise(value: ir.Value | None) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _reads_each_pixel_once(conv: ir.Node, kernel: np.ndarray) -> bool:
    attributes = conv.attributes
    return (
        kernel.ndim == 4
        and tuple(attributes.get_ints("strides") or ()) == kernel.shape[2:]
        and not any(attributes.get_ints("pads") or ())
        and attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and set(attributes.get_ints("dilations") or (1,)) == {1}
        and attributes.get_int("group", 1) == 1
    )


def _only_source(node: ir.Node, op_type: str) -> ir.Node | None:
    """The node of a type that alone feeds, and only feeds, the first input."""
    value = node.inputs[0]
    source = None if value is None else value.producer()
    if value is None or source is None or source.op_type != op_type or source.domain:
        return None
    return source if len(value.uses()) == 1 and not value.is_graph_output() else None


def _rewrite(transpose: ir.Node, conv: ir.Node) -> None:
    image, kernel, grid = conv.inputs[0], _kernel(conv), map_sizes(conv.outputs[0])
    assert image is not None and image.shape is not None
    assert kernel is not None and grid is not None
    channels, inputs, high, wide = kernel.shape
    _, rows, columns = grid
    batch, pixels = image.shape[0], inputs * high * wide
    emit = Emitter(conv)
    tiles = emit.reshape(image, [-1, inputs, rows, high, columns, wide], "tiles")
    tiles = emit.transpose(tiles, (0, 2, 4, 1, 3, 5), "tokens_first")
    patches = emit.reshape(tiles, [-1, rows * columns, pixels], "patches")
    patches.shape = ir.Shape([batch, rows * columns, pixels])
    matrix = emit.constant(kernel.reshape(channels, pixels).T.copy(), "matrix")
    dequantise = _dequantise(conv.inputs[1])
    if dequantise is not None:
        scales = [v for v in dequantise.inputs[1:] if v is not None]
        matrix = emit.op(
            "DequantizeLinear", [matrix, *scales], [pixels, channels], "dequantise", {"axis": 1}
        )
        matrix.type = dequantise.outputs[0].type
    tokens = [batch, rows * columns, channels]
    product = emit.op("MatMul", [patches, matrix], tokens, "product")
    linear = product.producer()
    assert linear is not None
    linear.name = conv.name  # which precision maps go by
    if len(conv.inputs) > 2 and conv.inputs[2] is not None:
        product = emit.op("Add", [product, conv.inputs[2]], tokens, "biased")
    flat = _only_source(transpose, "Reshape")
    assert flat is not None
    replace(transpose.outputs[0], product)
    for node in (transpose, flat, conv):
        emit.graph.remove(node, safe=True)


PATCHES_AS_LINEAR = Rule("patch embedding as a linear layer", _linear)
