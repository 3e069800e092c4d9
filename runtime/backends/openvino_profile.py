"""Times of a model's layers in OpenVINO, from its performance counters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from runtime.backends.openvino_session import OpenVinoSession, openvino_core
from runtime.backends.profiled import LayerTime, medians
from runtime.errors import EngineError, one_line

# What decides how fast the model runs.
_SETTINGS = ("PERFORMANCE_HINT", "INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT")


class ProfiledOpenVino(OpenVinoSession):
    """A session that counts, in a model compiled once more as the usual session compiles it."""

    def __init__(self, model: Path, *, bfloat16: bool = False) -> None:
        """Compile `model`; see `open_profiled`."""
        super().__init__(model, None, 1, bfloat16=bfloat16)

        usual = self._requests.get().get_compiled_model()
        config = {name: usual.get_property(name) for name in _SETTINGS}
        try:
            compiled = openvino_core().compile_model(model, "CPU", {**config, "PERF_COUNT": True})
            self._counting = compiled.create_infer_request()
            self._requests.put(self._counting)
        except Exception as error:  # its binding raises RuntimeError and others alike
            raise EngineError(f"OpenVINO counts nothing of {model} ({one_line(error)})") from error

    def close(self) -> None:
        """See `ProfiledSession.close`."""
        super().close()
        del self._counting

    def layer_times(self, inputs: Mapping[str, npt.NDArray[Any]], rounds: int) -> list[LayerTime]:
        """See `ProfiledSession.layer_times`; what was fused into another layer is left out."""
        found = []
        for _ in range(rounds + 1):
            self.run(inputs)
            counted = self._counting.get_profiling_info()
            ran = [each for each in counted if each.status == each.Status.EXECUTED]
            found.append(
                {
                    (each.node_name, f"{each.node_type} {each.exec_type}"): _milliseconds(each)
                    for each in ran
                }
            )
        return medians(found[1:])


def _milliseconds(counted: Any) -> float:
    return 1e3 * float(counted.real_time.total_seconds())
