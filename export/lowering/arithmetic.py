"""Chains of elementwise operators in the place of one node, written like a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from export.lowering.emit import Dim, Emitter


class Arithmetic:
    """Calls make nodes before the emitter's, numbered in the order in which they are made."""

    def __init__(self, emit: Emitter) -> None:
        """Args: emit: inserts the nodes and gives them their names."""
        self.emit, self._made = emit, 0

    def __call__(
        self,
        op_type: str,
        *operands: ir.Value | float | Sequence[int],
        shape: Sequence[Dim] | None = None,
        **attributes: Any,
    ) -> ir.Value:
        """The output of a node; of the type, and unless told otherwise the shape, of the first.

        Args:
            op_type: of ONNX's own.
            operands: values; numbers become constants of the first operand's type, and lists of
                integers int64 constants.
            shape: of the output.
            attributes: of the node.
        """
        first = operands[0]
        assert isinstance(first, ir.Value) and first.dtype is not None
        self._made += 1
        name = f"{self._made}.{op_type.lower()}"
        inputs = []
        for i, operand in enumerate(operands):
            if not isinstance(operand, ir.Value):
                kind = np.dtype(np.int64) if isinstance(operand, list) else first.dtype.numpy()
                operand = self.emit.constant(np.array(operand, kind), f"{name}.{i}")
            inputs.append(operand)
        known = first.shape if shape is None else shape
        out = self.emit.op(op_type, inputs, list(known or ()), name, attributes)
        if known is None:
            out.shape = None
        return out

    def cast(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        """The value in another type; itself where it has that type already."""
        if value.dtype == kind:
            return value
        out = self("Cast", value, to=int(kind))
        out.type = ir.TensorType(kind)
        return out
