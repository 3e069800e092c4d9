"""The weight half of every scale migration."""

from __future__ import annotations

import numpy as np

from calibration.linears import Linear, constant, set_constant


def scale_inputs(linear: Linear, scale: np.ndarray) -> None:
    """Multiplies the weights of each input channel of a MatMul or Gemm by `scale` (inputs,)."""
    weight = constant(linear.weight)
    assert weight is not None
    shape = (1, -1) if linear.out_axis == 0 else (-1, 1)
    scaled = weight.astype(np.float64) * scale.reshape(shape)
    set_constant(linear.node, 1, scaled.astype(np.float32))
