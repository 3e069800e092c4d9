"""The part of NVIDIA's Python API that a build uses, with a scenario in TensorRT's place.

Every public name, parameter and return type is NVIDIA's, as in tensorrt 10.3 and 11.4; what has an
underscore is the fake's. It computes nothing: see `tests.fakes.scenario`.
"""

from __future__ import annotations

import enum
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.scenario import _asked, _log, _make, _scenario, _write_asked
from tests.fakes.tensorrt_common import Dims, IErrorRecorder, ILogger, ProfilingVerbosity
from tests.fakes.tensorrt_common import ErrorCodeTRT as ErrorCodeTRT
from tests.fakes.tensorrt_common import (
    ExecutionContextAllocationStrategy as ExecutionContextAllocationStrategy,
)
from tests.fakes.tensorrt_common import LayerInformationFormat as LayerInformationFormat
from tests.fakes.tensorrt_common import TensorIOMode as TensorIOMode
from tests.fakes.tensorrt_common import TensorLocation as TensorLocation
from tests.fakes.tensorrt_inspection import Runtime as Runtime


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 5  # in neither version: whoever stores the number is found out


class MemoryPoolType(enum.Enum):
    WORKSPACE = enum.auto()


class HardwareCompatibilityLevel(enum.Enum):
    NONE = enum.auto()
    AMPERE_PLUS = enum.auto()


class BuilderFlag(enum.Enum):
    REFIT = enum.auto()
    STRIP_PLAN = enum.auto()
    TF32 = enum.auto()
    VERSION_COMPATIBLE = enum.auto()


class ErrorCode(enum.Enum):
    MODEL_DESERIALIZE_FAILED = enum.auto()
    UNSUPPORTED_NODE = enum.auto()


class IProgressMonitor:
    def __init__(self) -> None:
        self._made = True

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class IHostMemory(bytes):
    """Bytes, because only Python 3.12 lets a class have a buffer."""

    @property
    def nbytes(self) -> int:
        return len(self)


class IPluginRegistry:
    def load_library(self, plugin_path: str) -> object | None:
        _asked["libraries"].append(plugin_path)
        return object() if _scenario().get("plugin_loads", True) else None


def get_plugin_registry() -> IPluginRegistry:
    return IPluginRegistry()


class ITensor:
    name: str
    shape: Dims


class INetworkDefinition:
    _inputs: list[ITensor]
    _builder: Builder

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]


class ParserError:
    _record: dict[str, Any]

    def code(self) -> ErrorCode:
        return ErrorCode[self._record.get("code", "UNSUPPORTED_NODE")]

    def desc(self) -> str:
        return str(self._record["desc"])

    def node(self) -> int:
        return int(self._record.get("node", 0))

    def node_name(self) -> str:
        return str(self._record.get("name", ""))

    def node_operator(self) -> str:
        return str(self._record.get("operator", ""))

    def local_function_stack(self) -> list[str]:
        return list(self._record.get("stack", []))


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network

    def parse_from_file(self, model: str) -> bool:
        _asked["onnx"] = Path(model).read_text(errors="replace")
        _log(self._network._builder, "parse")
        for name, shape in _scenario()["inputs"].items():
            self._network._inputs.append(_make(ITensor, name=name, shape=Dims(shape)))
        return not _scenario().get("refused", "errors" in _scenario())

    @property
    def num_errors(self) -> int:
        return len(_scenario().get("errors", []))

    def get_error(self, index: int) -> ParserError:
        return _make(ParserError, _record=_scenario()["errors"][index])


class IOptimizationProfile:
    _shapes: dict[str, list[list[int]]]

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
        if _scenario().get("profile") == "raises":
            raise RuntimeError("Shape provided for min is inconsistent\nwith other shapes.")
        self._shapes[input] = [[*min], [*opt], [*max]]


class ITimingCache:
    _content: bytes

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._content + b"+one build")


class IBuilderConfig:
    builder_optimization_level: int = 3
    profiling_verbosity: ProfilingVerbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
    hardware_compatibility_level: HardwareCompatibilityLevel = HardwareCompatibilityLevel.NONE
    progress_monitor: IProgressMonitor
    _cache: ITimingCache

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        _asked["pool"] = {pool.name: pool_size}

    def set_flag(self, flag: BuilderFlag) -> None:
        _asked["flags"].append(flag.name)

    def clear_flag(self, flag: BuilderFlag) -> None:
        _asked["cleared"].append(flag.name)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        _asked["profiles"].append(profile._shapes)
        return -1 if _scenario().get("profile") == "refused" else len(_asked["profiles"]) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return _make(ITimingCache, _content=serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache._content and _scenario().get("foreign_timings"):
            return False
        self._cache = cache
        _asked["timings"] = cache._content.decode()
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self._cache


class Builder:
    error_recorder: IErrorRecorder | None = None

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        _log(self, "start")
        if _scenario().get("starts") is False:
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return _make(INetworkDefinition, _inputs=[], _builder=self)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return _make(IOptimizationProfile, _shapes={})

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        _asked["level"] = config.builder_optimization_level
        _asked["verbosity"] = config.profiling_verbosity.name
        _asked["hardware"] = config.hardware_compatibility_level.name
        _asked["oom_score"] = int(Path("/proc/self/oom_score_adj").read_text())
        _write_asked()
        _log(self, "build")
        monitor = config.progress_monitor
        assert monitor._made, "the base class was not initialised"
        monitor.phase_start("Building", None, 2)  # type: ignore[arg-type]  # as NVIDIA's does
        monitor.phase_start("Timing kernels", "Building", 3)
        going = all(monitor.step_complete("Timing kernels", step) for step in _steps())
        monitor.phase_finish("Timing kernels")
        monitor.phase_finish("Building")
        if not going:
            Path(os.environ["FAKE_TENSORRT"]).with_suffix(".cancelled").touch()
        if not going or _scenario().get("build") == "none":
            return None
        return IHostMemory(json.dumps(_scenario()["engine"]).encode())


def _steps() -> Iterator[int]:
    """Three steps, or what the scenario's "build" says happens in the first."""
    way = _scenario().get("build")
    print("a native library prints\nto standard output", flush=True)
    if way in ("SIGSEGV", "SIGKILL"):
        os.kill(os.getpid(), getattr(signal, way))
    if way == "raises":
        raise RuntimeError("a C++ exception\nof two lines")
    if way == "exits":
        os._exit(3)
    if way == "deaf":
        time.sleep(600)
    yield from range(3)
    while way == "endless":
        time.sleep(0.01)
        yield 3
