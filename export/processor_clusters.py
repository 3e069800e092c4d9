"""The palette that a Hugging Face folder of ImageGPT has in its `preprocessor_config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from export.weight_files import WeightsError
from runtime.colours import Colours

_FILE = "preprocessor_config.json"


def colours_from(record: Mapping[str, Any], default: Colours) -> Colours:
    """The record's preprocessing with the folder's clusters, which are RGB in -1..1.

    Raises:
        WeightsError: clusters of another number than the model's, or something else.
    """
    if "clusters" not in record:
        return default
    wanted = f"expected {len(default.palette)} of [red, green, blue] in -1..1"
    try:
        clusters = np.array(record["clusters"], np.float64)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{_FILE}: `clusters` are no numbers, {wanted}; correct it") from error
    # The published ones exceed -1..1 by their rounding.
    if clusters.shape != default.palette.shape or not (np.abs(clusters) < 1.01).all():
        raise WeightsError(f"{_FILE}: found `clusters` of shape {clusters.shape}, {wanted}")
    levels = ((clusters + 1) * 127.5).clip(0, 255)
    return replace(default, clusters=levels.tolist(), levels=None)
