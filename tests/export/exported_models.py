"""What the session's exports hold."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx.inliner
import onnx_ir as ir
from tiny_models import Tiny
from torch import nn


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
