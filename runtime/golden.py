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
from runtime.strict_npz import MOST_BYTES, read_npz

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
        ValueError: no probe, not one set of outputs per frame, an output named "image",
            outputs that are not finite, or more than can be loaded again.
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
    total = sum(array.nbytes for array in arrays.values())
    if total > MOST_BYTES - (len(arrays) << 10):  # less than a KiB of each is its header
        raise ValueError(f"the probes have {total} bytes, of at most {MOST_BYTES}; give fewer")
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_golden(path: str | Path) -> Golden:
    """Read what `save_golden` wrote; `EngineError` when it is something else."""
    try:
        arrays = read_npz(Path(path))
        frames: dict[str, Frame] = {}
        outputs: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
        for key, value in arrays.items():
            name, _, index = key.rpartition("_")
            if name == _IMAGE:
                frames[index] = value
            else:
                outputs.setdefault(index, {})[name] = value
        if not frames or frames.keys() != outputs.keys():
            raise ValueError(f"{len(frames)} frames, and outputs of {len(outputs)}")
        if len({frozenset(answers) for answers in outputs.values()}) > 1:
            raise ValueError("probes with different outputs")
        for index, frame in frames.items():
            _check_probe(index, frame, outputs[index])
    except (OSError, ValueError) as error:
        raise EngineError(f"{path} holds no probes ({one_line(error)}); rebuild") from error
    order = sorted(frames)
    return Golden([frames[i] for i in order], [outputs[i] for i in order])


def _check_probe(index: str, frame: Frame, outputs: Mapping[str, npt.NDArray[np.float32]]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise ValueError(f"frame {index[:9]!r} is {frame.dtype} {frame.shape}")
    for name, value in outputs.items():
        # Without numbers, or with NaN, any answer would pass.
        if value.dtype != np.float32 or not value.size or not np.isfinite(value).all():
            raise ValueError(
                f"output {name[:40]!r} of probe {index[:9]!r} is {value.dtype} {value.shape}, "
                "expected finite float32"
            )


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
        try:
            inputs = preprocess([frame]).inputs
        except ValueError as error:  # its aspect ratio may be too extreme
            raise EngineError(
                f"golden probe {index} is no frame for this model ({error}); build the bundle again"
            ) from error
        found = run(inputs)
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
            f"{min_cosine:.5f}; this engine computes something else here: "
            "rebuild it on this device",
            cosine,
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
