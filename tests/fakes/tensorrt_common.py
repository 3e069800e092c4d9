"""What the builder and the runtime of NVIDIA's Python API share, for the fakes of both.

Every public name and parameter is NVIDIA's, as in tensorrt 10.3 and 11.4; what has an underscore is
the fake's. As pybind11 does, it refuses objects whose base class was not initialised.
"""

from __future__ import annotations

import enum
from typing import Any


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
    LAYER_NAMES_ONLY = enum.auto()
    DETAILED = enum.auto()
    NONE = enum.auto()


class LayerInformationFormat(enum.Enum):
    ONELINE = enum.auto()
    JSON = enum.auto()


class ErrorCodeTRT(enum.Enum):
    UNSPECIFIED_ERROR = enum.auto()
    INTERNAL_ERROR = enum.auto()
    INVALID_ARGUMENT = enum.auto()
    INVALID_CONFIG = enum.auto()
    FAILED_ALLOCATION = enum.auto()
    FAILED_INITIALIZATION = enum.auto()
    FAILED_EXECUTION = enum.auto()
    INVALID_STATE = enum.auto()
    UNSUPPORTED_STATE = enum.auto()


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
        self._initialised = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IErrorRecorder:
    def __init__(self) -> None:
        self._initialised = True

    def report_error(self, arg0: Any, arg1: str) -> bool:
        raise NotImplementedError

    def num_errors(self) -> int:
        raise NotImplementedError

    def get_error_code(self, arg0: int) -> Any:
        raise NotImplementedError

    def get_error_desc(self, arg0: int) -> str:
        raise NotImplementedError

    def has_overflowed(self) -> bool:
        raise NotImplementedError

    def clear(self) -> None:
        raise NotImplementedError


class IProfiler:
    def __init__(self) -> None:
        self._initialised = True

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


def _report(owner: Any, code: str, message: str) -> None:
    """An error of `owner`, which goes to its log only where nothing records it.

    `IRuntime::setErrorRecorder` and `IBuilder::setErrorRecorder` say so.
    """
    if owner.error_recorder is None:
        owner._logger.log(ILogger.ERROR, message)
        return
    assert owner.error_recorder._initialised
    owner.error_recorder.report_error(ErrorCodeTRT[code], message)
