"""An ONNX file becomes a TensorRT network, or one line that names the node it failed at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from engines.trt.listeners import Messages
from runtime.errors import EngineError, one_line

if TYPE_CHECKING:
    import tensorrt as trt

_NOT_SUPPORTED = "build with the --target of this device and TensorRT, which lowers the graph to it"
_DAMAGED = "the file is damaged or not ONNX: export it again"
# By the beginning of a parser's error code, the first that fits.
_REMEDIES = {
    "UNSUPPORTED": _NOT_SUPPORTED,
    "MODEL_DESERIALIZE": _DAMAGED,
    "INVALID": _DAMAGED,
    "MEM_ALLOC": "close other programs and build again",
}


def load_plugins(libraries: Iterable[Path], messages: Messages) -> None:
    """Registers the operators of plugin libraries.

    Raises:
        EngineError: a library is missing, for another TensorRT or machine, or registered already.
    """
    import tensorrt as trt

    for path in libraries:
        reason = ""
        try:
            handle = trt.get_plugin_registry().load_library(str(path))
        except Exception as error:  # pybind11 turns C++ exceptions into several kinds
            handle, reason = None, one_line(error)
        if handle is None:
            reason = reason or messages.last_error or "it gave no reason"
            raise EngineError(
                f"TensorRT cannot load the plugin library {path} ({reason}); compile it again on "
                "this machine, with the headers of its TensorRT"
            )


def parse(
    onnx: Path, plugins: bool, builder: trt.Builder, logger: trt.ILogger
) -> trt.INetworkDefinition:
    """The strongly typed network of an ONNX file.

    Args:
        onnx: the file; weights outside it are found beside it.
        plugins: whether any plugin library was loaded.
        builder: makes the network.
        logger: of the builder.

    Raises:
        EngineError: TensorRT refuses the graph.
    """
    import tensorrt as trt

    # Ignored by 11.x, where every network is strongly typed; its number differs between versions.
    flag = int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(1 << flag)
    # The network keeps its parser, which owns the weights, alive (NVIDIA's bindings see to it).
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        raise _refusal(onnx, plugins, errors)
    return network


def _refusal(onnx: Path, plugins: bool, errors: list[trt.ParserError]) -> EngineError:
    if not errors:
        return EngineError(f"TensorRT cannot parse {onnx} and gives no reason; {_DAMAGED}")
    first = errors[0]
    # Of the enum's name and text only str() agrees: in 10.3 `code().name` is a method.
    code = str(first.code()).rpartition(".")[2]
    operator, name = first.node_operator(), first.node_name()
    # An error about the file as a whole names no operator.
    where = f": node {name or f'number {first.node()}'} ({operator})" if operator else ""
    stack = first.local_function_stack()
    inside = f" in {' in '.join(stack)}" if stack else ""
    more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
    remedy = next((text for key, text in _REMEDIES.items() if code.startswith(key)), _NOT_SUPPORTED)
    if operator.startswith("Vitrine"):
        remedy = (
            "the plugin library that was loaded does not have it: compile it again"
            if plugins
            else "load the plugin library that has it"
        )
    said = " ".join(first.desc().split())
    return EngineError(f"TensorRT cannot parse {onnx}{where}{inside}: {said}{more}; {remedy}")
