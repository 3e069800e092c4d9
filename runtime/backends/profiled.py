"""Sessions that tell how long each layer takes, opened beside the one that is used.

Whoever measures layers slows them down, so no session does it unasked.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from runtime.errors import EngineError, one_line
from runtime.manifest import EngineInfo


class LayerTime(NamedTuple):
    """What one layer takes in an inference, in milliseconds.

    Attributes:
        name: as the back end calls what it made of the graph's nodes.
        detail: what the back end tells of it: operator and kernel, or the ONNX nodes it computes.
        milliseconds: median over the rounds.
    """

    name: str
    detail: str
    milliseconds: float


class ProfiledSession(Protocol):
    """A loaded model whose layers can be timed."""

    def layer_times(
        self, inputs: Mapping[str, npt.NDArray[Any]], rounds: int
    ) -> Sequence[LayerTime]:
        """The layers in the order they run, after one round that does not count.

        Raises:
            EngineError: the back end refuses, or reports no layers.
        """

    def close(self) -> None:
        """Free the model; the session cannot run afterwards."""


def open_profiled(
    backend: str, model: Path, *, plugins: Sequence[Path] = (), built_for: EngineInfo | None = None
) -> ProfiledSession:
    """Load a model for the measurement of its layers; arguments as of `open_session`.

    Raises:
        EngineError: the back end times no layers, or see `open_session`.
    """
    if backend == "tensorrt":
        from runtime.backends.tensorrt_profile import ProfiledTensorRt

        return ProfiledTensorRt(model, tuple(plugins), built_for)
    try:
        if backend.startswith("openvino"):
            from runtime.backends.openvino_profile import ProfiledOpenVino

            return ProfiledOpenVino(model, bfloat16=backend == "openvino-bf16")
        if backend == "onnxruntime":
            from runtime.backends.onnxruntime_profile import ProfiledOnnxRuntime

            return ProfiledOnnxRuntime(model)
    except ImportError as error:
        package = backend.partition("-")[0]
        raise EngineError(
            f"{package} does not import here ({one_line(error)}); run `pip install {package}`"
        ) from error
    raise EngineError(
        f"{backend} times launches, not what the GPU does in them; for times of layers use "
        "NVIDIA's Nsight Systems, or a bundle for tensorrt, openvino or onnxruntime"
    )


def medians(rounds: Iterable[Mapping[tuple[str, str], float]]) -> list[LayerTime]:
    """Layers in the order of their first appearance.

    Args:
        rounds: of each inference, (name, detail) -> milliseconds.
    """
    times: dict[tuple[str, str], list[float]] = {}
    for each in rounds:
        for layer, taken in each.items():
            times.setdefault(layer, []).append(taken)
    return [LayerTime(*layer, statistics.median(taken)) for layer, taken in times.items()]
