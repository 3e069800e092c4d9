"""The clipping threshold that serves the linears behind it best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.local_error import Affine, output_error
from calibration.ranges import ChannelStatistics

_CLIPS = tuple(percent / 100.0 for percent in range(100, 19, -4))


def best_threshold(statistics: ChannelStatistics, matrices: Sequence[np.ndarray]) -> float:
    """The clipping threshold, out of a grid below min-max, with the least output error.

    After Choukroun et al., "Low-bit Quantization of Neural Networks for Efficient Inference",
    ICCV Workshops 2019 (grid search for the least squared error), but of the outputs.

    Args:
        statistics: Of the tensor that the linears read.
        matrices: Weights (inputs, outputs) of each of them.

    Returns:
        A positive number in the tensor's own units.
    """
    identity = Affine(np.ones(len(statistics.low)), np.zeros(len(statistics.low)))
    # From the largest down, so that of two equal errors the one that clips less is kept.
    errors = [output_error(statistics, matrices, identity, clip) for clip in _CLIPS]
    largest = float(np.maximum(statistics.high, -statistics.low).max())
    return largest * _CLIPS[int(np.argmin(errors))] or 1.0
