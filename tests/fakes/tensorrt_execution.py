"""Execution contexts of NVIDIA's Python API, computing toy plans on the fake device.

Every public name and parameter is NVIDIA's, as in tensorrt 10.3 and 11.4; what has an underscore is
the fake's. numpy computes when the stream gets there. What NVIDIA leaves undefined is an error: a
graph replayed after its context changed or was freed, and memory that is not aligned or not alive.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from tests.fakes.cuda_machine import MACHINE as _MACHINE
from tests.fakes.tensorrt_common import Dims, IProfiler, ProfilingVerbosity, _report
from tests.fakes.toy_plans import _FUNCTIONS, _NUMPY, _alive, _calls, _refused


class IExecutionContext:
    profiler: IProfiler | None = None
    nvtx_verbosity = ProfilingVerbosity.DETAILED  # as the plan was built

    def __init__(self, engine: Any) -> None:
        self._engine, self._spec, self._runtime = engine, engine._spec, engine._runtime
        self._names = engine._names
        self._profile, self._memory = 0, (0, 0)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}
        self._changes, self._warm, self._profiled = 0, False, 0
        _alive.add(self)

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % 256 == 0 and size >= self._spec.get("memory", 1000)
        self._memory = memory, size

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        _MACHINE.stream(stream_handle)
        if "set_optimization_profile_async" in _refused:
            _report(
                self._runtime,
                "INVALID_STATE",
                "profile is in use",
            )
            raise RuntimeError("Error in set optimization profile async.")
        self._profile, self._shapes = profile_index, {}
        self._changed()
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._spec["inputs"][name][1][self._profile]
        if not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            _report(
                self._runtime,
                "INVALID_ARGUMENT",
                f"Static dimension mismatch while setting input shape for {name}",
            )
            return False
        self._shapes[name] = tuple(shape)
        self._changed()
        return True

    def _changed(self) -> None:
        self._changes += 1
        self._warm = False

    def infer_shapes(self) -> list[str]:
        if "infer_shapes" in _refused:
            _report(
                self._runtime,
                "INVALID_CONFIG",
                "Reshape: -1 wildcard solution does not fit",
            )
            raise RuntimeError("infer_shapes error code: -1")
        return [name for name in self._spec["inputs"] if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> Dims:
        if name in self._shapes:
            return Dims(self._shapes[name])
        # One element of a toy input is as good as another for the shapes of what is known.
        zeros = {n: np.zeros(s, self._dtype(n)) for n, s in self._shapes.items()}
        shape = self._compute(zeros)[name].shape
        return Dims([-1] * len(shape) if name in self._spec.get("unknown", ()) else shape)

    def _dtype(self, name: str) -> np.dtype[Any]:
        inputs = self._spec["inputs"]
        kind = inputs[name][0] if name in inputs else self._spec["outputs"][name]
        return np.dtype(_NUMPY.get(kind, kind.lower()))

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        assert output_allocator._initialised
        self._allocators[name] = output_allocator
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self._addresses.get(name) != memory:
            self._changes += 1
        self._addresses[name] = memory
        return memory % 256 == 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        _calls.append("execute_async_v3")
        stream = _MACHINE.stream(stream_handle)
        assert self.nvtx_verbosity is ProfilingVerbosity.NONE, "markers that slow each launch"
        assert stream_handle != 0 and not self.infer_shapes()
        assert all(self._addresses[n] or n in self._allocators for n in self._names)
        if "execute_async_v3" in _refused:
            _report(
                self._runtime,
                "UNSPECIFIED_ERROR",
                "Error Code 1: Cuda Runtime (an illegal memory access)",
            )
            return False
        if stream.captured is not None and (self._allocators or not self._warm):
            _MACHINE.capturing()  # the host must wait for the device in the midst of it
            _report(
                self._runtime, "INVALID_STATE", "operation not permitted when stream is capturing"
            )
            return False
        self._warm = True
        if self.profiler is not None:
            # As NVIDIA's: waits for the layers, and tells the time of each before it returns.
            assert stream.captured is None, "a profiled launch was captured"
            stream.run()
            for name, milliseconds in self._spec["layers"][self._profiled]:
                self.profiler.report_layer_time(name, milliseconds)
            self._profiled += 1
            return self._execute(self._changes)
        if self._allocators:
            stream.run()
            return self._execute(self._changes)
        context, changes = weakref.ref(self), self._changes

        def work() -> None:
            live = context()
            assert live is not None, "the context was freed before its work ran"
            live._execute(changes)

        stream.put(work)
        return True

    def _execute(self, changes: int) -> bool:
        assert self._changes == changes, "the context was changed after this was captured"
        address, size = self._memory
        _MACHINE.find(address, size)[:] = bytes(size)
        arrays = {}
        for name in self._spec["inputs"]:
            shape, dtype = self._shapes[name], self._dtype(name)
            data = _MACHINE.find(self._addresses[name], math.prod(shape) * dtype.itemsize)
            arrays[name] = np.frombuffer(bytes(data), dtype).reshape(shape)
        for name, value in self._compute(arrays).items():
            target = self._addresses[name]
            if name in self._allocators:
                allocator = self._allocators[name]
                target = allocator.reallocate_output_async(
                    name, target, max(value.nbytes, 1), 256, 0
                )
                if not target:
                    _report(
                        self._runtime, "FAILED_EXECUTION", "IOutputAllocator returned no memory"
                    )
                    return False
                allocator.notify_shape(name, Dims(value.shape))
            _MACHINE.find(target, value.nbytes)[:] = value.tobytes()
        return True

    def _compute(self, arrays: dict[str, Any]) -> dict[str, Any]:
        results = _FUNCTIONS[self._spec["function"]](*(arrays[n] for n in self._spec["inputs"]))
        return dict(zip(self._spec["outputs"], results, strict=True))
