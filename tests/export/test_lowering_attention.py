"""Int8 scores in the form that back ends run: equal, and nothing left in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from exported_models import Exported
from onnx.reference import ReferenceEvaluator
from tiny_models import inputs

from calibration.attention import attentions
from calibration.calibrate import Settings, calibrate
from calibration.quantise import quantise
from export.lowering.attention import KEYS_IN_TWO_STEPS
from export.lowering.cpu import lowered
from export.simplify import inline, simplify


@pytest.fixture(scope="module")
def int8_scores(export_tiny: Callable[[str], Exported]) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """A ViT in primitives with nothing but its scores in int8, and an input."""
    model, feed = with_int8_scores(export_tiny("vit"))
    return simplify(inline(model)), feed


def with_int8_scores(exported: Exported) -> tuple[ir.Model, dict[str, np.ndarray]]:
    feed = {k: v.numpy() for k, v in inputs(exported.tiny, 3, None, seed=0).items()}
    names = attentions(exported.model)
    calibrated = calibrate(exported.model, names, [feed], Settings(smooth=False, threads=1))
    return quantise(calibrated, names), feed


@pytest.mark.parametrize("name", ["vit", "swin", "swin_padded", "detr"])
def test_all_rules_together_keep_the_answers(
    export_tiny: Callable[[str], Exported], name: str
) -> None:
    portable, feed = with_int8_scores(export_tiny(name))
    found = output(lowered(portable), feed)
    # Two products in another order may round a query or key to the other side: one step of 1/127
    # in one term of a score. A scale applied twice moves outputs by their own size.
    np.testing.assert_allclose(found, output(portable, feed), atol=5e-3, rtol=0)


def output(model: ir.Model, feed: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(ReferenceEvaluator(ir.to_proto(model)).run(None, feed)[0])


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def test_keys_are_quantised_again_between_their_transposes(
    int8_scores: tuple[ir.Model, dict[str, np.ndarray]],
) -> None:
    model, feed = int8_scores
    after = KEYS_IN_TWO_STEPS.apply(model.clone())
    blocks = 2
    for kind in ("QuantizeLinear", "DequantizeLinear", "Transpose"):
        assert operators(after)[kind] - operators(model)[kind] == blocks, kind
    # Rounding what is rounded already by the same scale changes no bit.
    np.testing.assert_array_equal(output(after, feed), output(model, feed))
