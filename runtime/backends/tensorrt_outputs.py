"""Memory for outputs whose shape TensorRT only knows once it has computed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.backends.tensorrt_tensors import Shape, lengths
from runtime.cuda_memory import DeviceBuffer
from runtime.errors import EngineError

if TYPE_CHECKING:
    import tensorrt


class GrowingOutput:
    """The buffer of one such output, and its shape after the last launch."""

    def __init__(self) -> None:
        """Hold nothing yet; `close` frees what TensorRT asks for."""
        self.buffer = DeviceBuffer()
        self.shape: Shape | None = None
        self.error: EngineError | None = None  # that a callback could not raise through C++

    def allocator(self) -> tensorrt.IOutputAllocator:
        """What TensorRT calls during a launch."""
        import tensorrt

        output = self

        class Allocator(tensorrt.IOutputAllocator):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                tensorrt.IOutputAllocator.__init__(self)  # by name, as pybind11 asks

            def reallocate_output_async(
                self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
            ) -> int:
                try:
                    return output.buffer.reserve(size)
                except EngineError as error:
                    output.error = error
                    return 0  # the launch then fails

            def notify_shape(self, tensor_name: str, shape: tensorrt.Dims) -> None:
                output.shape = lengths(shape)

        return Allocator()

    def close(self) -> None:
        """Free the buffer; closing twice is harmless."""
        self.buffer.close()
