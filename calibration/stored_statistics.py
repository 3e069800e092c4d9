"""What calibration measured as one npz file, without pickle."""

from __future__ import annotations

import io
import json

import numpy as np
import onnx_ir as ir

from calibration.calibrate import Calibrated
from calibration.local_error import Affine
from calibration.ranges import ChannelStatistics


def statistics_to_bytes(calibrated: Calibrated) -> bytes:
    """Everything of `calibrated` but its graph.

    Value and linear names may hold any character, so arrays are numbered and an index, itself an
    array of bytes, tells whose they are.
    """
    affines, channels = list(calibrated.affines), list(calibrated.channels)
    index = {
        "affines": affines,
        "channels": channels,
        # repr() of a float in JSON reads back as the same float.
        "thresholds": dict(calibrated.thresholds),
        "images": calibrated.images,
    }
    arrays = {"index": np.frombuffer(json.dumps(index).encode(), np.uint8)}
    for i, name in enumerate(affines):
        affine = calibrated.affines[name]
        arrays |= {f"affine{i}.scale": affine.scale, f"affine{i}.offset": affine.offset}
    for i, name in enumerate(channels):
        state = calibrated.channels[name].state()
        arrays |= {f"channel{i}.{key}": array for key, array in state.items()}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def statistics_from_bytes(graph: ir.Model, content: bytes) -> Calibrated:
    """The inverse of `statistics_to_bytes`.

    Args:
        graph: The float graph that was measured.
        content: Whole and unchanged, which the caller has verified.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        index = json.loads(arrays["index"].tobytes())
        affines = {
            name: Affine(arrays[f"affine{i}.scale"], arrays[f"affine{i}.offset"])
            for i, name in enumerate(index["affines"])
        }
        channels = {
            name: ChannelStatistics.from_state(
                {key: arrays[f"channel{i}.{key}"] for key in ChannelStatistics.STATE}
            )
            for i, name in enumerate(index["channels"])
        }
    return Calibrated(graph, affines, index["thresholds"], channels, index["images"])
