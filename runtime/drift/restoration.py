"""Drift of a restoration: its images against PyTorch's, and both against the clean ones.

PSNR in decibels, 10 log10(255^2 / mean squared error over all pixels and colours), of grey levels
that are cut off at black and white but not rounded; its mean is over images. It is cut off at 100,
an error of a four-hundredth of a grey level, so that equal images have a value too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.drift.intervals import Interval
from runtime.drift.metric import Estimate, Metric, check_finite, mean

Image = npt.NDArray[Any]

WHITE = 255.0
_HIGHEST = 100.0

METRICS = {
    "psnr_vs_reference": Metric("PSNR against PyTorch's, dB", True, Interval(0.0, _HIGHEST)),
    "psnr_drop": Metric("PSNR drop, dB", False, Interval(-_HIGHEST, _HIGHEST), True),
}


def psnr(truth: Image, found: Image) -> float:
    """PSNR in 0..100 dB of an image (H, W, 3) in grey levels; 0 of one that is not finite.

    Raises:
        ValueError: images of different sizes.
    """
    if truth.shape != found.shape:
        raise ValueError(
            f"found a restored image of shape {found.shape}, expected {truth.shape}: give the "
            "clean image of each frame, as many times as large as the model makes it"
        )
    if not np.isfinite(found).all():
        return 0.0
    left, right = (np.clip(image, 0, WHITE).astype(np.float64) for image in (truth, found))
    error = float(np.square(left - right).mean()) / WHITE**2
    return min(-10 * float(np.log10(error)), _HIGHEST) if error else _HIGHEST


def estimate(
    reference: Sequence[Image], candidate: Sequence[Image], labels: Any, seed: int
) -> dict[str, Estimate]:
    """See `metric.Estimator`: of each image the restored one (H, W, 3), in grey levels."""
    sums = np.array([np.sum(image, dtype=np.float64) for image in reference])
    check_finite("reference's restored image", sums)
    values = {"psnr_vs_reference": _each(reference, candidate)}
    if labels is not None:
        values["psnr_drop"] = _each(labels, reference) - _each(labels, candidate)
    return {name: mean(found, METRICS[name], seed) for name, found in values.items()}


def _each(truths: Sequence[Image], found: Sequence[Image]) -> npt.NDArray[np.float64]:
    return np.array([psnr(truth, image) for truth, image in zip(truths, found, strict=True)])
