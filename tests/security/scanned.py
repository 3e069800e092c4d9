"""A small model, and files that the scan must accept or refuse."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from runtime import EngineError
from runtime.model_scan import scan_model
from tests.runtime.bundles import MEAN_COLOUR


def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(MEAN_COLOUR)


def scan(path: Path, data: bytes | onnx.ModelProto, files: dict[str, int] | None = None) -> None:
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    scan_model(path, files or {})


def refused(path: Path, data: bytes | onnx.ModelProto, message: str) -> None:
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    del data  # may be large, and pytest would show it
    with pytest.raises(EngineError, match=message) as caught:
        scan_model(path, {"weights.bin": 100})
    assert "\n" not in str(caught.value)
