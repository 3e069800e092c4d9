"""Plans for the fake device: what they compute, and what happened to them in a test."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

_MAGIC = b"toy plan "
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mean_colour": lambda pixel_values: (pixel_values.mean((2, 3)),),
    "affine": lambda x: (2 * x + np.array(1, x.dtype),),
    "sum_and_difference": lambda a, b: (a + b, a - b),
    "positive": lambda x: (x[x > 0], x.max(axis=0)),
    "without_two_rows": lambda x: (x[2:],),
    "invert": lambda mask: (~mask,),
}
_NUMPY = {"FLOAT": "float32", "HALF": "float16", "BOOL": "bool"}  # others by their own name

_calls: list[str] = []
_alive: weakref.WeakSet[Any] = weakref.WeakSet()
_refused: set[str] = set()  # calls that shall fail


def _reset() -> None:
    """Forget what happened before this test."""
    _calls.clear()
    _alive.clear()
    _refused.clear()


def _plan(function: str, inputs: dict[str, Any], outputs: dict[str, str], **more: Any) -> bytes:
    """A toy plan.

    Args:
        function: of `_FUNCTIONS`.
        inputs: (dtype, list of profiles, each min, opt and max shape) by name.
        outputs: dtype by name.
        more: `unknown`: outputs shaped by the data; `memory`: bytes for activations; `host`:
            tensors on the host; `plugins`: whether a library must have been loaded; `host_code`: as
            in a version-compatible plan; `layers`: (name, milliseconds) of each profiled launch;
            `described`: what the inspector says of layers.
    """
    spec = {"function": function, "inputs": inputs, "outputs": outputs, **more}
    return _MAGIC + json.dumps(spec).encode()
