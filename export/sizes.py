"""Whether a model's graphs fit into ONNX files, told before any weight is made or read."""

from __future__ import annotations

import torch

from export.spec import ModelSpec, SpecError
from export.zoo import find_family
from runtime.model_scan import LARGEST_MODEL

_BYTES = 4  # of a weight: every graph begins in float32


def check_sizes(spec: ModelSpec) -> None:
    """Refuses a model whose own graph, or a part's, is over protobuf's 2 GiB.

    Raises:
        SpecError: names the graph and what it would take.
    """
    with torch.device("meta"):  # shapes without memory
        reference = find_family(spec.family).reference.build(spec.whole.config)
    for graph in (spec, *map(spec.of_part, spec.parts)):
        # At most: a DALL·E's dVAE is among the module's weights, and not in the graph.
        module = graph.exported.main(reference)
        weights = sum(parameter.numel() for parameter in module.parameters())
        if weights * _BYTES > LARGEST_MODEL:
            raise SpecError(
                f"{graph.name} has {weights:,} weights, {weights * _BYTES / 2**30:.1f} GiB in "
                "float32; an ONNX file holds at most 2 GiB: choose a smaller member of its family"
            )
