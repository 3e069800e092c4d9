"""What the session's exports hold, and a family's own against its module."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from tiny_models import Tiny, inputs, reference_outputs
from torch import nn

from export.lowering.cpu import lowered

onnxruntime = pytest.importorskip("onnxruntime")


@dataclass(frozen=True, eq=False)
class Exported:
    """A tiny reference, and the portable graph made from it."""

    tiny: Tiny
    module: nn.Module
    model: ir.Model
    proto: onnx.ModelProto

    @property
    def inlined(self) -> onnx.ModelProto:
        """Without local functions, which OpenVINO does not read."""
        return onnx.inliner.inline_local_functions(self.proto)

    @cached_property
    def lowered(self) -> ir.Model:
        """For CPU back ends."""
        return lowered(self.model)


def logits_equal_to_pytorchs(
    tiny: Tiny, module: nn.Module, model: ir.Model, *, tolerance: float, varies: float
) -> list[NDArray[Any]]:
    """Logits of ONNX Runtime for one image and for three, which must be those of the module.

    Args:
        tolerance: largest difference.
        varies: least standard deviation over the three images, which else would decide nothing.
    """
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    answers = []
    for batch in (1, 3):
        tensors = inputs(tiny, batch, seed=batch)
        expected = reference_outputs(module, tiny, tensors)["logits"]
        (found,) = session.run(None, {"pixel_values": tensors["pixel_values"].numpy()})
        np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
        assert batch == 1 or expected.std(axis=0).mean() > varies
        answers.append(found)
    return answers
