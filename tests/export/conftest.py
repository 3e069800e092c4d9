"""Every tiny family is exported once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import onnx_ir as ir
import pytest
from exported_models import Exported
from tiny_models import TINY

from export.to_onnx import onnx_from_module


@pytest.fixture(scope="session")
def export_tiny() -> Callable[[str], Exported]:
    """Exports by name, each name once."""

    @cache
    def exported(name: str) -> Exported:
        tiny = TINY[name]
        module = tiny.module()
        model = onnx_from_module(module, tiny.family, tiny.inputs)
        return Exported(tiny, module, model, ir.to_proto(model))

    return exported


@pytest.fixture(params=TINY)
def exported(request: pytest.FixtureRequest, export_tiny: Callable[[str], Exported]) -> Exported:
    """Every tiny family in turn."""
    return export_tiny(request.param)
