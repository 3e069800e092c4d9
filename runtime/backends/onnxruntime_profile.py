"""Times of a model's layers in ONNX Runtime, from the trace that it writes on request."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from runtime.backends.onnxruntime_session import OnnxRuntimeSession
from runtime.backends.profiled import LayerTime, medians
from runtime.errors import EngineError, one_line

_NODE = "_kernel_time"  # how the name of a node's event ends
_RUN = "model_run"  # the event of a whole inference, written after those of its nodes


class ProfiledOnnxRuntime(OnnxRuntimeSession):
    """A session that measures in a second one with the same settings."""

    def __init__(self, model: Path) -> None:
        """Load `model`; see `open_profiled`."""
        super().__init__(model, None, 1, faithful=False)
        self._model = model

    def layer_times(self, inputs: Mapping[str, npt.NDArray[Any]], rounds: int) -> list[LayerTime]:
        """See `ProfiledSession.layer_times`."""
        import onnxruntime

        options = self._session.get_session_options()
        with tempfile.TemporaryDirectory() as folder:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "trace")
            try:
                session = onnxruntime.InferenceSession(
                    str(self._model), options, providers=self._session.get_providers()
                )
                for _ in range(rounds + 1):
                    session.run(None, dict(inputs))
                trace = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            except Exception as error:  # its exceptions share no base class but this
                raise EngineError(
                    f"ONNX Runtime gives no trace of {self._model} ({one_line(error)})"
                ) from error
        return medians(_rounds(trace)[1:])


def _rounds(trace: Iterable[Mapping[str, Any]]) -> list[dict[tuple[str, str], float]]:
    """Of each inference, (node, operator) -> milliseconds.

    The format is Chrome's trace events, durations in microseconds
    (https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html).
    """
    rounds: list[dict[tuple[str, str], float]] = []
    current: dict[tuple[str, str], float] = defaultdict(float)
    for event in trace:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_NODE):
            layer = (name.removesuffix(_NODE), str(event["args"].get("op_name", "")))
            current[layer] += event["dur"] / 1e3
        elif name == _RUN:
            rounds.append(dict(current))
            current.clear()
    return rounds
