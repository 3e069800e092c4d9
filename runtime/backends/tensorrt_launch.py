"""Launching an engine: plainly at first, as a CUDA graph when shapes and addresses come again."""

from __future__ import annotations

import dataclasses
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from runtime.backends.tensorrt_context import Context
from runtime.backends.tensorrt_engine import LoadedEngine
from runtime.backends.tensorrt_outputs import GrowingOutput
from runtime.backends.tensorrt_tensors import Shape
from runtime.cuda_stream import Graph
from runtime.errors import EngineError, one_line

if TYPE_CHECKING:
    import tensorrt

_KEPT = 8  # launches that are remembered
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Captured:
    """A graph, and the context it was captured from: replaying after a change is undefined."""

    graph: Graph
    context: Context


class Launcher:
    """Launches one engine on one stream; `prepare` says for which shapes."""

    def __init__(self, engine: LoadedEngine) -> None:
        """Create the context of plain launches; `close` before the engine goes."""
        self._engine = engine
        self._plain: Context | None = Context(engine)
        self._profile = 0
        self._may_capture = True
        self._growing: dict[str, GrowingOutput] = {}
        # By the inputs' shapes and all addresses, the least recently used first; None for a
        # launch that was seen once.
        self._seen: OrderedDict[tuple[object, ...], _Captured | None] = OrderedDict()

    def profile(self, profiler: tensorrt.IProfiler) -> None:
        """Report the layers of each launch to `profiler`; to be called before the first one.

        Nothing is captured then: a launch that is both captured and profiled is an error.
        """
        self._may_capture = False
        self._context().set_profiler(profiler)

    def prepare(self, shapes: tuple[Shape, ...], profile: int) -> tuple[Shape | None, ...]:
        """Set the inputs' shapes for the next launch.

        Returns:
            The outputs' shapes; None where only the data decide: see `shape_of`.

        Raises:
            EngineError: TensorRT refuses them, or device memory is short.
        """
        self._profile = profile
        found = self._context().set_shapes(shapes, profile)
        known: list[Shape | None] = []
        for tensor, shape in zip(self._engine.outputs, found, strict=True):
            known.append(None if -1 in shape else shape)
            if -1 in shape and tensor.name not in self._growing:
                self._growing[tensor.name] = GrowingOutput()
                self._context().set_allocator(tensor.name, self._growing[tensor.name].allocator())
        return tuple(known)

    def shape_of(self, name: str) -> Shape:
        """The shape that the last launch gave an output of data-dependent shape."""
        shape = self._growing[name].shape
        if shape is None:
            raise EngineError(f"TensorRT gave no shape of {name}; build the bundle again")
        return shape

    def address_of(self, name: str) -> int:
        """Where the last launch put an output of data-dependent shape."""
        return self._growing[name].buffer.address

    def launch(self, addresses: tuple[int, ...]) -> None:
        """Put one inference on the stream, for the shapes that were prepared.

        Args:
            addresses: of inputs, then outputs; 0 where only the data decide the shape.

        Raises:
            EngineError: TensorRT refuses; its reason is in the message.
        """
        key = (self._context().shapes, addresses)
        captured = self._seen.get(key)
        if captured is not None:
            captured.graph.launch(self._engine.stream)
        elif not (key in self._seen and self._may_capture and self._captures(key, addresses)):
            self._launch_plainly(addresses)
        self._remember(key)

    def _context(self) -> Context:
        assert self._plain is not None, "closed"
        return self._plain

    def _launch_plainly(self, addresses: tuple[int, ...]) -> None:
        try:
            self._context().launch(addresses)
        except EngineError:
            # A callback could not raise through C++; what it met is the reason.
            for output in self._growing.values():
                error, output.error = output.error, None
                if error is not None:
                    raise error from None
            raise

    def _captures(self, key: tuple[object, ...], addresses: tuple[int, ...]) -> bool:
        """Run once in a context of its own and capture that; whether it went well."""
        if self._growing:
            return False  # the shapes of these outputs need the host in the midst of a launch
        stream = self._engine.stream
        try:
            context = Context(self._engine)
            context.set_shapes(self._context().shapes, self._profile)
            # The first run in new shapes prepares the context and is not to be captured.
            context.launch(addresses)
            stream.synchronise()
            graph = stream.capture(lambda: context.launch(addresses))
        except EngineError as error:
            self._may_capture = False
            _LOG.info("no CUDA graph, launching plainly (%s)", one_line(error))
            return False
        self._seen[key] = _Captured(graph, context)
        return True

    def _remember(self, key: tuple[object, ...]) -> None:
        self._seen.setdefault(key, None)
        self._seen.move_to_end(key)
        while len(self._seen) > _KEPT:
            _close(self._seen.popitem(last=False)[1])

    def close(self) -> None:
        """Destroy graphs, then contexts, then what they wrote into; twice is harmless."""
        while self._seen:
            _close(self._seen.popitem()[1])
        self._plain = None
        while self._growing:
            self._growing.popitem()[1].close()


def _close(captured: _Captured | None) -> None:
    if captured is not None:
        captured.graph.close()
