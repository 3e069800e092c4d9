"""The `vitrine` operators as ONNX local functions made of standard operators.

A portable file carries these bodies, so that stock ONNX Runtime, the ONNX reference
evaluator and OpenVINO run it unchanged. They hold no dtype of their own (`CastLike`), so
one body serves float32 and float16.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx.defs import OpSchema
from onnxscript import opset20 as op
from onnxscript import script
from onnxscript.values import Op, Opset

DOMAIN = "vitrine"
VERSION = 1
_vitrine = Opset(DOMAIN, VERSION)


@script(_vitrine, default_opset=op)
def FusedAttention(query, key, value, bias, scale: float):  # type: ignore # noqa: D103, N802
    factor = op.CastLike(op.Constant(value_float=scale), query)
    scores = op.MatMul(op.Mul(query, factor), op.Transpose(key, perm=[0, 1, 3, 2]))
    return op.MatMul(op.Softmax(op.Add(scores, bias), axis=-1), value)


@script(_vitrine, default_opset=op)
def WindowAttention(qkv, bias, window: int, shift: int, heads: int, scale: float):  # type: ignore # noqa: D103, N802
    zero = op.Constant(value_int=0)
    one = op.Constant(value_int=1)
    minus_one = op.Constant(value_ints=[-1])
    side = op.Constant(value_int=window)
    sides = op.Reshape(side, minus_one)
    head_count = op.Reshape(op.Constant(value_int=heads), minus_one)
    shifted = op.Constant(value_int=shift)
    height = op.Squeeze(op.Shape(qkv, start=1, end=2))
    width = op.Squeeze(op.Shape(qkv, start=2, end=3))
    rows = op.Range(zero, height, one)
    columns = op.Range(zero, width, one)
    tiles_high = op.Reshape(op.Div(height, side), minus_one)
    tiles_wide = op.Reshape(op.Div(width, side), minus_one)
    three = op.Constant(value_ints=[3])

    # Cyclic shift by gathering rotated rows and columns, then (3, B, nh, nw, heads, M, M, D).
    rolled = op.Gather(qkv, op.Mod(op.Add(rows, shifted), height), axis=1)
    rolled = op.Gather(rolled, op.Mod(op.Add(columns, shifted), width), axis=2)
    split = op.Concat(
        minus_one, tiles_high, sides, tiles_wide, sides, three, head_count,
        op.Div(op.Shape(qkv, start=3, end=4), op.Mul(three, head_count)), axis=0,
    )  # fmt: skip
    tiles = op.Transpose(op.Reshape(rolled, split), perm=[5, 0, 1, 3, 6, 2, 4, 7])
    area = op.Mul(sides, sides)
    merged = op.Concat(
        three, minus_one, op.Mul(tiles_high, tiles_wide), head_count, area,
        op.Shape(tiles, start=7, end=8), axis=0,
    )  # fmt: skip
    stacked = op.Reshape(tiles, merged)
    query = op.Gather(stacked, zero, axis=0)
    key = op.Gather(stacked, one, axis=0)
    value = op.Gather(stacked, op.Add(one, one), axis=0)

    # Band of each row and column after the shift; tokens of different bands are masked.
    row_band = op.Add(
        op.Cast(op.GreaterOrEqual(rows, op.Sub(height, side)), to=7),
        op.Cast(op.GreaterOrEqual(rows, op.Sub(height, shifted)), to=7),
    )
    column_band = op.Add(
        op.Cast(op.GreaterOrEqual(columns, op.Sub(width, side)), to=7),
        op.Cast(op.GreaterOrEqual(columns, op.Sub(width, shifted)), to=7),
    )
    region = op.Add(op.Mul(op.Unsqueeze(row_band, one), three), op.Unsqueeze(column_band, zero))
    region = op.Reshape(region, op.Concat(tiles_high, sides, tiles_wide, sides, axis=0))
    region = op.Reshape(op.Transpose(region, perm=[0, 2, 1, 3]), op.Concat(minus_one, area, axis=0))
    apart = op.Not(op.Equal(op.Unsqueeze(region, op.Add(one, one)), op.Unsqueeze(region, one)))
    masked = op.Mul(op.CastLike(apart, qkv), op.CastLike(op.Constant(value_float=-100.0), qkv))

    factor = op.CastLike(op.Constant(value_float=scale), qkv)
    scores = op.MatMul(op.Mul(query, factor), op.Transpose(key, perm=[0, 1, 2, 4, 3]))
    scores = op.Add(op.Add(scores, bias), op.Unsqueeze(masked, one))
    mixed = op.MatMul(op.Softmax(scores, axis=-1), value)

    # Back to the map, then the shift undone.
    unmerged = op.Concat(
        minus_one, tiles_high, tiles_wide, head_count, sides, sides,
        op.Shape(tiles, start=7, end=8), axis=0,
    )  # fmt: skip
    mixed = op.Transpose(op.Reshape(mixed, unmerged), perm=[0, 1, 4, 2, 5, 3, 6])
    back = op.Concat(
        minus_one, op.Mul(tiles_high, sides), op.Mul(tiles_wide, sides),
        op.Div(op.Shape(qkv, start=3, end=4), three), axis=0,
    )  # fmt: skip
    mixed = op.Reshape(mixed, back)
    mixed = op.Gather(mixed, op.Mod(op.Add(rows, op.Sub(height, shifted)), height), axis=1)
    return op.Gather(mixed, op.Mod(op.Add(columns, op.Sub(width, shifted)), width), axis=2)


_INT, _FLOAT = OpSchema.AttrType.INT, OpSchema.AttrType.FLOAT
_SIGNATURES: dict[str, tuple[tuple[str, ...], dict[str, OpSchema.AttrType]]] = {
    "FusedAttention": (("query", "key", "value", "bias"), {"scale": _FLOAT}),
    "WindowAttention": (
        ("qkv", "bias"),
        {"window": _INT, "shift": _INT, "heads": _INT, "scale": _FLOAT},
    ),
}


def caller(name: str) -> Op:
    """What a translation calls to emit one node of the operator `name`.

    The schema goes with the call, since ONNX's own registry has none for this domain.
    """
    inputs, attributes = _SIGNATURES[name]
    optional = OpSchema.FormalParameterOption.Optional
    single = OpSchema.FormalParameterOption.Single
    schema = OpSchema(
        name, DOMAIN, VERSION,
        inputs=[
            OpSchema.FormalParameter(i, "T", param_option=single if k != 3 else optional)
            for k, i in enumerate(inputs)
        ],
        outputs=[OpSchema.FormalParameter("output", "T")],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)"], "")],
        attributes=[OpSchema.Attribute(a, kind, required=True) for a, kind in attributes.items()],
    )  # fmt: skip
    return Op(_vitrine, name, schema)


def local_functions() -> dict[str, ir.Function]:
    """The bodies by operator name, each a fresh copy that a model may own."""
    functions = (FusedAttention, WindowAttention)
    return {f.name: ir.serde.deserialize_function(f.to_function_proto()) for f in functions}
