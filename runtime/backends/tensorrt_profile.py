"""Times of an engine's layers, from TensorRT's `IProfiler`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy.typing as npt

from runtime.backends.profiled import LayerTime, medians
from runtime.backends.tensorrt_layers import layer_records, onnx_nodes, plain_name
from runtime.backends.tensorrt_session import TensorRtSession
from runtime.errors import EngineError

if TYPE_CHECKING:
    import tensorrt


class LayerClock:
    """Adds up what TensorRT reports of one launch after the other."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._times: dict[str, float] = defaultdict(float)

    def take(self) -> dict[str, float]:
        """Milliseconds by layer since the last call; a layer in a loop comes several times."""
        found, self._times = self._times, defaultdict(float)
        return dict(found)

    def profiler(self) -> tensorrt.IProfiler:
        """What to set as a context's `profiler`, which keeps it alive."""
        import tensorrt

        clock = self

        class Profiler(tensorrt.IProfiler):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                tensorrt.IProfiler.__init__(self)  # by name, as pybind11 asks of a subclass

            def report_layer_time(self, layer_name: str, ms: SupportsFloat) -> None:
                clock._times[layer_name] += float(ms)

        return Profiler()


class ProfiledTensorRt(TensorRtSession):
    """A session whose launches TensorRT times layer by layer; it captures no CUDA graph."""

    def layer_times(self, inputs: Mapping[str, npt.NDArray[Any]], rounds: int) -> list[LayerTime]:
        """See `ProfiledSession.layer_times`; copies to and from the device are not in it."""
        records = layer_records(self._engine.describe())
        nodes = {plain_name(str(r.get("Name", ""))): ", ".join(onnx_nodes(r)) for r in records}
        clock = LayerClock()
        self._launcher.profile(clock.profiler())
        found = []
        for _ in range(rounds + 1):
            self.run(inputs)
            times = clock.take()
            found.append({(n, nodes.get(plain_name(n), "")): ms for n, ms in times.items()})
        if not found[-1]:
            raise EngineError(
                "TensorRT reports no layers of this engine; build the bundle again on this machine"
            )
        return medians(found[1:])
