"""One execution context of an engine, with the shapes that it is set to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.backends.tensorrt_engine import LoadedEngine
from runtime.backends.tensorrt_tensors import Shape, lengths

if TYPE_CHECKING:
    import tensorrt


class Context:
    """Set the shapes, then launch, as often as wanted."""

    def __init__(self, engine: LoadedEngine) -> None:
        """Create the context; it is freed when nothing refers to it any more.

        Raises:
            EngineError: TensorRT refuses, or device memory is short.
        """
        self.shapes: tuple[Shape, ...] = ()
        self._engine = engine
        self._context = engine.new_context()

    def set_shapes(self, shapes: tuple[Shape, ...], profile: int) -> tuple[Shape, ...]:
        """Set the inputs' shapes, which the profile admits.

        Returns:
            The outputs' shapes; -1 where only the data decide.

        Raises:
            EngineError: TensorRT refuses them.
        """
        context = self._context
        if shapes != self.shapes:
            self.shapes = ()
            if context.active_optimization_profile != profile:
                self._set_profile(profile)
            for tensor, shape in zip(self._engine.inputs, shapes, strict=True):
                self._check(
                    context.set_input_shape(tensor.name, shape),
                    f"refuses shape {shape} of {tensor.name}",
                )
            self._infer(shapes)
            self.shapes = shapes
        return tuple(lengths(context.get_tensor_shape(t.name)) for t in self._engine.outputs)

    def _set_profile(self, profile: int) -> None:
        try:
            self._context.set_optimization_profile_async(profile, self._engine.stream.handle)
        except RuntimeError as error:  # here the binding raises, and returns True otherwise
            raise self._engine.failure(f"refuses optimisation profile {profile}") from error

    def _infer(self, shapes: tuple[Shape, ...]) -> None:
        what = f"cannot infer shapes for {shapes}"
        try:
            unset = self._context.infer_shapes()
        except RuntimeError as error:  # shapes that contradict each other within the graph
            raise self._engine.failure(what) from error
        self._check(not unset, what)

    def set_allocator(self, name: str, allocator: tensorrt.IOutputAllocator) -> None:
        """Let TensorRT ask `allocator`, which the context keeps, for the memory of an output."""
        self._check(
            self._context.set_output_allocator(name, allocator), f"refuses an allocator of {name}"
        )

    def set_profiler(self, profiler: tensorrt.IProfiler) -> None:
        """Report the time of each layer of each later launch to `profiler`, which it keeps."""
        self._context.profiler = profiler

    def launch(self, addresses: tuple[int, ...]) -> None:
        """Put one inference on the engine's stream.

        Args:
            addresses: of inputs, then outputs; 0 where an allocator provides the memory.

        Raises:
            EngineError: TensorRT refuses.
        """
        tensors = (*self._engine.inputs, *self._engine.outputs)
        for tensor, address in zip(tensors, addresses, strict=True):
            self._check(
                self._context.set_tensor_address(tensor.name, address),
                f"refuses the address of {tensor.name}",
            )
        self._check(self._context.execute_async_v3(self._engine.stream.handle), "failed to run")

    def _check(self, done: bool, what: str) -> None:
        if not done:
            raise self._engine.failure(what)
