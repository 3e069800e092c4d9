"""Mod as division and flooring, whose sign rules no parser can read differently.

    integers, fmod=1:  r = a - b·(a / b)                  a / b rounds towards zero: the sign of a
    integers, fmod=0:  (r + b) - b·((r + b) / b)          since |r| < |b|: the sign of b
    floats,   fmod=0:  a - b·floor(a / b)                 the sign of b
    floats,   fmod=1:  sign(a) · m(m(|a|))                m(x) = x - |b|·floor(x / |b|)

In floating point |a| / |b| may round up to the next integer, which leaves m slightly below zero;
the second m puts it right. Both float forms are computed in float32, as float16 has no digits left
below one from 2048 on.
"""

from __future__ import annotations

import onnx_ir as ir

from export.lowering.arithmetic import Arithmetic
from export.lowering.emit import Emitter, replace
from export.lowering.rule import Rule

_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
_FLOATS = (ir.DataType.FLOAT16, ir.DataType.FLOAT)


def _without_mod(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.op_type != "Mod" or node.domain or None in node.inputs:
            continue
        a, b = (value for value in node.inputs if value is not None)
        if a.dtype in (*_INTEGERS, *_FLOATS):
            _lower(node, a, b)
    return model


def _lower(node: ir.Node, a: ir.Value, b: ir.Value) -> None:
    op, out = Arithmetic(Emitter(node)), node.outputs[0]
    shape = None if out.shape is None else list(out.shape)
    of_dividend = bool(node.attributes.get_int("fmod", 0))

    def less_multiple(x: ir.Value, y: ir.Value, *, floor: bool) -> ir.Value:
        quotient = op("Div", x, y, shape=shape)
        if floor:
            quotient = op("Floor", quotient)
        return op("Sub", x, op("Mul", quotient, y, shape=shape), shape=shape)

    if a.dtype in _INTEGERS:
        found = less_multiple(a, b, floor=False)
        if not of_dividend:
            found = less_multiple(op("Add", found, b, shape=shape), b, floor=False)
    else:
        kind = a.dtype
        a, b = op.cast(a, ir.DataType.FLOAT), op.cast(b, ir.DataType.FLOAT)
        if of_dividend:
            size = op("Abs", b)
            found = less_multiple(op("Abs", a), size, floor=True)
            found = op("Mul", less_multiple(found, size, floor=True), op("Sign", a), shape=shape)
        else:
            found = less_multiple(a, b, floor=True)
        assert kind is not None
        found = op.cast(found, kind)
    replace(out, found)
    op.emit.graph.remove(node, safe=True)


MODULO_AS_DIVISION = Rule("modulo as division", _without_mod)
