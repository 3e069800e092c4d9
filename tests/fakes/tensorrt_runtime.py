"""The part of NVIDIA's Python API that the runtime uses, running toy models on the fake device.

Every public name and parameter is NVIDIA's, as in tensorrt 10.3 and 11.4; what has an underscore is
the fake's. A plan is made by `_plan`: JSON that names a function of `_FUNCTIONS`, which numpy
computes when the stream gets there. What NVIDIA leaves undefined is an error here: a graph replayed
after its context changed or was freed, memory that is not aligned or not alive, and a second logger
beside the one that TensorRT holds on to. As with NVIDIA's bindings, a context keeps its engine
alive, that its runtime, and that its logger; and calls raise where theirs do.
"""

from __future__ import annotations

import enum
import json
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fakes.cuda_machine import MACHINE as _MACHINE

__version__ = "10.3.0"
_MAGIC = b"toy plan "
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mean_colour": lambda pixel_values: (pixel_values.mean((2, 3)),),
    "affine": lambda x: (2 * x + np.array(1, x.dtype),),
    "sum_and_difference": lambda a, b: (a + b, a - b),
    "positive": lambda x: (x[x > 0], x.max(axis=0)),
    "invert": lambda mask: (~mask,),
}
_NUMPY = {"FLOAT": "float32", "HALF": "float16", "BOOL": "bool"}  # others by their own name


def _reset() -> None:
    """Forget what happened before this test."""
    _calls.clear()
    _alive.clear()
    _refused.clear()


def _plan(function: str, inputs: dict[str, Any], outputs: dict[str, str], **more: Any) -> bytes:
    """A toy plan.

    Args:
        function: of `_FUNCTIONS`.
        inputs: (dtype, list of profiles, each min, opt and max shape) by name.
        outputs: dtype by name.
        more: `unknown`: outputs shaped by the data; `memory`: bytes for activations; `host`:
            tensors on the host; `plugins`: whether a library must have been loaded; `host_code`: as
            in a version-compatible plan.
    """
    spec = {"function": function, "inputs": inputs, "outputs": outputs, **more}
    return _MAGIC + json.dumps(spec).encode()


_calls: list[str] = []
_alive: weakref.WeakSet[Any] = weakref.WeakSet()
_refused: set[str] = set()  # calls that shall fail


def _say(logger: Any, message: str) -> None:
    logger.log(ILogger.VERBOSE, "working")
    logger.log(ILogger.ERROR, message)


class DataType(enum.Enum):
    FLOAT = enum.auto()
    HALF = enum.auto()
    BF16 = enum.auto()
    INT8 = enum.auto()
    INT32 = enum.auto()
    INT64 = enum.auto()
    UINT8 = enum.auto()
    BOOL = enum.auto()


class TensorIOMode(enum.Enum):
    NONE = enum.auto()
    INPUT = enum.auto()
    OUTPUT = enum.auto()


class TensorLocation(enum.Enum):
    DEVICE = enum.auto()
    HOST = enum.auto()


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = enum.auto()
    USER_MANAGED = enum.auto()


class ProfilingVerbosity(enum.Enum):
    NONE = enum.auto()
    DETAILED = enum.auto()


class Dims:
    """Lengths by index; like NVIDIA's, it is no tuple."""

    def __init__(self, shape: Any) -> None:
        self._shape = tuple(shape)

    def __len__(self) -> int:
        return len(self._shape)

    def __getitem__(self, arg0: Any) -> Any:
        return self._shape[arg0]


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = enum.auto()
        ERROR = enum.auto()
        WARNING = enum.auto()
        INFO = enum.auto()
        VERBOSE = enum.auto()

    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE

    def __init__(self) -> None:
        self._initialised = True  # pybind11 refuses an object whose base was not initialised

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IOutputAllocator:
    def __init__(self) -> None:
        self._initialised = True


class IPluginRegistry:
    def __init__(self, logger: Any) -> None:
        self._logger, self._loaded = logger, False

    def load_library(self, plugin_path: str) -> Any:
        _calls.append("load_library")
        if "load_library" in _refused:
            _say(self._logger, "Unable to open library")
            return None
        self._loaded = True
        return object()


