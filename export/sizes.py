"""Whether a model's graphs fit into ONNX files."""

from __future__ import annotations

import onnx_ir as ir
import torch

from export.spec import ModelSpec, SpecError
from export.zoo import find_family
from runtime.model_scan import LARGEST_MODEL

_BYTES = 4  # of a weight: every graph begins in float32
# A graph may leave out some of its module's weights, such as a DALL·E's dVAE; never half of them.
_CLEARLY = 2 * LARGEST_MODEL


def check_sizes(spec: ModelSpec) -> None:
    """Refuses a model that is clearly too large, before any of its weights is made or read.

    A part is checked alone. It is built with the whole model in memory nevertheless.

    Raises:
        SpecError: names the graph and what it would take.
    """
    with torch.device("meta"):  # shapes without memory
        reference = find_family(spec.family).reference.build(spec.whole.config)
    for graph in (spec, *map(spec.of_part, spec.parts)):
        module = graph.exported.main(reference)
        size = _BYTES * sum(parameter.numel() for parameter in module.parameters())
        if size > _CLEARLY:
            raise _too_large(graph.name, size)


def check_graph(name: str, graph: ir.Model) -> None:
    """Refuses a graph whose initializers are over protobuf's 2 GiB.

    Raises:
        SpecError: says what they take.
    """
    values = (value.const_value for value in graph.graph.initializers.values())
    size = sum(tensor.nbytes for tensor in values if tensor is not None)
    if size > LARGEST_MODEL:
        raise _too_large(name, size)


def _too_large(name: str, size: int) -> SpecError:
    return SpecError(
        f"the weights of {name} take {size / 2**30:.1f} GiB in float32 and an ONNX file holds at "
        "most 2 GiB; choose a smaller member of its family"
    )
