"""GridSample as a gather of pixels and arithmetic on their coordinates.

    x = ((g + 1) · W - 1) / 2, or (g + 1) · (W - 1) / 2 with align_corners      y likewise
    Y = sum over the taps (i, j) next to (x, y) of  wx(i) · wy(j) · X[j, i]

Taps are floor(x) and floor(x) + 1 with weights 1 - f and f, or round(x) alone ("nearest", halves
to even). Padding is decided on coordinates: "border" clips them, "reflection" folds them at the
edges and clips, and "zeros" clips to one pixel outside, whose weight is zero. So every index is
inside, whatever finite numbers the grid holds. Coordinates are float32, as float16 holds no half
above 1024, and places in the image int64.

That is ONNX's definition (https://onnx.ai/onnx/operators/onnx__GridSample.html); what a parser
makes of halves, of reflection and of an FP16 grid does not matter any more. Images of unknown
height or width, cubic sampling and five axes stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from export.lowering.arithmetic import Arithmetic
from export.lowering.emit import Dim, Emitter, replace
from export.lowering.rule import Rule

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_MODES = {"bilinear": "linear", "linear": "linear", "nearest": "nearest"}


@dataclass(frozen=True)
class _Tap:
    """Along one axis: rows or columns inside the image (int64) and their weights (float32)."""

    index: ir.Value
    weight: ir.Value | None


def _as_gathers(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.op_type != "GridSample" or node.domain or None in node.inputs:
            continue
        image, grid = (value for value in node.inputs if value is not None)
        mode = _MODES.get(node.attributes.get_string("mode", "linear") or "")
        if mode is None or image.dtype not in _FLOATS or grid.shape is None:
            continue
        if image.shape is None or image.shape.rank() != 4:
            continue
        height, width = image.shape[2], image.shape[3]
        if isinstance(height, int) and isinstance(width, int):
            _lower(node, (image, grid), (height, width), mode)
    return model


def _lower(
    node: ir.Node, inputs: tuple[ir.Value, ir.Value], size: tuple[int, int], mode: str
) -> None:
    (image, grid), (height, width) = inputs, size
    op, out = Arithmetic(Emitter(node)), node.outputs[0]
    assert image.shape is not None and grid.shape is not None and image.dtype is not None
    batch, channels = image.shape[0], image.shape[1]
    rows = list(grid.shape)[1:3]
    points = _product(rows[0], rows[1])
    flat = op("Reshape", image, [0, 0, -1], shape=[batch, channels, height * width])
    pixels = op("Transpose", flat, shape=[batch, height * width, channels], perm=[0, 2, 1])
    grid = op.cast(grid, ir.DataType.FLOAT)
    taps = []
    for axis, length in ((1, height), (0, width)):
        chosen = op("Gather", grid, [axis], shape=[batch, *rows, 1], axis=3)
        given = op("Reshape", chosen, [0, -1, 1], shape=[batch, points, 1])
        taps.append(_taps(op, given, length, node, mode))

    total: ir.Value | None = None
    for down in taps[0]:
        for across in taps[1]:
            index = op("Add", op("Mul", down.index, width), across.index)
            term = op("GatherND", pixels, index, shape=[batch, points, channels], batch_dims=1)
            if down.weight is not None and across.weight is not None:
                weight = op.cast(op("Mul", down.weight, across.weight), image.dtype)
                term = op("Mul", term, weight)
            total = term if total is None else op("Add", total, term)
    assert total is not None
    first = op("Transpose", total, shape=[batch, channels, points], perm=[0, 2, 1])
    # (0, 0, rows, columns), of a grid whose size may not be known.
    sizes = op("Shape", grid, shape=[2], start=1, end=3)
    sizes.type = ir.TensorType(ir.DataType.INT64)
    kept = op("Mul", sizes, 0)
    target = op("Concat", kept, sizes, shape=[4], axis=0)
    replace(out, op("Reshape", first, target, shape=[batch, channels, *rows]))
    op.emit.graph.remove(node, safe=True)


def _product(a: Dim, b: Dim) -> int | None:
    return a * b if isinstance(a, int) and isinstance(b, int) else None


def _taps(op: Arithmetic, given: ir.Value, length: int, node: ir.Node, mode: str) -> list[_Tap]:
    """What is read along one axis, given coordinates in -1 ... 1."""
    corners = bool(node.attributes.get_int("align_corners", 0))
    padding = node.attributes.get_string("padding_mode", "zeros")
    factor = (length - 1) / 2 if corners else length / 2
    offset = factor if corners else factor - 0.5
    at = op("Add", op("Mul", given, factor), offset)
    if mode == "nearest":
        at = op("Round", at)
    if padding == "reflection":
        at = _reflected(op, at, length, corners)
    if padding != "zeros":
        at = op("Clip", at, 0.0, float(length - 1))
        if mode == "nearest":
            return [_Tap(op.cast(at, ir.DataType.INT64), None)]
    else:
        at = op("Clip", at, -1.0, float(length))
        if mode == "nearest":
            return [_inside(op, at, None, length)]
    low = op("Floor", at)
    share = op("Sub", at, low)
    rest = op("Add", op("Neg", share), 1.0)
    return [
        _inside(op, low, rest, length),
        _inside(op, op("Add", low, 1.0), share, length),
    ]


def _inside(op: Arithmetic, index: ir.Value, weight: ir.Value | None, length: int) -> _Tap:
    """The tap with its index clipped, and no weight where that changed it.

    Indices are whole, so clip(i + 1, 0, 1) · clip(n - i, 0, 1) is 1 inside and 0 outside.
    """
    above = op("Clip", op("Add", index, 1.0), 0.0, 1.0)
    below = op("Clip", op("Add", op("Neg", index), float(length)), 0.0, 1.0)
    inside = op("Mul", above, below)
    clipped = op.cast(op("Clip", index, 0.0, float(length - 1)), ir.DataType.INT64)
    return _Tap(clipped, inside if weight is None else op("Mul", inside, weight))


def _reflected(op: Arithmetic, at: ir.Value, length: int, corners: bool) -> ir.Value:
    """Folded at the centres of the outer pixels (align_corners), or at their outer edges."""
    edge, span = (0.0, length - 1.0) if corners else (-0.5, float(length))
    if span == 0.0:
        return op("Mul", at, 0.0)
    far = op("Abs", op("Add", at, -edge))
    turns = op("Floor", op("Mul", far, 0.5 / span))
    within = op("Sub", far, op("Mul", turns, 2.0 * span))
    bent = op("Abs", op("Add", within, -span))
    return op("Add", op("Neg", bent), span + edge)


SAMPLING_AS_GATHERS = Rule("grid sampling as gathers", _as_gathers)
