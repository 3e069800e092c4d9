"""The part of NVIDIA's Python API that loads and inspects a plan, in the builder's child process.

Every public name and parameter is NVIDIA's, as in tensorrt 10.3 and 11.4; what has an underscore is
the fake's. A plan is the inspector's JSON.
"""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.scenario import _asked, _log, _make, _scenario
from tests.fakes.tensorrt_common import (
    DataType,
    Dims,
    ExecutionContextAllocationStrategy,
    IErrorRecorder,
    ILogger,
    LayerInformationFormat,
    TensorIOMode,
    TensorLocation,
)


class IExecutionContext:
    _shapes: dict[str, tuple[int, ...]]

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self._shapes[name] = tuple(shape)
        return True


class EngineInspector:
    _text: str
    execution_context: IExecutionContext | None = None

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        assert format is LayerInformationFormat.JSON
        shapes = {**_scenario()["inputs"]}
        if self.execution_context is not None:
            shapes |= self.execution_context._shapes
        if not any(-1 in shape for shape in shapes.values()):
            return self._text
        # What NVIDIA's does where shapes are open (`IEngineInspector::setExecutionContext`).
        hidden = r'\1"N/A due to dynamic shapes"'
        return re.sub(r'("(?:Format/)?Data[tT]ype": )"[^"]*"', hidden, self._text)


class ICudaEngine:
    _text: str

    @property
    def num_io_tensors(self) -> int:
        return len(_scenario()["inputs"])

    @property
    def num_optimization_profiles(self) -> int:
        return max(len(_asked["profiles"]), 1)

    def get_tensor_name(self, index: int) -> str:
        return str([*_scenario()["inputs"]][index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.DEVICE

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(_scenario()["inputs"][name])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        return [Dims(shape) for shape in _asked["profiles"][profile_index][name]]

    def create_execution_context(self, strategy: Any) -> IExecutionContext | None:
        # Nothing is run: memory for activations would be wasted.
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        no_context = _scenario().get("context") is False
        return None if no_context else _make(IExecutionContext, _shapes={})

    def create_engine_inspector(self) -> EngineInspector:
        return _make(EngineInspector, _text=self._text)


class Runtime:
    error_recorder: IErrorRecorder | None = None
    engine_host_code_allowed: bool = False

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        # Without leave TensorRT does not load a plan that holds host code.
        needed = "VERSION_COMPATIBLE" in _asked["flags"]
        _log(self, "load")
        if needed > self.engine_host_code_allowed or _scenario().get("loads") is False:
            return None
        return _make(ICudaEngine, _text=bytes(serialized_engine).decode())
