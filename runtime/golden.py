"""Golden probes: frames with the PyTorch model's outputs, on which an engine proves itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import EngineError, GoldenProbeError, one_line
from runtime.preprocess import Frame, Preprocess

_IMAGE = "image"
Run = Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]]


@dataclasses.dataclass(frozen=True)
class Golden:
    """Probes and answers.

    Attributes:
        frames: uint8 (H, W, 3) RGB, of any sizes.
        outputs: per frame, by output name, the PyTorch model's float32 output for that frame
            alone, without the batch axis.
    """

    frames: Sequence[Frame]
    outputs: Sequence[Mapping[str, npt.NDArray[np.float32]]]


def save_golden(path: str | Path, golden: Golden) -> None:
    """Write golden.npz; equal probes give equal files.

    Raises:
        ValueError: no probe, not one set of outputs per frame, an output named "image", or
            outputs that are not finite.
    """
    if not golden.frames or len(golden.frames) != len(golden.outputs):
        raise ValueError(
            f"found {len(golden.frames)} frames and {len(golden.outputs)} sets of outputs; "
            "give one set per frame and at least one"
        )
    arrays: dict[str, npt.NDArray[Any]] = {}
    for index, (frame, outputs) in enumerate(zip(golden.frames, golden.outputs, strict=True)):
        arrays[f"{_IMAGE}_{index:03d}"] = frame
        for name, value in outputs.items():
            if name == _IMAGE or not np.isfinite(value).all():
                raise ValueError(f"output {name!r} of probe {index} cannot be a golden answer")
            arrays[f"{name}_{index:03d}"] = np.asarray(value, np.float32)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_golden(path: str | Path) -> Golden:
    """Read what `save_golden` wrote; `EngineError` when it is something else."""
    import zipfile  # here, as it would be a tenth of the package's import time

    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EngineError(f"{path} holds no probes ({one_line(error)}); rebuild") from error
    frames: dict[str, Frame] = {}
    outputs: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
    for key, value in arrays.items():
        name, _, index = key.rpartition("_")
        if name == _IMAGE:
            frames[index] = value
        else:
            outputs.setdefault(index, {})[name] = value
    uint8 = all(frame.dtype == np.uint8 and frame.ndim == 3 for frame in frames.values())
    if not frames or not uint8 or frames.keys() != outputs.keys():
        raise EngineError(
            f"{path} holds {len(frames)} probes, not all frames with outputs; rebuild"
        )
    order = sorted(frames)
    return Golden([frames[i] for i in order], [outputs[i] for i in order])


def check(run: Run, preprocess: Preprocess, golden: Golden, min_cosine: float) -> float:
    """Compare an engine with the golden outputs, one probe at a time.

    Args:
        run: arrays by input name to arrays by output name, with a batch axis.
        min_cosine: the limit for the cosine between each output and its golden one.

    Returns:
        The lowest cosine over probes and outputs.

    Raises:
        EngineError: an output is missing or has another shape.
        GoldenProbeError: an output is below the limit.
    """
    worst = (1.0, "", 0)
    for index, (frame, expected) in enumerate(zip(golden.frames, golden.outputs, strict=True)):
        found = run(preprocess([frame]).inputs)
        for name, value in expected.items():
            if name not in found or found[name].shape != (1, *value.shape):
                shape = found[name].shape if name in found else "absent"
                raise EngineError(
                    f"output {name!r} is {shape}, its golden probe is {(1, *value.shape)}; "
                    "build the bundle again"
                )
            worst = min(worst, (_cosine(found[name][0], value), name, index))
    cosine, name, index = worst
    if cosine < min_cosine:
        raise GoldenProbeError(
            f"golden probe {index} gives cosine {cosine:.5f} in {name!r}, expected at least "
            f"{min_cosine:.5f}; this engine computes something else here: rebuild it on this device"
        )
    return cosine


def _cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Cosine in float64; -1 when `a` is not finite, and 1 between two zeros."""
    x, y = (np.ravel(v).astype(np.float64) for v in (a, b))
    if not np.isfinite(x).all():
        return -1.0
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norms == 0.0:
        return 1.0 if not x.any() and not y.any() else 0.0
    return float(x @ y) / norms
