"""The changes of a linear's input that are worth trying in the model (calibration/search.py)."""

from __future__ import annotations

import numpy as np

from calibration.local_error import Affine
from calibration.ranges import ChannelStatistics
from calibration.smoothing import smoothing_scales

_STRENGTHS = (0.0, 0.5, 0.7, 0.85, 1.0)
_UNCENTRED = (0.5, 0.7, 0.85)
QUIET_ACTIVATION = 0.75
QUIET_VALUE = 0.5


def activation_candidates(statistics: ChannelStatistics, matrix: np.ndarray) -> list[Affine]:
    """For the output of an activation function: the identity, and centring with each strength.

    A channel that stayed quiet on the calibration images may stand for something they did not
    show, and a scale fitted to its silence would clip it the day it speaks (seen: 36 times its
    calibrated range, and the class lost). So no channel's maximum is taken to be lower than
    the QUIET_ACTIVATION quantile of all channels' maxima.

    Args:
        statistics: Of the linear's input.
        matrix: Weights (inputs, outputs).
    """
    low, high = statistics.low.astype(np.float64), statistics.high.astype(np.float64)
    high = np.maximum(high, np.quantile(high, QUIET_ACTIVATION))
    return [_identity(low), *_centred((low + high) / 2.0, (high - low) / 2.0, matrix)]


def value_candidates(statistics: ChannelStatistics, matrix: np.ndarray) -> list[Affine]:
    """For the output of attention: the identity, and each strength with and without centring.

    Quiet channels are treated as in `activation_candidates`, on both sides of their middle.
    """
    low, high = statistics.low.astype(np.float64), statistics.high.astype(np.float64)
    half_range = (high - low) / 2.0
    half_range = np.maximum(half_range, np.quantile(half_range, QUIET_VALUE))
    spread = np.maximum(high, -low)
    spread = np.maximum(spread, np.quantile(spread, QUIET_VALUE))
    identity = _identity(low)
    uncentred = [Affine(smoothing_scales(spread, matrix, a), identity.offset) for a in _UNCENTRED]
    return [identity, *uncentred, *_centred((low + high) / 2.0, half_range, matrix)]


def _identity(like: np.ndarray) -> Affine:
    return Affine(np.ones_like(like), np.zeros_like(like))


def _centred(middle: np.ndarray, half_range: np.ndarray, matrix: np.ndarray) -> list[Affine]:
    scales = [
        smoothing_scales(half_range, matrix, a) if a else np.ones_like(middle) for a in _STRENGTHS
    ]
    return [Affine(scale, middle) for scale in scales]
