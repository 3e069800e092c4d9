"""The part of NVIDIA's Python API that the runtime uses, running toy models on the fake device.

Every public name and parameter is NVIDIA's, as in tensorrt 10.3 and 11.4; what has an underscore is
the fake's. A plan is made by `_plan`. A second logger beside the one that TensorRT holds on to is
an error. As with NVIDIA's bindings, a context keeps its engine alive, that its runtime, and that
its logger and recorder; and calls raise where theirs do.
"""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.tensorrt_common import (
    DataType,
    Dims,
    ExecutionContextAllocationStrategy,
    IErrorRecorder,
    ILogger,
    LayerInformationFormat,
    TensorIOMode,
    TensorLocation,
    _report,
)
from tests.fakes.tensorrt_common import ErrorCodeTRT as ErrorCodeTRT
from tests.fakes.tensorrt_common import IProfiler as IProfiler
from tests.fakes.tensorrt_common import ProfilingVerbosity as ProfilingVerbosity
from tests.fakes.tensorrt_execution import IExecutionContext
from tests.fakes.toy_plans import _MAGIC, _alive, _calls, _refused
from tests.fakes.toy_plans import _plan as _plan
from tests.fakes.toy_plans import _reset as _reset

__version__ = "10.3.0"


def _log(logger: Any, message: str) -> None:
    logger.log(ILogger.VERBOSE, "working")
    logger.log(ILogger.ERROR, message)


class IOutputAllocator:
    def __init__(self) -> None:
        self._initialised = True


class IPluginRegistry:
    def __init__(self, logger: Any) -> None:
        self._logger, self._loaded = logger, False

    def load_library(self, plugin_path: str) -> Any:
        _calls.append("load_library")
        if "load_library" in _refused:
            _log(self._logger, "Unable to open library")
            return None
        self._loaded = True
        return object()


class Runtime:
    error_recorder: IErrorRecorder | None = None

    def __init__(self, logger: Any) -> None:
        assert logger._initialised
        # TensorRT keeps one pointer to a logger for all runtimes; see `tensorrt_logger`.
        assert all(each._logger is logger for each in _alive if isinstance(each, Runtime))
        if "Runtime" in _refused:
            _log(logger, "CUDA initialization failure with error: 35")
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
            _report(
                self,
                "UNSPECIFIED_ERROR",
                "Serialization assertion magicTag == kMAGIC_TAG failed.\nAborting",
            )
            return None
        spec = json.loads(data.removeprefix(_MAGIC))
        if spec.get("plugins") and not self._registry._loaded:
            _report(
                self, "INVALID_ARGUMENT", "Cannot find plugin: VitrineFusedAttention, version: 1"
            )
            return None
        if spec.get("host_code") and not self.engine_host_code_allowed:
            _report(
                self,
                "INVALID_STATE",
                "engine_host_code_allowed is not set",
            )
            return None
        if "deserialize_cuda_engine" in _refused:
            _report(
                self, "INTERNAL_ERROR", "Error Code 2: OutOfMemory (Requested size was 900 bytes.)"
            )
            return None
        return ICudaEngine(spec, self)


class ICudaEngine:
    def __init__(self, spec: dict[str, Any], runtime: Runtime) -> None:
        self._spec, self._runtime = spec, runtime
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

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    def create_execution_context(self, strategy: Any) -> IExecutionContext | None:
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        _calls.append("create_execution_context")
        if "create_execution_context" in _refused:
            _report(
                self._runtime,
                "FAILED_ALLOCATION",
                "Error Code 2: OutOfMemory",
            )
            return None
        return IExecutionContext(self)


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        assert format is LayerInformationFormat.JSON
        return json.dumps({"Layers": self._engine._spec.get("described", [])})
