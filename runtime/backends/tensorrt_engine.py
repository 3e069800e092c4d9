"""A plan, deserialised; what its execution contexts share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.backends.tensorrt_plugins import load_plugins
from runtime.backends.tensorrt_tensors import Tensor, read_tensors
from runtime.cuda_device import Device
from runtime.cuda_memory import DeviceBuffer
from runtime.cuda_stream import Stream
from runtime.errors import EngineError, one_line
from runtime.tensorrt_logger import last_errors, shared_logger

if TYPE_CHECKING:
    import tensorrt


_MEMORY = "close other users of the device's memory"


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
        self._runtime: tensorrt.Runtime | None = _start(version)
        self._runtime.engine_host_code_allowed = host_code
        for library in plugins:
            load_plugins(self._runtime, library, version, device)
        try:
            serialised = plan.read_bytes()
        except OSError as error:
            raise EngineError(f"{plan} cannot be read ({one_line(error)})") from error
        self._engine: tensorrt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(
            serialised
        )
        if self._engine is None:
            why = last_errors()
            short = "memory" in why.lower()
            remedy = _MEMORY if short else "build the bundle again on this machine"
            raise EngineError(f"TensorRT {version} refuses {plan} ({why}); {remedy}")
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
            why = last_errors()
            raise EngineError(f"TensorRT cannot create an execution context ({why}); {_MEMORY}")
        nbytes = max(self._engine.device_memory_size_v2, 1)  # for the most demanding profile
        context.set_device_memory(self._memory.reserve(nbytes), nbytes)
        # Plans are built with detailed markers, for the inspector; in launches they cost time.
        context.nvtx_verbosity = tensorrt.ProfilingVerbosity.NONE
        return context

    def failure(self, what: str) -> EngineError:
        """An error in one line, with TensorRT's reason."""
        return EngineError(f"TensorRT {what} ({last_errors()})")

    def close(self) -> None:
        """Free engine, runtime and memory, when no context is left; twice is harmless.

        What an exception's traceback still holds is freed with it, in the right order: NVIDIA's
        bindings let a context keep its engine alive, and that its runtime.
        """
        self._engine = None
        self._runtime = None
        self._memory.close()


def _start(version: str) -> tensorrt.Runtime:
    import tensorrt

    try:
        return tensorrt.Runtime(shared_logger())
    except TypeError as error:  # what the binding makes of a null pointer
        raise EngineError(
            f"TensorRT {version} does not start ({last_errors()}); install one for the CUDA "
            "version of the driver"
        ) from error
