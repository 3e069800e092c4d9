"""Every tiny family is exported once a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import onnx
import onnx.inliner
import onnx_ir as ir
import pytest
from tiny_models import TINY, Tiny
from torch import nn

from export.to_onnx import onnx_from_module


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


@pytest.fixture(scope="session")
def export_tiny() -> Callable[[str], Exported]:
    """Exports by name, each name once."""

    @cache
    def exported(name: str) -> Exported:
        tiny = TINY[name]
        module = tiny.module()
        model = onnx_from_module(module, tiny.family, *tiny.size)
        return Exported(tiny, module, model, ir.to_proto(model))

    return exported


@pytest.fixture(params=TINY)
def exported(request: pytest.FixtureRequest, export_tiny: Callable[[str], Exported]) -> Exported:
    """Every tiny family in turn."""
    return export_tiny(request.param)
