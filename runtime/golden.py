"""Golden probes: items with the PyTorch model's outputs, on which an engine proves itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import EngineError, GoldenProbeError, one_line
from runtime.items import from_arrays, is_item_name, to_arrays
from runtime.preparation import Preparation
from runtime.strict_npz import MOST_BYTES, read_npz

Run = Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]]


@dataclasses.dataclass(frozen=True)
class Golden:
    """Probes and answers.

    Attributes:
        items: frames, uint8 (H, W, 3) RGB, of any sizes, or what else the model takes.
        outputs: per item, by output name, the PyTorch model's float32 output for that item
            alone, without the batch axis.
    """

    items: Sequence[Any]
    outputs: Sequence[Mapping[str, npt.NDArray[np.float32]]]


def save_golden(path: str | Path, golden: Golden) -> None:
    """Write golden.npz; equal probes give equal files.

    Raises:
        ValueError: no probe, not one set of outputs per item, an output that is called like an
            item, outputs that are not finite, or more than can be loaded again.
    """
    if not golden.items or len(golden.items) != len(golden.outputs):
        raise ValueError(
            f"found {len(golden.items)} items and {len(golden.outputs)} sets of outputs; "
            "give one set per item and at least one"
        )
    arrays: dict[str, npt.NDArray[Any]] = {}
    for index, (item, outputs) in enumerate(zip(golden.items, golden.outputs, strict=True)):
        for name, value in to_arrays(item).items():
            arrays[f"{name}_{index:03d}"] = value
        for name, value in outputs.items():
            if is_item_name(name) or not np.isfinite(value).all():
                raise ValueError(f"output {name!r} of probe {index} cannot be a golden answer")
            arrays[f"{name}_{index:03d}"] = np.asarray(value, np.float32)
    total = sum(array.nbytes for array in arrays.values())
    if total > MOST_BYTES - (len(arrays) << 10):  # less than a KiB of each is its header
        raise ValueError(f"the probes have {total} bytes, of at most {MOST_BYTES}; give fewer")
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_golden(path: str | Path) -> Golden:
    """Read what `save_golden` wrote; `EngineError` when it is something else."""
    try:
        items: dict[str, dict[str, npt.NDArray[Any]]] = {}
        outputs: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
        for key, value in read_npz(Path(path)).items():
            name, _, index = key.rpartition("_")
            (items if is_item_name(name) else outputs).setdefault(index, {})[name] = value
        if not items or items.keys() != outputs.keys():
            raise ValueError(f"{len(items)} items, and outputs of {len(outputs)}")
        if len({frozenset(answers) for answers in outputs.values()}) > 1:
            raise ValueError("probes with different outputs")
        order = sorted(items)
        for index in order:
            _check_outputs(index, outputs[index])
        return Golden([from_arrays(items[i]) for i in order], [outputs[i] for i in order])
    except (OSError, ValueError) as error:
        raise EngineError(f"{path} holds no probes ({one_line(error)}); rebuild") from error


def _check_outputs(index: str, outputs: Mapping[str, npt.NDArray[np.float32]]) -> None:
    for name, value in outputs.items():
        # Without numbers, or with NaN, any answer would pass.
        if value.dtype != np.float32 or not value.size or not np.isfinite(value).all():
            raise ValueError(
                f"output {name[:40]!r} of probe {index[:9]!r} is {value.dtype} {value.shape}, "
                "expected finite float32"
            )


def check(run: Run, preprocess: Preparation, golden: Golden, min_cosine: float) -> float:
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
    for index, (item, expected) in enumerate(zip(golden.items, golden.outputs, strict=True)):
        try:
            inputs = preprocess([item]).inputs
        except (TypeError, ValueError) as error:  # its aspect ratio may be too extreme
            raise EngineError(
                f"golden probe {index} is nothing for this model ({error}); build the bundle again"
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
