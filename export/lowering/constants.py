"""Rules on constants: operations that do nothing are dropped.

- Gather by 0, 1, ... n-1 along an axis of length n is the identity (a shift of zero).
- x + 0 = x, where 0 does not widen x (an attention without bias or mask).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase, RewriteRuleSet, pattern

from export.lowering.rule import Rule


class _IdentityGather(RewriteRuleClassBase):
    def pattern(self, op, data, indices):  # type: ignore[no-untyped-def]
        return op.Gather(data, indices, _outputs=["gathered"])

    def check(self, context, data, indices, gathered, **_):  # type: ignore[no-untyped-def]
        result = pattern.MatchResult()
        axis = gathered.producer().attributes.get_int("axis", 0)
        index = indices.const_value
        if index is None or data.shape is None or len(index.shape) != 1:
            return result.fail("The indices are not a constant vector.", indices)
        if data.shape[axis] != index.shape[0]:
            return result.fail("The indices do not cover the axis.", indices)
        if not np.array_equal(index.numpy(), np.arange(index.shape[0])):
            return result.fail("The indices are not the identity.", indices)
        return result

    def rewrite(self, op, data, **_):  # type: ignore[no-untyped-def]
        return op.Identity(data)


class _AddZero(RewriteRuleClassBase):
    def pattern(self, op, data, zero):  # type: ignore[no-untyped-def]
        return op.Add(data, zero, _outputs=["total"])

    def check(self, context, data, zero, **_):  # type: ignore[no-untyped-def]
        result = pattern.MatchResult()
        if zero.const_value is None or zero.const_value.size > (1 << 20):
            return result.fail("The addend is not a small constant.", zero)
        if zero.const_value.numpy().any():
            return result.fail("The addend is not zero.", zero)
        if not _fits(zero.const_value.shape, data.shape):
            return result.fail("The addend widens the sum.", zero)
        return result

    def rewrite(self, op, data, **_):  # type: ignore[no-untyped-def]
        return op.Identity(data)


def _fits(small: ir.Shape, large: ir.Shape | None) -> bool:
    """Whether broadcasting `small` against `large` gives `large` again."""
    if large is None or len(small) > len(large):
        return False
    pairs = zip(reversed(list(small)), reversed(list(large)), strict=False)
    return all(s in (1, d) for s, d in pairs)


_DROPPED = RewriteRuleSet([_IdentityGather.rule(), _AddZero.rule()])


def drop_identities(model: ir.Model) -> ir.Model:
    """In place."""
    _DROPPED.apply_to_model(model)
    return model


DROP_IDENTITIES = Rule("drop identities", drop_identities)
