"""The weight half of every scale migration."""

from __future__ import annotations

import numpy as np

from calibration.biases import add_to_bias, bias_of
from calibration.linears import Linear, constant, set_constant


def scale_inputs(linear: Linear, scale: np.ndarray) -> None:
    """Multiplies the weights of each input channel of a MatMul or Gemm by `scale` (inputs,)."""
    _scale(linear, scale.reshape((1, -1) if linear.out_axis == 0 else (-1, 1)))


def scale_outputs(linear: Linear, scale: np.ndarray) -> None:
    """Multiplies the weights and the bias of each output of a MatMul or Gemm by `scale`."""
    bias = bias_of(linear)
    if bias.any():
        add_to_bias(linear, bias * scale - bias)
    _scale(linear, scale.reshape((-1, 1) if linear.out_axis == 0 else (1, -1)))


def _scale(linear: Linear, factor: np.ndarray) -> None:
    weight = constant(linear.weight)
    assert weight is not None
    scaled = weight.astype(np.float64) * factor
    set_constant(linear.node, 1, scaled.astype(np.float32))