class Runtime:
    def __init__(self, logger: Any) -> None:
        assert logger._initialised
        # TensorRT keeps one pointer to a logger for all runtimes; see `tensorrt_logger`.
        assert all(each._logger is logger for each in _alive if isinstance(each, Runtime))
        if "Runtime" in _refused:
            _say(logger, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger
        self._registry = IPluginRegistry(self._logger)
        self.engine_host_code_allowed = False
        _alive.add(self)

    def get_plugin_registry(self) -> IPluginRegistry:
        return self._registry

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        _calls.append("deserialize_cuda_engine")
        data = bytes(serialized_engine)
        if not data.startswith(_MAGIC):
            _say(self._logger, "Serialization assertion magicTag == kMAGIC_TAG failed.\nAborting")
            return None
        spec = json.loads(data.removeprefix(_MAGIC))
        if spec.get("plugins") and not self._registry._loaded:
            _say(self._logger, "Cannot find plugin: VitrineFusedAttention, version: 1")
            return None
        if spec.get("host_code") and not self.engine_host_code_allowed:
            _say(self._logger, "engine_host_code_allowed is not set")
            return None
        if "deserialize_cuda_engine" in _refused:
            _say(self._logger, "Error Code 2: OutOfMemory (Requested size was 900 bytes.)")
            return None
        return ICudaEngine(spec, self)


class ICudaEngine:
    def __init__(self, spec: dict[str, Any], runtime: Runtime) -> None:
        self._spec, self._runtime, self._logger = spec, runtime, runtime._logger
        self._names = (*spec["inputs"], *spec["outputs"])
        _alive.add(self)

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    @property
    def num_optimization_profiles(self) -> int:
        return len(next(iter(self._spec["inputs"].values()))[1])

    @property
    def device_memory_size_v2(self) -> int:
        return int(self._spec.get("memory", 1000))

    def get_tensor_name(self, index: int) -> str:
        return str(self._names[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._spec["inputs"] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        inputs, outputs = self._spec["inputs"], self._spec["outputs"]
        return DataType[inputs[name][0] if name in inputs else outputs[name]]

    def get_tensor_location(self, name: str) -> TensorLocation:
        on_host = name in self._spec.get("host", ())
        return TensorLocation.HOST if on_host else TensorLocation.DEVICE

    def get_tensor_shape(self, name: str) -> Dims:
        lengths = zip(*(s for p in self._spec["inputs"][name][1] for s in p), strict=True)
        return Dims(n[0] if len(set(n)) == 1 else -1 for n in lengths)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        assert -1 in self.get_tensor_shape(name)[:], "only dynamic inputs have profiles"
        return [Dims(shape) for shape in self._spec["inputs"][name][1][profile_index]]

    def create_execution_context(self, strategy: Any) -> IExecutionContext | None:
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        _calls.append("create_execution_context")
        if "create_execution_context" in _refused:
            _say(self._logger, "Error Code 2: OutOfMemory")
            return None
        return IExecutionContext(self)


class IExecutionContext:
    nvtx_verbosity = ProfilingVerbosity.DETAILED  # as the plan was built

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._spec = engine, engine._spec
        self._logger, self._names = engine._logger, engine._names
        self._profile, self._memory = 0, (0, 0)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}
        self._changes, self._warm = 0, False
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
            _say(self._logger, "profile is in use")
            raise RuntimeError("Error in set optimization profile async.")
        self._profile, self._shapes = profile_index, {}
        self._changed()
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._spec["inputs"][name][1][self._profile]
        if not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            _say(self._logger, f"Static dimension mismatch while setting input shape for {name}")
            return False
        self._shapes[name] = tuple(shape)
        self._changed()
        return True

    def _changed(self) -> None:
        self._changes += 1
        self._warm = False

    def infer_shapes(self) -> list[str]:
        if "infer_shapes" in _refused:
            _say(self._logger, "Reshape: -1 wildcard solution does not fit")
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
            _say(self._logger, "Error Code 1: Cuda Runtime (an illegal memory access)")
            return False
        if stream.captured is not None and (self._allocators or not self._warm):
            _MACHINE.capturing()  # the host must wait for the device in the midst of it
            _say(self._logger, "operation not permitted when stream is capturing")
            return False
        self._warm = True
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
                    _say(self._logger, "IOutputAllocator returned no memory")
                    return False
                allocator.notify_shape(name, Dims(value.shape))
            _MACHINE.find(target, value.nbytes)[:] = value.tobytes()
        return True

    def _compute(self, arrays: dict[str, Any]) -> dict[str, Any]:
        results = _FUNCTIONS[self._spec["function"]](*(arrays[n] for n in self._spec["inputs"]))
        return dict(zip(self._spec["outputs"], results, strict=True))
