"""A plan, deserialised; what its execution contexts share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.backends.tensorrt_plugins import check_plugins, load_plugins
from runtime.backends.tensorrt_tensors import Tensor, read_tensors
from runtime.cuda_device import Device
from runtime.cuda_memory import DeviceBuffer
from runtime.cuda_stream import Stream
from runtime.errors import EngineError, one_line
from runtime.tensorrt_errors import ErrorRecord, Reported
from runtime.tensorrt_logger import last_errors, shared_logger

if TYPE_CHECKING:
    import tensorrt

_MEMORY = "close other users of the device's memory, or build for smaller batches"
_AGAIN = "build the bundle again on this machine"
# By the code of the first error that has one: a wrong argument is refused before anything runs;
# whatever else may leave TensorRT or the device in a state that nobody knows.
_SHAPES = "infer in other shapes, or build the bundle again"
_REMEDIES = {"INVALID_ARGUMENT": _SHAPES, "INVALID_CONFIG": _SHAPES}
_OTHERWISE = "start the process again; if it stays, build the bundle again on this device"


class LoadedEngine:
    """An engine on one stream, and the memory for its activations.

    One block serves all contexts, as what is on one stream runs one after another.

    Attributes:
        inputs, outputs: in the engine's order.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __init__(
        self,
        plan: Path,
        plugins: Sequence[Path],
        stream: Stream,
        version: str,
        device: Device,
        *,
        host_code: bool = False,
    ) -> None:
        """Load plugins, then deserialise the plan, which was found to be the built one.

        Args:
            plan: path of the plan.
            plugins: paths of the libraries that it needs.
            stream: on which it runs.
            version: of TensorRT here.
            device: here.
            host_code: whether the plan may bring code for the host, as a version-compatible one
                does.

        Raises:
            EngineError: a plugin library or the plan cannot be used here.
        """
        self.stream = stream
        self._memory = DeviceBuffer()
        self._errors = ErrorRecord()
        for library in plugins:
            check_plugins(library, version, device)
        self._runtime: tensorrt.Runtime | None = _start(version)
        for library in plugins:
            load_plugins(self._runtime, library)
        # From here on; what goes wrong with a library is logged.
        self._runtime.error_recorder = self._errors.recorder()
        self._runtime.engine_host_code_allowed = host_code
        self._engine: tensorrt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(
            _read(plan)
        )
        if self._engine is None:
            raise self.failure(f"{version} refuses {plan}", _AGAIN)
        self.inputs, self.outputs = read_tensors(self._engine)

    def new_context(self) -> tensorrt.IExecutionContext:
        """Another context, in the profile 0 and the shared memory.

        Raises:
            EngineError: TensorRT refuses, or device memory is short.
        """
        import tensorrt

        assert self._engine is not None, "closed"
        strategy = tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise self.failure("cannot create an execution context", _AGAIN)
        nbytes = max(self._engine.device_memory_size_v2, 1)  # for the most demanding profile
        context.set_device_memory(self._memory.reserve(nbytes), nbytes)
        # Plans are built with detailed markers, for the inspector; in launches they cost time.
        context.nvtx_verbosity = tensorrt.ProfilingVerbosity.NONE
        return context

    def describe(self) -> str:
        """What TensorRT's inspector says of the layers, as JSON."""
        import tensorrt

        assert self._engine is not None, "closed"
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON))

    def forget_errors(self) -> None:
        """Before a run: what an earlier one got over, such as a capture, is not why this fails."""
        self._errors.take()

    def failure(self, what: str, remedy: str | None = None) -> EngineError:
        """An error in one line, with TensorRT's reason for a call that failed just now.

        Args:
            what: failed.
            remedy: unless memory ran out; None takes one by the error's code.
        """
        reported = self._errors.take()
        logged = last_errors()  # also to forget it: what is recorded may be logged as well
        reported = reported or [Reported("", logged)]
        codes = [error.code for error in reported]
        if any(error.is_memory for error in reported):
            remedy = _MEMORY
        elif remedy is None:
            remedy = next((_REMEDIES[code] for code in codes if code in _REMEDIES), _OTHERWISE)
        why = "; ".join(dict.fromkeys(error.text for error in reported))
        return EngineError(f"TensorRT {what} ({one_line(Warning(why))}); {remedy}")

    def close(self) -> None:
        """Free engine, runtime and memory, when no context is left; twice is harmless.

        What an exception's traceback still holds is freed with it, in the right order: NVIDIA's
        bindings let a context keep its engine alive, and that its runtime.
        """
        self._engine = None
        self._runtime = None
        self._memory.close()


def _read(plan: Path) -> bytes:
    try:
        return plan.read_bytes()
    except OSError as error:
        raise EngineError(f"{plan} cannot be read ({one_line(error)})") from error


def _start(version: str) -> tensorrt.Runtime:
    import tensorrt

    try:
        return tensorrt.Runtime(shared_logger())
    except TypeError as error:  # what the binding makes of a null pointer
        raise EngineError(
            f"TensorRT {version} does not start ({last_errors()}); install one for the CUDA "
            "version of the driver"
        ) from error
