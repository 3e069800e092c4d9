"""Back ends without their telemetry: what runs at a camera reports to nobody.

ONNX Runtime 1.31 and OpenVINO 2026.4 both write an identifier below the home folder and send events
when they are imported.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_TELEMETRY = "openvino_telemetry"


def silence_onnxruntime() -> None:
    """To be called before its import; an application that sets the variable has its way.

    See https://github.com/microsoft/onnxruntime/pull/27379.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def import_openvino() -> Any:
    """The module `openvino`, which falls back on a stub where its telemetry does not import."""
    hidden = "openvino" not in sys.modules and _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if hidden:
            sys.modules.pop(_TELEMETRY, None)  # another thread may have come first
    return openvino
